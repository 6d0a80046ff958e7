"""The command line as its users meet it: outputs, summaries, and every failure as one paragraph with its exit code."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import zipfile
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from jsonschema import Draft202012Validator

from bioimage_inference.cli import main
from bioimage_inference.cli.program import COMMANDS, make_parser
from tests.conftest import only_understood
from tests.machine import wait_until

ROOT = Path(__file__).parents[2]
Output = pytest.CaptureFixture[str]


@pytest.fixture
def model(test_data: Path) -> str:
    return str(test_data / "demo-model.zip")


@pytest.fixture
def nuclei(test_data: Path) -> str:
    return str(test_data / "nuclei.tif")


def fails(capsys: Output, *arguments: str | Path) -> tuple[int, str]:
    """Exit code and message of a command that fails: one paragraph, no traceback.

    On standard output is at most what was understood of model and image.
    """
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert captured.err.strip().count("\n") == 0, captured.err
    assert "Traceback" not in captured.err
    assert only_understood(captured.out), captured.out
    return code, captured.err


# What a prediction yields


def test_predict_writes_a_tiff_an_array_and_a_record(model: str, nuclei: str, tmp_path: Path, capsys: Output) -> None:
    assert main(["predict", model, nuclei, "-o", str(tmp_path)]) == 0
    names = ["nuclei_prediction.npy", "nuclei_prediction.tif", "nuclei_provenance.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    array = np.load(tmp_path / names[0])
    assert (array.shape, array.dtype) == ((1, 2, 300, 380), np.float32)
    with tifffile.TiffFile(tmp_path / names[1]) as tif:
        assert tif.series[0].axes == "CYX"
        np.testing.assert_array_equal(tif.asarray(), array[0])
    out = capsys.readouterr().out
    assert "[nuclei.tif] axes YX (300,380) uint16, 0.325 µm/px" in out
    assert "channels foreground, boundary" in out


def test_labelled_tiffs_say_axes_channels_and_pixel_size(model: str, test_data: Path, tmp_path: Path) -> None:
    series = str(test_data / "nuclei_timeseries.tif")
    assert main(["predict", model, series, "-o", str(tmp_path), "--tiff-layout", "labelled"]) == 0
    with tifffile.TiffFile(tmp_path / "nuclei_timeseries_prediction.tif") as tif:
        assert tif.series[0].axes == "TCYX"
        assert tif.imagej_metadata is not None
        assert tif.imagej_metadata["Labels"][:2] == ["foreground", "boundary"]
        assert tif.pages.first.photometric.name == "MINISBLACK"
    assert np.load(tmp_path / "nuclei_timeseries_prediction.npy").shape == (3, 2, 112, 136)


def test_a_volume_through_a_3d_model(test_data: Path, tmp_path: Path) -> None:
    arguments = ["predict", str(test_data / "demo-model-3d"), str(test_data / "nuclei_3d.tif"), "-o", str(tmp_path)]
    assert main(arguments) == 0
    assert np.load(tmp_path / "nuclei_3d_prediction.npy").shape == (1, 1, 24, 96, 96)


def test_the_twin_of_format_0_4_predicts_the_same(test_data: Path, nuclei: str, tmp_path: Path) -> None:
    for name in ("rdf.yaml", "rdf_v0_4.yaml"):
        model = str(test_data / "demo-model" / name)
        assert main(["predict", model, nuclei, "--npy", str(tmp_path / f"{name}.npy")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "rdf.yaml.npy"), np.load(tmp_path / "rdf_v0_4.yaml.npy"))


def test_json_is_the_record(model: str, nuclei: str, tmp_path: Path, capsys: Output) -> None:
    assert main(["predict", model, nuclei, "-o", str(tmp_path), "--json", "--memory", "8GiB"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record == json.loads((tmp_path / "nuclei_provenance.json").read_text())
    assert record["plan"]["tiles"] == 1
    assert record["processing"][1]["statistics"][0]["statistic"] == "mean"


def test_dry_run_writes_nothing(model: str, nuclei: str, tmp_path: Path, capsys: Output) -> None:
    assert main(["predict", model, nuclei, "-o", str(tmp_path / "out"), "--dry-run"]) == 0
    assert not list(tmp_path.iterdir())
    assert "prediction: BCYX (1,2,300,380)" in capsys.readouterr().out


def test_several_images_with_one_model_and_a_failed_one(
    model: str, nuclei: str, test_data: Path, tmp_path: Path, capsys: Output
) -> None:
    bad = tmp_path / "bad.tif"
    bad.write_bytes(b"no image at all")
    code = main(["predict", model, nuclei, str(bad), str(test_data / "nuclei_timeseries.tif"), "-o", str(tmp_path)])
    assert code == 5
    assert "[bad.tif]" in capsys.readouterr().err
    assert (tmp_path / "nuclei_prediction.tif").exists()
    assert (tmp_path / "nuclei_timeseries_prediction.tif").exists()


def test_resizing_is_done_only_when_asked_and_told(model: str, tmp_path: Path, capsys: Output) -> None:
    small = tmp_path / "small.tif"
    tifffile.imwrite(small, np.random.default_rng(0).integers(0, 99, (70, 61), "uint8"), imagej=True,
                     resolution=(2, 2), metadata={"unit": "um"})  # fmt: skip
    assert main(["predict", model, str(small), "-o", str(tmp_path), "--json", "--fit", "resize"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["outputs"][0]["shape"] == [1, 2, 72, 64]
    assert record["outputs"][0]["pixel_size"]["y"]["value"] == pytest.approx(0.5 * 70 / 72)
    assert any("was resized as asked" in note for note in record["notes"])
    assert fails(capsys, "predict", model, small, "--fit", "exact", "-o", tmp_path)[0] == 5


def test_not_a_number_is_counted_and_told(model: str, tmp_path: Path, capsys: Output) -> None:
    image = np.ones((80, 80), "float32")
    image[3, 4:7] = np.nan
    np.save(tmp_path / "holes.npy", image)
    assert main(["predict", model, str(tmp_path / "holes.npy"), "-o", str(tmp_path)]) == 0
    assert "3 values of holes.npy (of 6,400) are not a number" in capsys.readouterr().out


def test_the_state_dict_runs_only_when_its_code_is_trusted(
    test_data: Path, nuclei: str, tmp_path: Path, capsys: Output
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in (test_data / "demo-model").iterdir():
        if file.name != "weights.pt":
            (folder / file.name).write_bytes(file.read_bytes())
    code, message = fails(capsys, "predict", folder / "rdf.yaml", nuclei, "-o", tmp_path)
    assert code == 3
    assert "--trust-model-code" in message
    arguments = ["predict", str(folder / "rdf.yaml"), nuclei, "-o", str(tmp_path), "--trust-model-code", "--json"]
    assert main(arguments) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["weights"]["format"] == "pytorch_state_dict"
    assert record["weights"]["reason"] == "preferred to torchscript"


# Failures


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict"], "MODEL"),
        (["predict", "MODEL", "IMAGE", "--channels", "a"], "no channel of this name"),
        (["predict", "MODEL", "IMAGE", "--tile", "64"], "--tile has 1 number,"),
        (["predict", "MODEL", "IMAGE", "--input", "mask=x.tif"], "further inputs of the model are none"),
        (["predict", "MODEL", "IMAGE", "--memory", "much"], "--memory"),
        (["predict", "MODEL", "IMAGE", "--device", "cuda:99"], "GPU"),
        (["predict", "MODEL", "IMAGE", "-o", "x", "--tiff", "y.tif"], "one or the other"),
        (["predict", "nowhere.zip", "IMAGE"], "nowhere.zip"),
        (["predict", "MODEL", "nowhere.tif"], "nowhere.tif"),
    ],
)
def test_wrong_usage_is_2(
    arguments: list[str],
    words: str,
    model: str,
    nuclei: str,
    tmp_path: Path,
    capsys: Output,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    named = {"MODEL": model, "IMAGE": nuclei}
    code, message = fails(capsys, *(named.get(argument, argument) for argument in arguments))
    assert code == 2
    assert words in message


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_broken_models_are_4(test_data: Path, nuclei: str, tmp_path: Path, capsys: Output) -> None:
    demo = {file.name: file.read_bytes() for file in (test_data / "demo-model").iterdir()}
    only = {"rdf.yaml": demo["rdf.yaml"]}
    broken = {
        "no model description": zipped(tmp_path / "no.zip", {"readme.txt": b"hello"}),
        "weights.pt": zipped(tmp_path / "missing.zip", only),
        "SHA-256": zipped(tmp_path / "changed.zip", {**only, "weights.pt": demo["weights.pt"][:-1] + b"x"}),
        "empty": zipped(tmp_path / "empty.zip", {}),
    }
    for word, package in broken.items():
        code, message = fails(capsys, "predict", package, nuclei, "-o", tmp_path)
        assert code == 4, message
        assert word.lower() in message.lower(), (word, message)
    assert not list(tmp_path.glob("*.tif"))


def test_a_model_without_pytorch_weights_is_4_whatever_the_image_and_told_what_it_has(
    test_data: Path, nuclei: str, tmp_path: Path, capsys: Output
) -> None:
    description = yaml.safe_load((test_data / "demo-model/rdf.yaml").read_text())
    description["weights"] = {"tensorflow_js": {"source": "weights.zip"}}
    (tmp_path / "rdf.yaml").write_text(yaml.safe_dump(description))
    for image in (nuclei, "no such image.tif"):
        for more in ((), ("--dry-run",), ("--input", "mask=no such mask.tif")):
            code, message = fails(capsys, "predict", tmp_path / "rdf.yaml", image, "-o", tmp_path, *more)
            assert code == 4
            assert "has only tensorflow_js weights" in message


def test_broken_images_are_5(model: str, test_data: Path, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "text.tif").write_text("this is no image\n")
    (tmp_path / "cut.tif").write_bytes((test_data / "nuclei.tif").read_bytes()[:5000])
    np.save(tmp_path / "line.npy", np.zeros(100))
    np.save(tmp_path / "colour.npy", np.zeros((80, 80, 3), "uint8"))
    for name in ("text.tif", "cut.tif", "line.npy"):
        code, message = fails(capsys, "predict", model, tmp_path / name, "-o", tmp_path)
        assert (code, name in message) == (5, True), message
    code, message = fails(capsys, "predict", model, tmp_path / "colour.npy", "--axes", "yxc", "-o", tmp_path)
    assert code == 5
    assert "--channels" in message
    assert not list(tmp_path.glob("*_prediction*"))


@pytest.mark.parametrize("kind", ["npy", "tif"])
def test_colours_at_the_end_of_an_array_are_refused_like_a_colour_picture(
    model: str, tmp_path: Path, capsys: Output, kind: str
) -> None:
    colours = np.random.default_rng(1).random((424, 640, 3), dtype=np.float32)
    path = tmp_path / f"colours.{kind}"
    if kind == "npy":
        np.save(path, colours)
    else:
        tifffile.imwrite(path, colours, photometric="minisblack")
    code, message = fails(capsys, "predict", model, path, "-o", tmp_path / "out")
    assert code == 5
    assert "the image has 3 channels" in message
    assert "--channels 0" in message
    assert main(["predict", model, str(path), "-o", str(tmp_path / "out"), "--channels", "1"]) == 0
    assert np.load(tmp_path / "out" / "colours_prediction.npy").shape == (1, 2, 424, 640)


def test_a_channel_is_taken_by_its_name_all_the_way(
    model: str, nuclei: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image = tifffile.imread(nuclei)
    labels = {"axes": "CYX", "Labels": ["actin", "nuclei"]}
    tifffile.imwrite("cells.tif", np.stack([image[::-1], image]), imagej=True, metadata=labels)
    assert main(["predict", model, "cells.tif", "-o", "named", "--channels", "Nuclei", "--segment", "--resume"]) == 0
    assert main(["predict", model, "cells.tif", "-o", "numbered", "--channels", "1"]) == 0
    named, numbered = (np.load(f"{folder}/cells_prediction.npy") for folder in ("named", "numbered"))
    np.testing.assert_array_equal(named, numbered)
    assert Path("named/cells_overlay.png").is_file()
    record = json.loads(Path("named/cells_provenance.json").read_text())
    assert (record["options"]["channels"], record["inputs"][0]["channels"]) == (["Nuclei"], [1])
    schema = files("bioimage_inference") / "provenance" / "provenance.schema.json"
    Draft202012Validator(json.loads(schema.read_text())).validate(record)
    assert main(["rerun", "named/cells_provenance.json"]) == 0


def test_a_failed_run_leaves_no_empty_folder(model: str, tmp_path: Path) -> None:
    """None that it made; one that was there stays."""
    text = tmp_path / "text.txt"
    text.write_text("no image")
    for command in (["predict", model, str(text)], ["segment", str(text)], ["rerun", str(text)]):
        assert main([*command, "-o", str(tmp_path / "new")]) in (2, 5)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]
    (tmp_path / "old").mkdir()
    assert main(["predict", model, str(text), "-o", str(tmp_path / "old")]) == 5
    assert (tmp_path / "old").is_dir()


def test_an_unwritable_folder_is_2(model: str, nuclei: str, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "file").write_text("")
    code, message = fails(capsys, "predict", model, nuclei, "-o", tmp_path / "file" / "folder")
    assert code == 2
    assert "folder" in message


def test_out_of_memory_is_6(
    model: str, nuclei: str, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("bioimage_inference.inference.sample_reader.Source.read", no_memory)
    code, message = fails(capsys, "predict", model, nuclei, "-o", tmp_path)
    assert code == 6
    assert "out of memory" in message


def test_no_memory_for_a_thread_is_6_too(model: str, nuclei: str, tmp_path: Path, capsys: Output) -> None:
    before = threading.stack_size(1 << 46)
    try:
        code, message = fails(capsys, "predict", model, nuclei, "-o", tmp_path)
    finally:
        threading.stack_size(before)
    assert code == 6
    assert "out of memory" in message


def run(*arguments: str | Path, **more: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "bioimage_inference", *map(str, arguments)],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more,  # type: ignore[call-overload]
    )  # fmt: skip


def test_a_full_disk_is_told_and_leaves_nothing(model: str, nuclei: str, tmp_path: Path) -> None:
    """No file may grow beyond 100 KB here, as on a disk that is full."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    process = run("predict", Path(model).with_suffix(""), nuclei, "-o", tmp_path / "out", preexec_fn=limit)
    _, message = process.communicate()
    assert process.returncode == 9, message
    assert "Traceback" not in message
    assert not (tmp_path / "out").exists()


