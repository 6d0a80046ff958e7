"""Everyday actions and mistakes on the command line, each with the words that its user must read."""

import json
import shutil
import subprocess
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tifffile

from bioimage_inference import Target, UsageError, predict
from bioimage_inference.batch.expected_cost import Speed, expected_cost, total_cost
from bioimage_inference.batch.output_name import OutputName
from bioimage_inference.cli import main
from bioimage_inference.provenance.record import RunPlan, from_json
from bioimage_inference.report.describe_run import cost_lines, duration_in_words
from tests.machine import missing
from tests.models import Blur, simple_tensors, write_model

Output = pytest.CaptureFixture[str]
PIXELS = np.random.default_rng(0).integers(0, 4000, (48, 52), "uint16")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network with foreground and boundary, whose authors say which images it takes."""
    inputs, outputs = simple_tensors(outputs=2, preprocessing=[{"id": "zero_mean_unit_variance", "kwargs": {}}])
    inputs[0]["description"] = "Fluorescence images, about 0.3 µm per pixel"
    for axis in inputs[0]["axes"][2:]:
        axis |= {"scale": 0.3, "unit": "micrometer"}
    for axis in outputs[0]["axes"][2:]:
        axis |= {"scale": 0.3, "unit": "micrometer"}
    return str(write_model(tmp_path_factory.mktemp("model"), Blur((1, 1), outputs=2), inputs, outputs))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an image, and a folder of images with other things in it."""
    monkeypatch.chdir(tmp_path)
    for path in ("cells.tif", "day1/A1.tif", "day1/A2.tif", "day1/more/B1.tif"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, PIXELS)
    Path("day1/notes.txt").write_text("Monday")
    return tmp_path


def run(capsys: Output, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def outputs(folder: str = "out") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


# What was typed is checked at once

MISTAKES = {
    "an abbreviation": ("--deb", "--deb is no option of bioimage-inference predict. Did you mean --debug?"),
    "a slip of the keyboard": ("--reprot", "Did you mean --report?"),
    "an option of another program": ("--gpu-id 0", "--gpu-id is no option"),
    "memory without a unit": ("--memory 10", "Type the unit: --memory 10GiB for gibibytes"),
    "memory in words": ("--memory much", "Give a size such as 4GiB or 800MiB"),
    "a device that does not exist": ("--device gpu", "Use auto, cpu, cuda, cuda:N or mps"),
    "a cluster without an address": ("--dask mycluster", "tcp://node7:8786"),
    "a threshold without objects": (
        "--threshold 0.7",
        "without --segment. Add --segment to find objects",
    ),
    "a smallest object without objects": ("--object-min-size 5", "--object-min-size has no effect without --segment"),
    "a boundary without objects": ("--object-boundary none", "--object-boundary has no effect without --segment"),
    "a layout without a TIFF": (
        "--npy a.npy --tiff-layout labelled",
        "--tiff-layout has no effect without a TIFF output",
    ),
    "an engine for CPUs on a GPU": ("--device cuda --engine openvino", "OpenVINO computes on CPUs. Give --device cpu"),
    "folders in no folder": ("--recursive", "--recursive has no effect because no IMAGE is a folder"),
    "both few and many words": ("--quiet --verbose", "--verbose has no effect with --quiet"),
    "an input that the model does not have": ("--input mask=cells.tif", "further inputs of the model are none"),
    "an input twice": ("--input a=cells.tif --input a=b.tif", "--input names 'a' twice, cells.tif and b.tif"),
    "a channel that the image does not have": ("--channels 3", "cells.tif has only channel 0"),
    "a foreground that the model does not have": ("--segment --object-foreground 7", "which has 2"),
    "a pattern without files": ("*.lsm", "No file matches the pattern *.lsm"),
    "a folder without images": ("nothing", "There is no image in the folder nothing. Add --recursive"),
    "an unknown field of a name": ("--output-name {sample}", "The fields are {image}, {output}, {model}, {folder}"),
    "a brace too few": ("--output-name {image", "Put fields into braces"),
    "a folder in a name": ("--output-name out/{image}", "-o names the folder, --output-name the files in it"),
    "one name for two images": ("day1/A1.tif --output-name mask", "Put {image} into --output-name 'mask'"),
    "a field in doubled braces": ("day1/A1.tif --output-name {{image}}", "Put {image} into --output-name '{{image}}'"),
    "a name for named files": ("--output-name {image} --tiff a.tif", "--output-name needs a folder"),
}


@pytest.mark.parametrize(("typed", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_at_once(typed: str, words: str, model: str, capsys: Output) -> None:
    Path("nothing/inside").mkdir(parents=True)
    before = sorted(Path().rglob("*"))
    code, out, err = run(capsys, "predict", model, "cells.tif", *typed.split())
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1
    assert sorted(Path().rglob("*")) == before


def test_an_option_before_the_command_belongs_after_it(model: str, capsys: Output) -> None:
    code, _, err = run(capsys, "--offline", "predict", model, "cells.tif")
    assert code == 2
    assert "--offline belongs after the command: bioimage-inference predict … --offline" in err


def test_an_image_after_an_option_is_told_where_it_belongs(model: str, capsys: Output) -> None:
    code, _, err = run(capsys, "predict", model, "cells.tif", "-o", "out", "day1/A1.tif")
    assert code == 2
    assert "'day1/A1.tif' is one argument too many. Put all arguments of a kind side by side" in err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("inspect", "MODEL", "--overwrite"), "--overwrite has no effect without --html"),
        (("rerun", "cells.tif", "--overwrite"), "--overwrite has no effect without -o"),
        (("segment", "cells.tif", "--image-border", "mirror"), "--image-border is no option of"),
    ],
)
def test_other_commands_check_what_was_typed_too(
    command: tuple[str, ...], words: str, model: str, capsys: Output
) -> None:
    code, _, err = run(capsys, *(model if word == "MODEL" else word for word in command))
    assert code == 2
    assert words in err


