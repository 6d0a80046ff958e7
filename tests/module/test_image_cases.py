"""Small images in the dialects that microscopes write: every row of the table beside them, where they are there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from bioimage_inference.image.axis_mapping import TensorAxes, map_axes
from tests.reading_data import opened

CASES = Path(__file__).parents[3] / "shared" / "image-cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"no images at {CASES}")

# What each file is: axes, shape, pixel size by axis in its unit, channel names, and words of the notes.
Right = tuple[str, tuple[int, ...], dict[str, tuple[float, str]], tuple[str, ...], tuple[str, ...]]
HALF = {"y": (0.5, "µm"), "x": (0.5, "µm")}
RIGHT: dict[str, Right] = {
    "imagej-reversed-stack/a.tif": (
        "zyx",
        (4, 20, 30),
        {"y": (0.25, "µm"), "x": (0.25, "µm"), "z": (2, "µm")},
        (),
        ("reversed",),
    ),
    "ome-picometre/a.ome.tif": ("cyx", (2, 20, 30), {"y": (500, "nm"), "x": (500, "nm")}, ("DAPI", "GFP"), ()),
    **{
        f"ome-companion/{name}": ("cyx", (2, 20, 30), HALF, ("DAPI", "GFP"), ("spread over 2 files",))
        for name in ("m.companion.ome", "m_C0.ome.tif", "m_C1.ome.tif")
    },
    "imagej-promises-more/a.tif": ("tyx", (4, 20, 30), {}, (), ("6 frames are missing",)),
    "metamorph-stk/a.stk": ("zyx", (5, 20, 30), {"y": (0.65, "µm"), "x": (0.65, "µm")}, (), ()),
    "zeiss-lsm/a.lsm": ("zyx", (5, 20, 30), {"y": (0.2, "µm"), "x": (0.2, "µm"), "z": (1, "µm")}, (), ()),
    "fei-sem/a.tif": ("yx", (20, 30), {"y": (4, "nm"), "x": (4, "nm")}, (), ()),
    "aperio-svs/a.svs": (
        "yxs",
        (96, 128, 3),
        {"y": (0.499, "µm"), "x": (0.499, "µm")},
        ("red", "green", "blue"),
        ("Thumbnail",),
    ),
    "micromanager-stack/a_MMStack.tif": (
        "zyx",
        (5, 20, 30),
        {"y": (0.325, "µm"), "x": (0.325, "µm"), "z": (1, "µm")},
        ("DAPI",),
        (),
    ),
    "preview-first/a.tif": ("yx", (96, 128), {}, (), ()),
    "page-names/a.tif": ("cyx", (5, 20, 30), {}, ("DNA1", "DNA2", "CD3", "CD20", "CK"), ("taken as channels",)),
    "micromanager-cm/a.tif": ("yx", (64, 64), {"y": (0.325, "µm"), "x": (0.325, "µm")}, (), ("pixels per cm",)),
    "scifio/a.tif": ("yx", (64, 64), {"y": (0.15, "µm"), "x": (0.15, "µm")}, (), ()),
    "bioformats-rgb/a.tif": ("yxs", (20, 30, 3), {}, ("red", "green", "blue"), ()),
    "bioformats-rgb/compressed.tif": ("yxs", (20, 30, 3), {}, ("red", "green", "blue"), ()),
}


def stored(path: Path, shape: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    """The pixels of the pages that have the height and width of the image, as tifffile decodes them one by one."""
    if path.suffix == ".stk":
        return np.asarray(tifffile.imread(path))
    if path.parent.name == "ome-companion":
        return np.stack([tifffile.imread(one, is_ome=False) for one in sorted(path.parent.glob("*.tif"))])
    sides = shape[:2] if shape[-1] == 3 else shape[-2:]
    with tifffile.TiffFile(path, is_ome=False) as tif:
        pages = [page.asarray() for page in tif.pages if page.shape[:2] == sides]
    return np.stack(pages).reshape(shape)


@pytest.mark.parametrize("name", RIGHT)
def test_what_microscopes_write_is_read_right(name: str) -> None:
    axes, shape, sizes, channels, notes = RIGHT[name]
    image, got = opened(CASES / name)
    assert (image.axes, image.shape, image.channel_names) == (axes, shape, channels)
    assert {axis: (size.value, size.unit) for axis, size in image.pixel_size.items()} == sizes
    assert bool(image.notes) == bool(notes), image.notes
    assert all(any(word in note for note in image.notes) for word in notes), image.notes
    np.testing.assert_array_equal(got, stored(CASES / name, shape))


def test_every_file_of_the_folder_has_its_row() -> None:
    files = {str(path.relative_to(CASES)) for path in CASES.rglob("*") if path.is_file()}
    assert files - {"README.md"} == set(RIGHT)


def test_a_channel_is_taken_by_number_or_name() -> None:
    image, got = opened(CASES / "page-names" / "a.tif")
    still = replace(image, read=lambda region: got[region])
    for channel in (2, "CD3", "cd3"):
        one = map_axes(still, TensorAxes("raw", "bcyx", 1, {"y": 8, "x": 8}), (channel,))
        assert one.channels == (2,)
        np.testing.assert_array_equal(one.read((), {})[0, 0], got[2])
