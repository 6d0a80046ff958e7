"""Makes the tables of ``docs/reference/formats.md``: what is read from each format, and what each output holds.

    python -m tests.formats_page

Every row is observed: a file of the format is written, opened with this program, and compared with what was written.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import imagecodecs
import numpy as np
import tifffile
from PIL import Image as Pillow

from bioimage_inference.cli import main
from bioimage_inference.image.image import Image
from bioimage_inference.image.readers.reading import list_series, open_image
from bioimage_inference.image.series import MAIN, Selection
from tests import microscope_files, models
from tests.dialect_samples import DIALECTS
from tests.module.test_reading_zarr import ome_zarr, zipped
from tests.reading_data import MINISBLACK, Array, whole
from tests.reading_plates import write_plate

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "formats.md"
_READ = "| format | axes | channel names | pixel size | pyramid | several images | read in memory |"
_WRITTEN = "| output | axes | channel names | pixel size | pyramid | numbers |"
_RNG = np.random.default_rng(5)
_MICROMETRE = {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm", "PhysicalSizeZUnit": "µm"}
_OME = {
    **_MICROMETRE,
    **{
        "PhysicalSizeX": 0.1,
        "PhysicalSizeY": 0.1,
        "PhysicalSizeZ": 0.5,
        "TimeIncrement": 2.5,
        "TimeIncrementUnit": "s",
    },
}


def _pixels(*shape: int, dtype: str = "uint16") -> Array:
    return _RNG.integers(0, 250, shape).astype(dtype)


@dataclass(frozen=True)
class _Sample:
    """A format, and a function that writes a file of it into a folder and returns file and main image."""

    title: str
    write: Callable[[Path], tuple[Path, Array]]


def _ome_tiff(folder: Path) -> tuple[Path, Array]:
    path, stack = folder / "a.ome.tif", _pixels(2, 3, 2, 64, 64)
    with tifffile.TiffWriter(path, ome=True) as writer:
        for name in ("left", "right"):
            facts = {**_OME, "axes": "TZCYX", "Name": name, "Channel": {"Name": ["DAPI", "GFP"]}}
            writer.write(stack, metadata=facts, **MINISBLACK)
    return path, stack


def _pyramid(folder: Path) -> tuple[Path, Array]:
    path, plane = folder / "a.ome.tif", _pixels(128, 128)
    with tifffile.TiffWriter(path, ome=True) as writer:
        facts = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, **_MICROMETRE}
        tiles = {"tile": (32, 32), "compression": "zlib"}
        writer.write(plane, subifds=1, metadata=facts, **tiles, **MINISBLACK)
        writer.write(plane[::2, ::2], subfiletype=1, **tiles, **MINISBLACK)
    return path, plane


def _imagej(folder: Path) -> tuple[Path, Array]:
    stack = _pixels(2, 3, 2, 64, 64)
    labels = [f"{name}\n" for _ in range(6) for name in ("DAPI", "GFP")]
    facts = {"axes": "TZCYX", "unit": "um", "spacing": 0.5, "finterval": 2.5, "tunit": "sec", "Labels": labels}
    tifffile.imwrite(folder / "a.tif", stack, imagej=True, resolution=(10, 10), metadata=facts)
    return folder / "a.tif", stack


def _plain_tiff(folder: Path) -> tuple[Path, Array]:
    stack = _pixels(3, 64, 64)
    tifffile.imwrite(
        folder / "a.tif", stack, metadata=None, resolution=(100, 100), resolutionunit="CENTIMETER", **MINISBLACK
    )
    return folder / "a.tif", stack


def _zarr(version: str) -> Callable[[Path], tuple[Path, Array]]:
    def write(folder: Path) -> tuple[Path, Array]:
        array = _pixels(2, 2, 64, 64)
        return ome_zarr(folder, array, version), array

    return write


def _zipped_zarr(folder: Path) -> tuple[Path, Array]:
    array = _pixels(2, 2, 64, 64)
    (folder / "zip").mkdir()
    return zipped(ome_zarr(folder / "zip", array)), array


def _plate(folder: Path) -> tuple[Path, Array]:
    fields = write_plate(folder / "plate.zarr", {"B/03": ["0", "1"]})
    return folder / "plate.zarr", fields["B/03/0"]


def _picture(kind: str) -> Callable[[Path], tuple[Path, Array]]:
    def write(folder: Path) -> tuple[Path, Array]:
        path, colours = folder / "a.dat", _pixels(64, 64, 3, dtype="uint8")
        Pillow.fromarray(colours).save(path, kind)
        return path, np.asarray(imagecodecs.imread(path)) if kind == "JPEG" else colours

    return write


def _npy(folder: Path) -> tuple[Path, Array]:
    stack = _pixels(3, 64, 64)
    np.save(folder / "a.npy", stack)
    return folder / "a.npy", stack


def _nd2(folder: Path) -> tuple[Path, Array]:
    frames = _pixels(12, 64, 64, 2)
    loops = [
        microscope_files.nd2_time(2, 500.0),
        microscope_files.nd2_positions("A", "B"),
        microscope_files.nd2_stack(3, 1.5),
    ]
    path = microscope_files.write_nd2(folder / "a.nd2", frames, loops, ("DAPI", "GFP"))
    return path, frames.reshape(2, 2, 3, 64, 64, 2)[:, 0].transpose(0, 1, 4, 2, 3)


def _lif(folder: Path) -> tuple[Path, Array]:
    stack = _pixels(2, 3, 2, 64, 64)
    lengths = {"t": 2.5, "z": 1e-6, "y": 63e-7, "x": 63e-7}
    image = microscope_files.LeicaImage("left", stack, "tzcyx", ("Green", "Red"), lengths)
    other = microscope_files.LeicaImage("right", stack, "tzcyx", ("Green", "Red"), lengths)
    return microscope_files.write_lif(folder / "a.lif", image, other), stack


def _czi(folder: Path) -> tuple[Path, Array]:
    stack, tiles = _pixels(2, 2, 3, 64, 64), []
    for at in microscope_files.grid({"S": 2, "T": 2, "C": 2, "Z": 3}):
        tiles.append(microscope_files.CziTile(stack[at["T"], at["C"], at["Z"]], {**at, "X": 100 * at["S"]}))
    xml = microscope_files.czi_xml({"X": 1e-7, "Y": 1e-7, "Z": 5e-7}, ("DAPI", "GFP"), 2.5, ("left", "right"))
    return microscope_files.write_czi(folder / "a.czi", tiles, xml), stack


SAMPLES = (
    _Sample("OME-TIFF", _ome_tiff),
    _Sample("OME-TIFF with a pyramid, tiled and compressed", _pyramid),
    _Sample("ImageJ TIFF", _imagej),
    *(_Sample(title, write) for title, write in DIALECTS.items()),
    _Sample("other TIFF (also BigTIFF)", _plain_tiff),
    _Sample("OME-Zarr 0.5", _zarr("0.5")),
    _Sample("OME-Zarr 0.4", _zarr("0.4")),
    _Sample("OME-Zarr in a zip", _zipped_zarr),
    _Sample("OME-Zarr plate", _plate),
    _Sample("Nikon ND2", _nd2),
    _Sample("Leica LIF, LOF", _lif),
    _Sample("Zeiss CZI", _czi),
    _Sample("PNG", _picture("PNG")),
    _Sample("JPEG", _picture("JPEG")),
    _Sample("`.npy`", _npy),
)


def tables() -> dict[str, str]:
    """The lines of each table by its first line. Raises AssertionError if pixels differ from what was written."""
    with TemporaryDirectory() as name:
        read = [_read_row(sample, Path(name) / str(number)) for number, sample in enumerate(SAMPLES)]
        written = list(_written_rows(Path(name) / "written"))
    return {head: _table(head, rows) for head, rows in ((_READ, read), (_WRITTEN, written))}


def _table(head: str, rows: Sequence[Sequence[str]]) -> str:
    rule = "| --- " * (head.count("|") - 1) + "|"
    return "".join(f"{line}\n" for line in (head, rule, *(f"| {' | '.join(row)} |" for row in rows)))


def _renewed(text: str) -> str:
    """The page with the tables of now."""
    for head, table in tables().items():
        text = re.sub(rf"^{re.escape(head)}\n(\|.*\n)*", lambda _, table=table: table, text, flags=re.MULTILINE)
    return text


def _read_row(sample: _Sample, folder: Path) -> tuple[str, ...]:
    folder.mkdir()
    path, right = sample.write(folder)
    series = [one for one in list_series(path) if not one.preview]
    plate = series[0].well is not None
    image = open_image(path, None, Selection(well=series[0].well, field=0) if plate else MAIN)
    got = whole(image)
    image.close()
    np.testing.assert_array_equal(got, right, sample.title)
    memory = "region" if not image.piece else "chunk" if image.piece < got.nbytes else "whole"
    several = "`--well`, `--field`" if plate else "`--series`" if len(series) > 1 else "–"
    return sample.title, *_facts(image), "`--level`" if len(series[0].levels) > 1 else "–", several, memory


def _facts(image: Image) -> tuple[str, str, str]:
    """Axes, channel names and pixel size as cells of a table."""
    axes = image.axes.upper() if image.axes_source == "file" else "guessed"
    sizes = " ".join(axis.upper() for axis in image.axes if axis in image.pixel_size)
    names = "–" if not image.channel_names else "colours" if "s" in image.axes else "yes"
    return axes, names, sizes or "–"


def _written_rows(folder: Path) -> Iterator[tuple[str, ...]]:
    folder.mkdir()
    stack = _pixels(2, 2, 64, 64).astype("float32")
    source = folder / "cells.tif"
    facts = {"axes": "TCYX", "unit": "um", "finterval": 2.5, "tunit": "sec"}
    tifffile.imwrite(source, stack, imagej=True, resolution=(10, 10), metadata=facts)
    model = models.write_model(folder / "model", models.Identity(), *models.simple_tensors(inputs=2, outputs=2))
    for title, options, suffix in (
        ("TIFF, `--tiff-layout labelled`", ["--tiff-layout", "labelled"], "tif"),
        ("TIFF, `--tiff-layout pages`", ["--tiff-layout", "pages"], "tif"),
        ("TIFF, `--tiff-layout pyramid`", ["--tiff-layout", "pyramid"], "tif"),
        ("`.npy`", [], "npy"),
        ("OME-Zarr 0.5", ["--format", "zarr"], "ome.zarr"),
        ("OME-Zarr 0.4", ["--format", "zarr", "--zarr-version", "0.4"], "ome.zarr"),
    ):
        out = folder / f"out{len(list(folder.iterdir()))}"
        code = main(["predict", str(model), str(source), "-o", str(out), *options])
        assert code == 0, title
        path = out / f"cells_out.{suffix}"
        image = open_image(path)
        got = whole(image)
        image.close()
        np.testing.assert_array_equal(got.ravel(), stack.ravel(), title)
        series = list_series(path)
        yield title, *_facts(image), "yes" if len(series[0].levels) > 1 else "–", got.dtype.name


if __name__ == "__main__":
    PAGE.write_text(_renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