def test_a_target_that_the_model_does_not_have_is_told_with_those_it_has(model: str) -> None:
    with pytest.raises(UsageError, match="targets names 'mask', but the outputs of the model are out"):
        predict(model, PIXELS, targets={"mask": Target(Path("mask.tif"))})
    assert not Path("mask.tif").exists()


def test_a_tile_that_changes_nothing_gets_a_note(model: str, capsys: Output) -> None:
    code, out, _ = run(
        capsys, "predict", model, "cells.tif", "-o", "out", "--fit", "exact", "--tile", "16x16", "--dry-run"
    )
    assert code == 0
    assert "--tile 16 along y has no effect: --fit exact computes the image as one tile." in out


# Models


def test_models_are_found_by_words(capsys: Output) -> None:
    code, out, _ = run(capsys, "models", "nuclei", "fluorescence")
    assert code == 0
    assert "affable-shark  NucleiSegmentationBoundaryModel" in out
    assert run(capsys, "models", "--search", "nuclei fluorescence")[1] == out  # the old name


def test_a_model_of_the_zoo_is_described_before_it_is_downloaded(
    capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIOIMAGEIO_CACHE_PATH", str(tmp_path / "empty"))
    code, out, _ = run(capsys, "inspect", "affable-shark", "--offline")
    assert code == 0
    assert "any size of at least 64×64 in steps of 16" in out
    assert "runs here yes" in out
    assert "The package of this model is not downloaded." in " ".join(out.split())
    code, out, _ = run(capsys, "inspect", "10.5281/zenodo.5764892", "--json")
    assert json.loads(out)["id"] == "affable-shark"
    assert run(capsys, "inspect", "affable-shark/0.1", "--offline")[0] == 2
    assert not (tmp_path / "empty").exists()


def test_inspect_tells_what_the_authors_say_of_the_image(model: str, capsys: Output) -> None:
    code, out, _ = run(capsys, "inspect", model)
    assert code == 0
    assert "Its authors say: Fluorescence images, about 0.3 µm per pixel" in out
    assert "Pixel size of its images: y 0.3 µm, x 0.3 µm" in out.replace("micrometer", "µm")


# Before a run


def test_a_dry_run_tells_pixels_memory_disk_and_time(model: str, capsys: Output) -> None:
    code, out, _ = run(capsys, "predict", model, "cells.tif", "-o", "out", "--dry-run")
    assert code == 0
    assert "compute 2,496 pixels, with the halo of all tiles" in out
    assert "of memory" in out
    assert f"disk    about {2 * 2 * 48 * 52 * 4 / 1024:.1f} KiB in out, which has" in out
    assert "a rough estimate for a U-Net of this size on this CPU" in out
    assert not Path("out").exists()


def test_after_a_first_run_the_time_comes_from_its_record(model: str, capsys: Output) -> None:
    assert run(capsys, "predict", model, "cells.tif", "-o", "out")[0] == 0
    _, out, _ = run(capsys, "predict", model, "day1", "-o", "out", "--dry-run")
    assert out.count("that cells_provenance.json tells of") == 3
    assert "[2 images] together\n  compute 4,992 pixels" in out
    assert "tells of" not in run(capsys, "predict", model, "day1", "-o", "out", "--dry-run", "--threads", "1")[1]
    cuda = run(capsys, "predict", model, "day1", "-o", "out", "--dry-run", "--device", "cuda")[1]
    assert "time    unknown for this GPU until a first run has left its record in the folder" in cuda


def test_a_dry_run_tells_which_images_are_complete(model: str, capsys: Output) -> None:
    assert run(capsys, "predict", model, "day1/A1.tif", "-o", "out")[0] == 0
    _, out, _ = run(capsys, "predict", model, "day1", "-o", "out", "--dry-run", "--resume")
    assert "[A1.tif] is complete already" in out
    assert out.count("compute 2,496 pixels") == 1


def test_a_disk_without_room_is_told_before_the_run(model: str, capsys: Output) -> None:
    _, out, _ = run(capsys, "predict", model, "cells.tif", "-o", "out", "--dry-run", "--json")
    content = json.loads(out)
    assert content["expected"]["disk_bytes"] == 39936
    assert content["expected"]["free_bytes"] > 0
    plan = from_json(RunPlan, content)
    cost = expected_cost(plan, 39936, Path("out"), Speed(2.0, 1e-3, "measured"))
    assert cost.seconds == 4.5
    full = replace(cost, free_bytes=1000)
    assert "which has 1000 bytes free: TOO LITTLE. Free some space" in " ".join(cost_lines(full))
    both = total_cost([cost, cost], Speed(2.0, 1e-3, "measured"))
    assert (both.computed_pixels, both.seconds, both.disk_bytes) == (4992, 7.0, 79872)


def test_a_duration_is_rounded_to_what_an_estimate_knows() -> None:
    assert list(map(duration_in_words, (0.2, 42.3, 600, 9000))) == ["1 s", "42 s", "10 min", "2.5 h"]


# Which images


def test_a_folder_stands_for_the_images_in_it(model: str, capsys: Output) -> None:
    code, _, err = run(capsys, "predict", model, "day1", "-o", "out")
    assert code == 0
    assert "[day1] 1 other file left out: notes.txt" in err
    assert [name for name in outputs() if name.endswith(".tif")] == ["A1_out.tif", "A2_out.tif"]


def test_recursive_takes_the_folders_inside_too(model: str, capsys: Output) -> None:
    assert run(capsys, "predict", model, "day1", "-o", "out", "--recursive")[0] == 0
    assert [name for name in outputs() if name.endswith(".tif")] == ["A1_out.tif", "A2_out.tif", "B1_out.tif"]


def test_a_quoted_pattern_is_expanded(model: str, capsys: Output) -> None:
    assert run(capsys, "predict", model, "day1/**/*1.tif", "-o", "out")[0] == 0
    assert [name for name in outputs() if name.endswith(".tif")] == ["A1_out.tif", "B1_out.tif"]


def test_a_file_that_is_called_like_a_pattern_is_this_file(model: str, capsys: Output) -> None:
    Path("cells.tif").rename("cells[1].tif")
    assert run(capsys, "predict", model, "cells[1].tif", "-o", "out")[0] == 0
    assert "cells[1]_out.tif" in outputs()


def test_results_in_a_folder_are_no_images(model: str, capsys: Output) -> None:
    for _ in range(2):
        code, _, err = run(capsys, "predict", model, "day1", "-o", "day1", "--segment", "--report")
        assert code == 0
    assert "results of earlier runs left out" in err
    assert [name for name in outputs("day1") if name.endswith("_out.tif")] == ["A1_out.tif", "A2_out.tif"]
    assert run(capsys, "predict", model, "day1", "-o", "out", "--recursive")[0] == 0
    assert [name for name in outputs() if name.endswith(".tif")] == ["A1_out.tif", "A2_out.tif", "B1_out.tif"]


def test_a_broken_image_in_a_folder_is_not_passed_over(model: str, capsys: Output) -> None:
    Path("day1/broken.tif").write_bytes(b"")
    code, _, err = run(capsys, "predict", model, "day1", "-o", "out")
    assert code == 5
    assert "broken.tif is empty (0 bytes)" in err


# Names of outputs


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("{image}_{output}", ["cells_out.npy", "cells_out.tif", "cells_provenance.json"]),
        ("{image}_mask", ["cells_mask.npy", "cells_mask.tif", "cells_mask_provenance.json"]),
        ("{output}-{image}", ["cells_provenance.json", "out-cells.npy", "out-cells.tif"]),
        ("{output}", ["cells_provenance.json", "out.npy", "out.tif"]),
        ("{output}_{output}", ["cells_provenance.json", "out_out.npy", "out_out.tif"]),
        ("{{output}}_{image}", [f"{{output}}_cells{end}" for end in (".npy", ".tif", "_provenance.json")]),
        ("{model}.{image}", [f"Small_test_model.cells{end}" for end in (".npy", ".tif", "_provenance.json")]),
    ],
)
def test_outputs_are_called_as_asked(pattern: str, names: list[str], model: str, capsys: Output) -> None:
    command = ("predict", model, "cells.tif", "-o", "out", "--output-name", pattern)
    assert run(capsys, *command)[0] == 0
    assert outputs() == names
    code, out, _ = run(capsys, *command, "--resume")
    assert code == 0
    assert "is complete already" in out


