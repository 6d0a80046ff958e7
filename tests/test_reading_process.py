"""The tensors of a description, read by another process while this one imports torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bioimage_inference.errors import ModelError
from bioimage_inference.model import description, reading_process


@pytest.fixture
def content(test_data: Path) -> dict[str, object]:
    loaded: dict[str, object] = yaml.safe_load((test_data / "demo-model/rdf.yaml").read_text())
    return loaded


def test_it_reads_the_same(content: dict[str, object]) -> None:
    called: list[str] = []
    tensors = reading_process.read_tensors_beside(content, lambda: called.append("meanwhile"))
    assert tensors == description.read_tensors(content)
    assert called == ["meanwhile"]


def test_what_is_wrong_with_a_description_arrives_here(content: dict[str, object]) -> None:
    content["inputs"] = [{"axes": []}]
    with pytest.raises(ModelError) as here:
        description.read_tensors(content)
    with pytest.raises(ModelError) as there:
        reading_process.read_tensors_beside(content, lambda: None)
    assert str(there.value) == str(here.value)


def test_where_the_other_process_fails_the_description_is_read_here(
    content: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    content["documentation"] = "long " * 100_000  # more than a pipe holds, which breaks
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert reading_process.read_tensors_beside(content, lambda: None) is None
    monkeypatch.setattr(reading_process, "worth_it", lambda: True)
    assert description.read_description(content, Path(), meanwhile=lambda: None).inputs[0].id == "raw"


def test_an_interruption_ends_the_other_process(content: dict[str, object]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reading_process.read_tensors_beside(content, interrupt)


@pytest.mark.skipif(os.cpu_count() == 1, reason="one core does one thing after the other")
def test_a_prediction_never_imports_the_validator(test_data: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from bioimage_inference.cli import main; "
        f"code = main(['predict', {str(test_data / 'demo-model.zip')!r}, {str(test_data / 'nuclei.tif')!r}, "
        f"'-o', {str(tmp_path)!r}]); "
        "sys.exit(code or ('bioimageio.spec' in sys.modules and 99))"
    )
    assert subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, check=False).returncode == 0