def test_the_program_that_is_told_to_stop_leaves_nothing(model: str, tmp_path: Path) -> None:
    np.save(tmp_path / "large.npy", np.random.default_rng(0).integers(0, 255, (6000, 6000), "uint8"))
    process = run("predict", model, tmp_path / "large.npy", "-o", tmp_path / "out", "--axes", "yx", "--threads", "1")
    wait_until(lambda: any((tmp_path / "out").glob(".*partial")), "an output is being written")
    process.send_signal(signal.SIGTERM)
    _, message = process.communicate()
    assert process.returncode == 130, message
    assert "Nothing was written" in message
    assert not (tmp_path / "out").exists()


def test_dry_run_imports_no_torch(model: str, nuclei: str) -> None:
    script = (
        "import sys; from bioimage_inference.cli import main\n"
        f"code = main(['predict', {model!r}, {nuclei!r}, '--dry-run'])\n"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True).returncode == 0


def test_help_imports_nothing_that_takes_time() -> None:
    names = [command.__name__.rpartition(".")[2] for command in COMMANDS]
    assert "predict" in names
    script = (
        "import sys; from bioimage_inference.cli import main\n"
        f"for arguments in (['--help'], *([name, '--help'] for name in {names})):\n"
        "    try: main(arguments)\n"
        "    except SystemExit: pass\n"
        "slow = {'torch', 'numpy', 'tifffile', 'bioimageio', 'rich', 'httpx', 'yaml'} & sys.modules.keys()\n"
        "sys.exit(str(slow) if slow else 0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("usage: bioimage-inference") == 1 + len(names)


OLD_NAMES = {
    "--object-foreground": ("--foreground", "nuclei"),
    "--object-boundary": ("--boundary", "none"),
    "--object-threshold": ("--threshold", "0.7"),
    "--object-min-size": ("--min-size", "5"),
    "--image-border": ("--border", "mirror"),
}


@pytest.mark.parametrize(
    "command", [["predict", "MODEL", "IMAGE"], ["segment", "PREDICTION"]], ids=["predict", "segment"]
)
def test_options_keep_their_old_names_which_help_hides(command: list[str], capsys: Output) -> None:
    """Workflows, scripts and forms of Galaxy use them."""
    parser = make_parser()
    renamed = {new: old for new, old in OLD_NAMES.items() if command[0] == "predict" or new.startswith("--object")}
    before = vars(parser.parse_args(command))
    for new, (old, value) in renamed.items():
        parsed = vars(parser.parse_args([*command, new, value]))
        assert parsed == vars(parser.parse_args([*command, old, value]))
        assert parsed != before
    with pytest.raises(SystemExit):
        main([command[0], "--help"])
    shown = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert renamed.keys() <= shown
    assert not {old for old, _ in renamed.values()} & shown


def test_a_failure_that_an_interruption_led_to_is_an_interruption(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(arguments: object) -> int:
        try:
            raise KeyboardInterrupt
        finally:
            threading.Lock().release()

    monkeypatch.setattr("bioimage_inference.cli.models.run", interrupted)
    assert main(["models"]) == 130
    assert capsys.readouterr().err == "Interrupted. Nothing was written.\n"