def test_the_folder_of_the_image_can_be_in_the_name(model: str, capsys: Output) -> None:
    assert run(capsys, "predict", model, "day1", "-o", "out", "--output-name", "{folder}-{image}")[0] == 0
    assert "day1-A1.tif" in outputs()
    values = {"image": " a_", "folder": "d", "model": "m"}
    assert OutputName("{folder}-{image}_{output}").beginning(values) == "d- a_"


# How much is printed


def test_quiet_prints_errors_only(model: str, capsys: Output) -> None:
    assert run(capsys, "predict", model, "day1", "-o", "out", "-q") == (0, "", "")
    code, out, err = run(capsys, "predict", model, "nowhere.tif", "-o", "out", "--quiet")
    assert (code, out) == (2, "")
    assert "There is no file nowhere.tif" in err
    assert json.loads(run(capsys, "predict", model, "cells.tif", "-o", "out", "-q", "--json")[1])["outputs"]
    assert "[cells.tif]" in run(capsys, "predict", model, "cells.tif", "-o", "out")[1]  # the next run speaks again


def test_verbose_prints_every_step_with_its_values(model: str, capsys: Output) -> None:
    code, out, err = run(capsys, "predict", model, "cells.tif", "-o", "out", "-v")
    assert code == 0
    assert f"mean {PIXELS.mean():.6g}" in out
    assert "Peak memory" in out
    assert "sandbox:" in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_options(shell: str, capsys: Output) -> None:
    if find_spec("shtab") is None:
        missing("shtab", "pip install shtab")
    code, out, _ = run(capsys, "completion", shell)
    assert code == 0
    for word in ("predict", "inspect", "output-name", "recursive"):
        assert word in out
    program = shutil.which(shell)
    if program is not None:
        subprocess.run([program, "-n"], input=out, text=True, check=True)


