"""No command writes over a file that it reads, or over one that is not its own."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import zarr

from bioimage_inference import Target, UsageError, predict
from bioimage_inference.cli import main
from bioimage_inference.provenance.record import read_record
from tests import models

Output = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, test_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a model (packed, and unpacked in ``model/``), an image, and a sheet that names it."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(test_data / "demo-model.zip", "MODEL.zip")
    models.write_model(Path("model"), models.Blur((4, 4)), *models.simple_tensors(halo=4))
    tifffile.imwrite("a.tif", tifffile.imread(test_data / "nuclei.tif")[:64, :64])
    Path("sheet.csv").write_text("image\na.tif\n", encoding="utf-8")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def link(path: str, name: str, make: Callable[[str, str], None]) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    make(os.path.abspath(path), name)  # noqa: PTH100


@pytest.mark.parametrize("make", [os.symlink, os.link])
@pytest.mark.parametrize(
    ("read", "written", "command"),
    [
        ("a.tif", "link.tif", "predict MODEL.zip a.tif --tiff link.tif"),
        ("a.tif", "link.npy", "predict MODEL.zip a.tif --npy link.npy --overwrite"),
        ("a.tif", "out/a_prediction.tif", "predict MODEL.zip a.tif -o out --overwrite"),
        ("a.tif", "out/a_prediction.npy", "predict MODEL.zip sheet.csv -o out --overwrite"),
        ("a.tif", "out/a_report.html", "predict MODEL.zip a.tif -o out --report --overwrite"),
        ("a.tif", "out/a_labels.tif", "predict MODEL.zip a.tif -o out --segment --overwrite"),
        ("sheet.csv", "out/summary.csv", "predict MODEL.zip sheet.csv -o out --overwrite"),
        ("MODEL.zip", "link.tif", "predict MODEL.zip a.tif --tiff link.tif --overwrite"),
        ("model/weights.pt", "link.tif", "predict model a.tif --tiff link.tif --overwrite"),
        ("model/rdf.yaml", "out/a_provenance.json", "predict model/rdf.yaml a.tif -o out --overwrite"),
        ("MODEL.zip", "link.html", "inspect MODEL.zip --html link.html --overwrite"),
        ("model/weights.pt", "link.html", "inspect model --html link.html --overwrite"),
        ("a.tif", "link.csv", "segment a.tif --table link.csv --overwrite"),
        ("a.tif", "link.png", "segment a.tif --foreground 0 --boundary none --overlay link.png --overwrite"),
    ],
)
def test_links_to_what_is_read_are_not_written_over(
    here: Path, read: str, written: str, command: str, make: Callable[[str, str], None], capsys: Output
) -> None:
    link(read, written, make)
    before = contents(here)
    assert main(command.split()) == 2
    told = capsys.readouterr().err
    assert f"{written} cannot be written, because this run reads" in told
    assert told.count("\n") == 1
    assert contents(here) == before


@pytest.mark.parametrize(
    "command",
    [
        "predict MODEL.zip a.tif --tiff a.tif --overwrite",
        "predict MODEL.zip a.tif --npy a.tif --overwrite",
        "predict MODEL.zip a.tif --tiff ./model/../a.tif --overwrite",
        "predict MODEL.zip a.tif --tiff MODEL.zip --overwrite",
        "predict model a.tif --tiff model/weights.pt --overwrite",
        "predict model a.tif --tiff model/rdf.yaml --overwrite",
        "predict MODEL.zip sheet.csv --tiff sheet.csv --overwrite",
        "predict model/weights.pt a.tif --description model/rdf.yaml --tiff model/rdf.yaml --overwrite",
        "inspect --html MODEL.zip MODEL.zip --overwrite",
        "inspect --html model/rdf.yaml model --overwrite",
        "segment a.tif --labels a.tif --overwrite",
    ],
)
def test_what_is_read_is_not_written_over(here: Path, command: str, capsys: Output) -> None:
    before = contents(here)
    assert main(command.split()) == 2
    assert "this run reads" in capsys.readouterr().err
    assert contents(here) == before


class Sum(torch.nn.Module):
    """The image plus the mask."""

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return image + mask


def test_a_further_input_is_not_written_over(here: Path, capsys: Output) -> None:
    (raw, mask), outputs = [models.simple_tensors()[0][0] for _ in range(2)], models.simple_tensors()[1]
    two_inputs = models.write_model(Path("two"), Sum(), [raw, mask | {"id": "mask"}], outputs)
    np.save("mask.npy", np.ones((64, 64), "float32"))
    before = contents(here)
    command = ["predict", str(two_inputs), "a.tif", "--input", "mask=mask.npy", "--npy", "mask.npy", "--overwrite"]
    assert main(command) == 2
    assert "this run reads" in capsys.readouterr().err
    assert contents(here) == before


def test_the_image_that_objects_are_shown_on_is_not_written_over(here: Path, capsys: Output) -> None:
    np.save("maps.npy", np.zeros((2, 64, 64), "float32"))
    before = contents(here)
    assert main(["segment", "maps.npy", "--image", "a.tif", "--overlay", "a.tif", "--overwrite"]) == 2
    assert "this run reads" in capsys.readouterr().err
    assert contents(here) == before


@pytest.mark.parametrize("place", ["inside.tif", "0/c/0/0", "0/zarr.json", "zarr.json"])
def test_nothing_is_written_into_an_image_that_is_a_folder(here: Path, place: str, capsys: Output) -> None:
    group = zarr.open_group("image.zarr", mode="w")
    group.create_array("0", data=tifffile.imread("a.tif"), chunks=(64, 64))
    before = contents(here)
    command = ["predict", "MODEL.zip", "image.zarr/0", "--axes", "yx", "--tiff", f"image.zarr/{place}", "--overwrite"]
    assert main(command) == 2
    assert "this run reads" in capsys.readouterr().err
    assert contents(here) == before


def test_the_files_of_a_companion_are_not_written_over(here: Path, capsys: Output) -> None:
    planes = np.random.default_rng(0).integers(0, 255, (64, 64), "uint8")
    tifffile.imwrite("plane.tif", planes)
    Path("set.companion.ome").write_text(
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        'DimensionOrder="XYZCT" Type="uint8" SizeX="64" SizeY="64" SizeZ="1" SizeC="1" SizeT="1"><Channel '
        'ID="Channel:0" SamplesPerPixel="1"/><TiffData IFD="0" FirstZ="0" FirstC="0" FirstT="0"><UUID '
        'FileName="plane.tif">urn:uuid:00000000-0000-4000-8000-000000000000</UUID></TiffData></Pixels></Image></OME>',
        encoding="utf-8",
    )
    before = contents(here)
    assert main(["predict", "MODEL.zip", "set.companion.ome", "--tiff", "plane.tif", "--overwrite"]) == 2
    assert "this run reads" in capsys.readouterr().err
    assert contents(here) == before


@pytest.mark.parametrize(
    "command",
    [
        "predict MODEL.zip a.tif --tiff z --npy ./../{here}/z",
        "predict MODEL.zip a.tif --tiff y.tsv --key-values ../{here}/y.tsv",
        "predict MODEL.zip a.tif -o out --key-values link/a_prediction.tif",
        "predict MODEL.zip sheet.csv -o out --key-values out/summary.csv",
        "predict MODEL.zip a.tif -o out --ro-crate crate --key-values crate/ro-crate-metadata.json",
        "segment a.tif --foreground 0 --boundary none --table z.csv --labels ../{here}/z.csv",
    ],
)
def test_two_outputs_of_a_run_are_not_one_file(here: Path, command: str, capsys: Output) -> None:
    Path("out").mkdir()
    Path("link").symlink_to("out")
    before = contents(here)
    assert main([*command.format(here=here.name).split(), "--overwrite"]) == 2
    assert "Two outputs of this run name the same file" in capsys.readouterr().err
    assert contents(here) == before


def test_a_record_in_python_is_not_a_target(here: Path) -> None:
    before = contents(here)
    with pytest.raises(UsageError, match="Two outputs of this run name the same file"):
        predict("MODEL.zip", "a.tif", targets={"prediction": Target(npy=Path("t.npy"))}, record=here / "t.npy")
    assert contents(here) == before


def test_a_link_and_its_target_are_two_outputs(here: Path) -> None:
    Path("z.npy").symlink_to("z.tif")
    assert main(["predict", "MODEL.zip", "a.tif", "--tiff", "z.tif", "--npy", "z.npy"]) == 0
    assert not Path("z.npy").is_symlink()
    assert tifffile.imread("z.tif").size == np.load("z.npy").size


def test_targets_in_python_are_not_what_is_read(here: Path) -> None:
    before = contents(here)
    for target, record in [(Target(Path("a.tif")), None), (Target(npy=Path("MODEL.zip")), None), (None, Path("a.tif"))]:
        targets = {"prediction": target} if target else None
        with pytest.raises(UsageError, match="this run reads"):
            predict("MODEL.zip", "a.tif", targets=targets, record=record, overwrite=True)
    assert contents(here) == before


@pytest.mark.parametrize(
    ("existing", "command"),
    [
        ("mine.tif", "predict MODEL.zip a.tif --tiff mine.tif"),
        ("mine.npy", "predict MODEL.zip a.tif --npy mine.npy"),
        ("out/a_prediction.tif", "predict MODEL.zip a.tif -o out"),
        ("out/a_provenance.json", "predict MODEL.zip a.tif -o out"),
        ("out/a_report.html", "predict MODEL.zip a.tif -o out --report"),
        ("out/summary.csv", "predict MODEL.zip sheet.csv -o out"),
        ("out/index.html", "predict MODEL.zip sheet.csv -o out"),
        ("card.html", "inspect MODEL.zip --html card.html"),
        ("out/nuclei_prediction.tif", "demo -o out"),
        ("out/nuclei_prediction.png", "demo -o out"),
        ("labels.tif", "segment maps.npy --labels labels.tif"),
        ("out/maps_objects.csv", "segment maps.npy -o out"),
        ("out/ro-crate-metadata.json", "predict MODEL.zip a.tif -o out --ro-crate out"),
    ],
)
def test_the_files_of_others_are_replaced_only_when_told(
    here: Path, existing: str, command: str, capsys: Output
) -> None:
    np.save("maps.npy", np.zeros((2, 64, 64), "float32"))
    Path(existing).parent.mkdir(exist_ok=True)
    Path(existing).write_text("the work of a month")
    before = contents(here)
    assert main(command.split()) == 2
    told = capsys.readouterr().err
    assert existing in told
    assert "--overwrite" in told
    assert contents(here) == before
    assert main([*command.split(), "--overwrite"]) == 0
    assert Path(existing).read_bytes() != b"the work of a month"


def test_a_dry_run_says_what_is_in_the_way(here: Path, capsys: Output) -> None:
    Path("mine.tif").write_text("the work of a month")
    assert main(["predict", "MODEL.zip", "a.tif", "--dry-run", "--tiff", "mine.tif"]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_empty_files_are_written_as_if_they_were_not_there(here: Path) -> None:
    Path("made.tif").touch()
    assert main(["predict", "MODEL.zip", "a.tif", "--tiff", "made.tif"]) == 0
    assert Path("made.tif").stat().st_size > 0


@pytest.mark.parametrize("image", ["a.tif", "sheet.csv"])
def test_earlier_results_are_replaced_and_named(here: Path, image: str, capsys: Output) -> None:
    command = ["predict", "MODEL.zip", image, "-o", "out", "--report", "--segment"]
    assert main(command) == 0
    assert "earlier run" not in capsys.readouterr().out
    assert main(command) == 0
    assert capsys.readouterr().out.count("Results of an earlier run were replaced") == 1


def test_results_that_a_later_run_leaves_out_stay_results(here: Path, capsys: Output) -> None:
    """They are no images of the folder, and a run that writes them again may do so."""
    (here / "in").mkdir()
    shutil.move("a.tif", "in/a.tif")
    for options in (["--segment", "--report"], ["--format", "npy"], ["--format", "npy"]):
        assert main(["predict", "MODEL.zip", "in", "-o", "in", "--threads", "1", *options]) == 0, capsys.readouterr()
        assert not list((here / "in").glob("a_*_prediction.*"))
    record = read_record(here / "in" / "a_provenance.json")
    assert record.outputs[0].tiff is None
    assert record.earlier_files == ("a_labels.tif", "a_objects.csv", "a_overlay.png", "a_prediction.tif")
    Path("in/a_overlay.png").unlink()
    assert main(["predict", "MODEL.zip", "in", "-o", "in", "--threads", "1", "--segment"]) == 0, capsys.readouterr()
    assert read_record(here / "in" / "a_provenance.json").earlier_files is None


@pytest.mark.parametrize("name", ["", "/", "..", "../a.tif", "nul\0byte", 7])
def test_a_record_with_names_of_no_files_is_replaced(here: Path, name: object, capsys: Output) -> None:
    assert main(["predict", "MODEL.zip", "a.tif", "-o", "out", "--threads", "1"]) == 0
    record = here / "out" / "a_provenance.json"
    content = json.loads(record.read_text())
    content["outputs"][0]["npy"], content["earlier_files"] = name, [name]
    record.write_text(json.dumps(content))
    command = ["predict", "MODEL.zip", "a.tif", "-o", "out", "--threads", "1", "--format", "tiff", "--overwrite"]
    assert main(command) == 0, capsys.readouterr()
    assert not set(read_record(record).earlier_files or ()) - {"a_prediction.npy"}


def test_home_is_what_a_tilde_means(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    assert main(["predict", "~/MODEL.zip", "~/a.tif", "-o", "~/out", "--ro-crate", "~/crate"]) == 0
    assert main(["predict", "~/MODEL.zip", "~/sheet.csv", "-o", "~/sheet"]) == 0
    assert main(["predict", "~/MODEL.zip", "~/a.tif", "--tiff", "~/t.tif", "--npy", "~/t.npy"]) == 0
    assert main(["inspect", "~/model", "--html", "~/card.html"]) == 0
    assert main(["inspect", "~/model/weights.pt", "--description", "~/model/rdf.yaml"]) == 0
    assert (
        main(["segment", "~/out/a_prediction.tif", "--image", "~/a.tif", "--labels", "~/l.tif", "--table", "~/t.csv"])
        == 0
    )
    assert main(["rerun", "~/out/a_provenance.json", "-o", "~/again"]) == 0
    assert main(["demo", "-o", "~/demo"]) == 0
    predict("~/MODEL.zip", "~/a.tif", targets={"prediction": Target(Path("~/p.tif"))}, record=Path("~/p.json"))
    for name in ("out", "crate", "t.tif", "t.npy", "card.html", "l.tif", "t.csv", "again", "demo", "p.tif", "p.json"):
        assert (here / name).exists(), name
    assert not Path("~").exists()


def test_what_was_written_before_a_failure_is_said(here: Path, capsys: Output) -> None:
    assert main(["predict", "MODEL.zip", "a.tif", "--tiff", "t.tif", "--npy", "absent/t.npy"]) == 2
    assert not Path("t.tif").exists()
    Path("out/a_overlay.png").mkdir(parents=True)
    assert main(["predict", "MODEL.zip", "a.tif", "-o", "out", "--segment"]) == 2
    told = capsys.readouterr().err
    assert "a folder has that name" in told
    for path in Path("out").glob("a_*"):
        assert path.is_dir() or str(path) in told
