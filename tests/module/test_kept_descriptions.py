"""Descriptions are validated once: later runs take the tensors that the first one kept, unless anything has changed."""

import json
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from bioimage_inference.errors import ModelError
from bioimage_inference.model.description import read_description
from bioimage_inference.model.spec import ModelSpec, Operation, TensorSpec
from bioimage_inference.model.tensor_cache import cached_tensors
from bioimage_inference.model.tensor_rules import Tensors
from bioimage_inference.zoo.index import load_index

DESCRIPTIONS = {entry.id: entry.description for entry in load_index({}).entries}
with zipfile.ZipFile(Path(__file__).parents[2] / "test-data" / "demo-model.zip") as package:
    NUCLEI = yaml.safe_load(package.read("rdf.yaml"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the cache that does not exist yet."""
    return tmp_path / "cache" / "descriptions"


def spec_of(folder: Path, description: Mapping[str, Any] = NUCLEI) -> ModelSpec:
    """Return the facts of a model that a run with this cache folder reads."""
    return read_description(description, Path(), cache=folder)


def kept(folder: Path) -> Path:
    """The only file that is kept."""
    [path] = folder.iterdir()
    return path


@pytest.fixture
def forbid_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, nothing is validated."""

    def validate(*_: object) -> None:
        pytest.fail("the description was validated again")

    monkeypatch.setattr("bioimage_inference.model.description._read_tensors", validate)


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_the_second_run_knows_what_the_first_one_read(folder: Path, name: str, request: pytest.FixtureRequest) -> None:
    expected = read_description(DESCRIPTIONS[name], Path())
    assert spec_of(folder, DESCRIPTIONS[name]) == expected
    request.getfixturevalue("forbid_validation")
    assert spec_of(folder, DESCRIPTIONS[name]) == expected


def test_the_second_process_imports_no_validator(tmp_path: Path, test_data: Path) -> None:
    program = (
        "import sys; from bioimage_inference.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "sys.exit(code or 10 * ('bioimageio.spec' in sys.modules))"
    )
    command = [sys.executable, "-W", "ignore", "-c", program, "predict", test_data / "demo-model.zip"]
    environment = os.environ | {"BIOIMAGEIO_CACHE_PATH": str(tmp_path / "cache")}
    codes = [
        subprocess.run(
            [*command, test_data / "nuclei.tif", "-o", tmp_path / run],
            env=environment,
            capture_output=True,
            check=False,
        ).returncode
        for run in ("first", "second")
    ]
    assert codes == [10, 0]
    first, second = ((tmp_path / run / "nuclei_prediction.npy").read_bytes() for run in ("first", "second"))
    assert first == second


def test_a_changed_description_is_validated(folder: Path) -> None:
    before = spec_of(folder)
    [output] = NUCLEI["outputs"]
    after = spec_of(folder, {**NUCLEI, "outputs": [{**output, "postprocessing": [{"id": "sigmoid"}]}]})
    assert [step.name for step in after.outputs[0].operations] == ["sigmoid", "ensure_dtype"]
    assert spec_of(folder) == before


def test_an_invalid_description_is_refused_each_time(folder: Path) -> None:
    for _ in range(2):
        with pytest.raises(ModelError, match="output 0 is not valid"):
            spec_of(folder, {**NUCLEI, "outputs": [{**NUCLEI["outputs"][0], "postprocessing": [{"id": "blur"}]}]})
    assert not folder.exists()


def _shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _of_another_model(path: Path) -> None:
    _other_statistics(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "key": "0" * 64}))


def _writable_by_others(path: Path) -> None:
    _other_statistics(path)
    path.chmod(0o666)


def _linked(path: Path) -> None:
    _other_statistics(path)
    path.rename(path.parent.with_name("elsewhere.json"))
    path.symlink_to(path.parent.with_name("elsewhere.json"))


def _a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _endless(path: Path) -> None:
    os.truncate(path, 1 << 40)


def _other_statistics(path: Path) -> None:
    """Let the kept description normalise each row by itself."""
    before = path.read_text()
    assert '"axes":"yx"' in before
    path.write_text(before.replace('"axes":"yx"', '"axes":"x"'))


@pytest.mark.parametrize("spoil", [_shortened, _of_another_model, _writable_by_others, _linked, _a_pipe, _endless])
def test_a_file_that_others_can_have_written_does_not_count(folder: Path, spoil: Any) -> None:
    expected = spec_of(folder)
    spoil(kept(folder))
    assert spec_of(folder) == expected


def test_others_cannot_write_what_is_kept(folder: Path) -> None:
    umask = os.umask(0)
    try:
        spec_of(folder)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(kept(folder).stat().st_mode) == 0o600


def test_nothing_is_kept_where_the_cache_cannot_be_written(folder: Path) -> None:
    folder.parent.write_text("a file where the cache should be")
    assert spec_of(folder) == read_description(NUCLEI, Path())


def test_what_json_cannot_hold_is_not_kept(folder: Path) -> None:
    step = Operation("clip", {"limits": (0.0, 1.0)})  # JSON has no tuples
    tensors = Tensors((TensorSpec("input", (), operations=(step,)),), ())
    for _ in range(2):
        assert cached_tensors(NUCLEI, folder, lambda content: tensors) == tensors
    assert not folder.exists()


def test_the_cache_stays_small(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(600):
        path = folder / f"{number}.json"
        path.touch()
        os.utime(path, (number, number))
    spec_of(folder)
    names = {path.name for path in folder.iterdir()}
    assert len(names) <= 500
    assert "599.json" in names
    assert "0.json" not in names