# Odd images


def test_a_constant_image_gets_a_note(model: str, capsys: Output) -> None:
    np.save("flat.npy", np.full((40, 40), 7, "uint8"))
    code, out, _ = run(capsys, "predict", model, "flat.npy", "-o", "out")
    assert code == 0
    assert "flat.npy is constant: all its pixels have the value 7." in out
    record = json.loads(Path("out/flat_provenance.json").read_text())
    assert any("is constant" in note for note in record["notes"])


def test_constant_planes_of_a_series_are_counted(model: str, capsys: Output) -> None:
    series = np.stack([PIXELS, np.zeros_like(PIXELS), PIXELS])
    np.save("series.npy", series)
    _, out, _ = run(capsys, "predict", model, "series.npy", "-o", "out", "--axes", "tyx")
    assert "1 of the 3 samples of series.npy is constant, for instance with the value 0." in out


def test_an_image_that_is_constant_but_for_one_pixel_gets_no_note(model: str, capsys: Output) -> None:
    image = np.zeros((40, 40), "uint8")
    image[3, 5] = 1
    np.save("star.npy", image)
    assert "constant" not in run(capsys, "predict", model, "star.npy", "-o", "out")[1]


def test_an_image_smaller_than_the_model_takes_gets_a_note(model: str, capsys: Output) -> None:
    np.save("small.npy", PIXELS[:10, :40])
    code, out, _ = run(capsys, "predict", model, "small.npy", "-o", "out")
    assert code == 0
    assert "small.npy is smaller than the model takes: 10 pixels along y (the model takes at least 16" in out
    assert "It is padded with mirrored pixels" in out


def test_help_and_version_answer_at_once(capsys: Output) -> None:
    for arguments, words in ((["--version"], "bioimage-inference 2"), (["predict", "--help"], "--output-name PATTERN")):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
        assert words in capsys.readouterr().out
