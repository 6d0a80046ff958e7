"""Micro-Manager's stacks: the order of planes by their map, by the settings of each page, or by the summary."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bioimage_inference.image.image import PixelSize
from tests.dialect_files import micromanager
from tests.reading_data import opened, pixels

SUMMARY = {"PixelSize_um": 0.325, "z-step_um": 1.5, "Interval_ms": 2000, "ChNames": ["DAPI", "FITC"]}
SIZES = {
    "y": PixelSize(0.325, "µm"),
    "x": PixelSize(0.325, "µm"),
    "z": PixelSize(1.5, "µm"),
    "t": PixelSize(2, "s"),
}
KEYS = ("ChannelIndex", "SliceIndex", "FrameIndex", "PositionIndex")
IMAGEJ = "ImageJ=1.52\nimages=12\nchannels=2\nslices=3\nframes=2\nhyperstack=true\n"


def indices(order: str, **counts: int) -> list[tuple[int, ...]]:
    """The indices c, z, t, p of pages in the order of these axes, outermost first."""
    rows = product(*(range(counts.get(axis, 1)) for axis in order))
    return [tuple(dict(zip(order, row, strict=True)).get(axis, 0) for axis in "cztp") for row in rows]


def settings(rows: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    return [dict(zip(KEYS, row, strict=True)) for row in rows]


@pytest.mark.parametrize("place", ["map", "settings", "ndtiff"])
@pytest.mark.parametrize("imagej", ["", IMAGEJ])
@pytest.mark.parametrize("order", ["tzc", "tcz", "ctz", "zct"])
def test_the_order_of_pages_is_that_of_their_indices(tmp_path: Path, order: str, imagej: str, place: str) -> None:
    counts = {"c": 2, "z": 3, "t": 2}
    rows, stack = indices(order, **counts), pixels(12, 20, 30)
    own: list[Any] = settings(rows) if place == "settings" else []
    if place == "ndtiff":
        own = [{"Axes": {"channel": ["DAPI", "FITC"][c], "z": z, "time": t}} for c, z, t, _ in rows]
    path = micromanager(tmp_path / "a.tif", stack, SUMMARY, own, rows if place == "map" else (), imagej)
    image, got = opened(path)
    np.testing.assert_array_equal(got, stack.reshape(*(counts[axis] for axis in order), 20, 30))
    assert (image.axes, image.channel_names) == (f"{order}yx", ("DAPI", "FITC"))
    assert image.pixel_size == SIZES
    assert not image.notes


def test_positions_that_the_text_of_imagej_does_not_count_are_an_axis(tmp_path: Path) -> None:
    rows, stack = indices("pz", p=2, z=3), pixels(6, 20, 30)
    imagej = "ImageJ=1.52\nimages=3\nslices=3\nhyperstack=true\n"
    image, got = opened(micromanager(tmp_path / "a.tif", stack, SUMMARY, (), rows, imagej))
    np.testing.assert_array_equal(got, stack.reshape(2, 3, 20, 30))
    assert (image.axes, image.notes) == ("pzyx", ())


def test_planes_in_no_regular_order_are_sorted(tmp_path: Path) -> None:
    rows, stack = indices("tz", t=3, z=2), pixels(6, 20, 30)
    shuffled = [4, 0, 3, 5, 1, 2]
    path = micromanager(tmp_path / "a.tif", stack[shuffled], SUMMARY, (), [rows[page] for page in shuffled])
    image, got = opened(path)
    moved = got if image.axes == "tzyx" else got.swapaxes(0, 1)
    np.testing.assert_array_equal(moved, stack.reshape(3, 2, 20, 30))
    assert set(image.axes[:2]) == set("tz")


def test_planes_of_an_aborted_acquisition_are_zeros_and_said(tmp_path: Path) -> None:
    rows, stack = indices("tz", t=2, z=3)[:5], pixels(5, 20, 30)
    image, got = opened(micromanager(tmp_path / "a.tif", stack, SUMMARY, (), rows))
    assert image.axes == "tzyx"
    np.testing.assert_array_equal(got.reshape(6, 20, 30), [*stack, np.zeros((20, 30))])
    assert "6 planes, of which 1 is missing" in image.notes[0]


@pytest.mark.parametrize(
    ("summary", "axes"),
    [
        ({"Channels": 2, "Slices": 3, "Frames": 2, "AxisOrder": ["position", "time", "z", "channel"]}, "czt"),
        ({"Channels": 2, "Slices": 3, "Frames": 2, "SlicesFirst": False, "TimeFirst": True}, "tcz"),
        ({"Channels": 2, "Slices": 3, "Frames": 2}, "tzc"),
        ({"Channels": 5, "Slices": 3, "Frames": 2}, "?"),
        ({"Channels": "many", "Slices": None}, "?"),
    ],
)
def test_without_indices_the_summary_counts(tmp_path: Path, summary: dict[str, Any], axes: str) -> None:
    stack = pixels(12, 20, 30)
    image, got = opened(micromanager(tmp_path / "a.tif", stack, summary))
    assert image.axes == f"{axes}yx"
    np.testing.assert_array_equal(got.reshape(12, 20, 30), stack)


def test_pages_state_what_the_summary_lacks(tmp_path: Path) -> None:
    rows, stack = indices("zc", z=3, c=2), pixels(6, 20, 30)
    own = [
        {**one, "PixelSizeUm": 0.5, "ZPositionUm": 100 - 0.25 * row[1], "Channel": ["Cy3", "Cy5"][row[0]]}
        for one, row in zip(settings(rows), rows, strict=True)
    ]
    image, _ = opened(micromanager(tmp_path / "a.tif", stack, {}, own))
    assert (image.axes, image.channel_names) == ("zcyx", ("Cy3", "Cy5"))
    assert image.pixel_size == {
        "y": PixelSize(0.5, "µm"),
        "x": PixelSize(0.5, "µm"),
        "z": PixelSize(0.25, "µm"),
    }


def test_a_single_plane_has_no_axes_beside_y_and_x(tmp_path: Path) -> None:
    stack = pixels(1, 20, 30)
    image, got = opened(micromanager(tmp_path / "a.tif", stack, {"ChNames": ["GFP"]}, settings([(0, 0, 0, 0)])))
    np.testing.assert_array_equal(got, stack[0])
    assert (image.axes, image.channel_names) == ("yx", ("GFP",))


@pytest.mark.parametrize(
    "rows", [[(0, 0, 0, 0)] * 3, [(0, 0, 0, 0), (0, 2**31, 0, 0), (4000, 0, 0, 0)], [(0, 0, 0, 0)]]
)
def test_a_map_that_contradicts_the_pages_is_not_used(tmp_path: Path, rows: list[tuple[int, ...]]) -> None:
    stack = pixels(3, 20, 30)
    image, got = opened(micromanager(tmp_path / "a.tif", stack, SUMMARY, (), rows))
    np.testing.assert_array_equal(got, stack)
    assert image.axes == "?yx"
