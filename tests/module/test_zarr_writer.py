"""What the OME-Zarr writer promises: read back by our reader and by others, complete or not there at all."""

import contextlib
import errno
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaozarrs
import zarr
from yaozarrs import v05

from bioimage_inference.errors import OutputError
from bioimage_inference.image.image import Image, PixelSize
from bioimage_inference.image.readers.reading import open_image
from bioimage_inference.image.writers.base import Layout
from bioimage_inference.image.writers.zarr_metadata import group_content
from bioimage_inference.image.writers.zarr_writer import (
    PartialZarr,
    ZarrWriter,
    complete_store,
    create_store,
    stored_bytes,
)
from bioimage_inference.options import ZarrVersion

Array = np.ndarray[Any, Any]
MICROMETRES = {"y": PixelSize(0.2, "µm"), "x": PixelSize(0.1, "µm"), "t": PixelSize(2.5, "s")}


def facts(axes: str, shape: tuple[int, ...], dtype: str = "float32", **more: Any) -> Layout:
    return Layout(axes, shape, np.dtype(dtype), **more)


def pixels(layout: Layout) -> Array:
    return np.random.default_rng(4).integers(0, 200, layout.shape).astype(layout.dtype)


def written(folder: Path, layout: Layout, chunks: dict[str, int], shards: dict[str, int] | None = None) -> Array:
    """An OME-Zarr that is written in two halves along the last axis."""
    create_store(folder, layout, chunks, shards)
    writer, array = ZarrWriter(folder, layout.axes), pixels(layout)
    middle = chunks["x"] * (shards is None) or (shards or {})["x"]
    for last in (slice(0, middle), slice(middle, layout.shape[-1])):
        region = (*(slice(0, size) for size in layout.shape[:-1]), last)
        writer.write(region, array[region])
    return array


def read(path: Path) -> tuple[Image, Array]:
    image = open_image(path)
    try:
        return image, image.read(tuple(slice(0, size) for size in image.shape))
    finally:
        image.close()


@pytest.mark.parametrize("shards", [None, {"y": 16, "x": 16, "c": 2, "t": 3}])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int64", "bool"])
def test_our_reader_gets_back_pixels_axes_names_and_sizes(tmp_path: Path, shards: Any, dtype: str) -> None:
    layout = facts("tcyx", (3, 2, 20, 30), dtype, pixel_size=MICROMETRES, channel_names=("nuclei", "edges"))
    array = written(tmp_path / "out.ome.zarr", layout, {"y": 8, "x": 8}, shards)
    image, got = read(tmp_path / "out.ome.zarr")
    np.testing.assert_array_equal(got, array)
    assert got.dtype == array.dtype
    assert (image.axes, image.axes_source) == ("tcyx", "file")
    assert image.channel_names == ("nuclei", "edges")
    assert image.pixel_size == MICROMETRES
    assert not image.notes


def test_the_files_are_those_that_the_grid_promises(tmp_path: Path) -> None:
    layout = facts("cyx", (2, 20, 30))
    written(tmp_path / "chunks", layout, {"y": 8, "x": 8})
    written(tmp_path / "shards", layout, {"y": 8, "x": 8}, {"c": 2, "y": 16, "x": 16})
    count = {name: len(list((tmp_path / name / "0" / "c").rglob("*/*/*"))) for name in ("chunks", "shards")}
    assert count == {"chunks": 2 * 3 * 4, "shards": 2 * 2}
    assert stored_bytes(tmp_path / "chunks") > 1000


@pytest.mark.parametrize(
    ("axes", "stored"), [("zcyx", "czyx"), ("tyx", "tyx"), ("ctzyx", "tczyx"), ("yx", "yx"), ("pcyx", "pcyx")]
)
def test_axes_are_stored_in_the_order_of_the_format(tmp_path: Path, axes: str, stored: str) -> None:
    layout = facts(axes, tuple(range(3, 3 + len(axes))))
    array = written(tmp_path / "a.ome.zarr", layout, {"y": 4, "x": 4})
    image, got = read(tmp_path / "a.ome.zarr")
    assert image.axes == stored
    np.testing.assert_array_equal(got, array.transpose([axes.index(letter) for letter in stored]))


@pytest.mark.parametrize("axes", ["yx", "cyx", "tczyx", "zcyx"])
def test_another_validator_agrees(tmp_path: Path, axes: str) -> None:
    layout = facts(axes, tuple(range(5, 5 + len(axes))), pixel_size={"x": PixelSize(65.0, "nm")})
    written(tmp_path / "a.ome.zarr", layout, {"y": 4, "x": 4})
    yaozarrs.validate_zarr_store(tmp_path / "a.ome.zarr")
    group = yaozarrs.open_group(tmp_path / "a.ome.zarr")
    ome = group.ome_metadata()
    assert isinstance(ome, v05.Image)
    last = ome.multiscales[0].axes[-1]
    assert (last.name, last.type, last.unit) == ("x", "space", "nanometer")
    assert ome.multiscales[0].datasets[0].scale_transform.scale[-1] == 65.0


def test_pixels_that_are_all_zero_are_stored_too(tmp_path: Path) -> None:
    layout = facts("yx", (8, 8))
    create_store(tmp_path / "zero.ome.zarr", layout, {"y": 4, "x": 4})
    ZarrWriter(tmp_path / "zero.ome.zarr", "yx").write((slice(0, 8), slice(0, 8)), np.zeros((8, 8), "float32"))
    assert not read(tmp_path / "zero.ome.zarr")[1].any()


def test_viewers_are_told_the_range_of_values_of_each_channel(tmp_path: Path) -> None:
    create_store(tmp_path / "a", facts("cyx", (3, 2, 2)), {"c": 2, "y": 2, "x": 2})
    block = np.full((3, 2, 2), np.nan, "float32")
    block[0, 0], block[1, 0], block[1, 1] = [-3.5, 12.0], [np.inf, 2.0], [1.0, np.nan]
    ZarrWriter(tmp_path / "a", "cyx").write((slice(0, 3), slice(0, 2), slice(0, 2)), block)
    complete_store(tmp_path / "a")
    channels = zarr.open_group(tmp_path / "a", mode="r").attrs["ome"]["omero"]["channels"]  # type: ignore[index, call-overload]
    windows = [(one["window"]["min"], one["window"]["end"]) for one in channels]
    assert windows == [(-3.5, 12.0), (1.0, 2.0), (0, 1)]
    assert [path.name for path in (tmp_path / "a").iterdir() if path.name.endswith(".partial")] == []


def test_a_store_has_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    final = tmp_path / "out.ome.zarr"
    for number in range(2):  # the second replaces the first
        store = PartialZarr(final)
        written(store.folder, facts("yx", (8, 8 + number)), {"y": 4, "x": 4})
        assert final.exists() == bool(number)
        store.commit()
        store.abort()
        assert read(final)[0].shape == (8, 8 + number)
        assert [path.name for path in tmp_path.iterdir()] == ["out.ome.zarr"]


def test_an_aborted_store_leaves_nothing_and_takes_no_more_blocks(tmp_path: Path) -> None:
    store = PartialZarr(tmp_path / "out.ome.zarr")
    create_store(store.folder, facts("yx", (8, 8)), {"y": 4, "x": 4})
    writer = ZarrWriter(store.folder, "yx")
    store.abort()
    with pytest.raises(OutputError, match="has been removed"):
        writer.write((slice(0, 8), slice(0, 8)), np.ones((8, 8), "float32"))
    with pytest.raises(OutputError):
        ZarrWriter(store.folder, "yx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["a folder of the user", "a file", "no folder to be in", "being written"])
def test_places_that_cannot_be_written_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out.ome.zarr"
    if kind == "a folder of the user":
        path.mkdir()
        (path / "thesis.txt").write_text("years of work")
    elif kind == "a file":
        path.write_text("")
    elif kind == "no folder to be in":
        path = tmp_path / "missing" / "out.ome.zarr"
    else:
        PartialZarr(path)
    with pytest.raises(OutputError) as raised:
        PartialZarr(path)
    assert str(path) in str(raised.value)
    assert kind != "a folder of the user" or (path / "thesis.txt").exists()


PARTIAL_STORE = """
from pathlib import Path
import sys
from bioimage_inference.image.writers.zarr_writer import PartialZarr
store = PartialZarr(Path(sys.argv[1]))
(store.folder / "0").mkdir()
print(store.folder.name, flush=True)
input()
"""


def test_what_a_killed_run_left_behind_is_removed_and_what_another_writes_is_not(tmp_path: Path) -> None:
    path = tmp_path / "out.ome.zarr"
    command = [sys.executable, "-c", PARTIAL_STORE, str(path)]
    with (
        subprocess.Popen(command, stdout=-1, stdin=-1, text=True) as killed,
        subprocess.Popen(command, stdout=-1, stdin=-1, text=True) as other,
    ):
        assert killed.stdout is not None
        assert other.stdout is not None
        left, used = killed.stdout.readline().strip(), other.stdout.readline().strip()
        killed.kill()
        killed.wait()
        assert (tmp_path / left / "0").is_dir()
        store = PartialZarr(path)
        assert {one.name for one in tmp_path.iterdir()} == {used, store.folder.name}
        store.abort()
        other.communicate("")


PLAIN_FILES = ("zarr.json", "0/zarr.json", "0/c")


def plain_store(folder: Path) -> None:
    """The files of an earlier store, as far as it matters for replacing it."""
    (folder / "0").mkdir(parents=True)
    for name in PLAIN_FILES:
        (folder / name).write_text("earlier")


def plain_content(folder: Path) -> tuple[str, ...]:
    return tuple((folder / name).read_text() for name in PLAIN_FILES)


REPLACEMENT = """
import os
import signal
import sys
from pathlib import Path
from bioimage_inference.image.writers.zarr_writer import PartialZarr
store = PartialZarr(Path(sys.argv[1]))
(store.folder / "0").mkdir()
for name in ("zarr.json", "0/zarr.json", "0/c"):
    (store.folder / name).write_text("new")
calls = []
def kill(event, given):
    if event in ("open", "os.rename", "os.remove", "os.rmdir"):
        calls.append(event)
        if len(calls) == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(kill)
store.commit()
"""


def test_whenever_a_run_is_killed_that_replaces_a_store_the_next_run_finds_one_complete_store(tmp_path: Path) -> None:
    """Killed before each call that makes, renames or removes something."""
    path, found = tmp_path / "out.ome.zarr", []
    code = None
    while code != 0:
        shutil.rmtree(path, ignore_errors=True)
        plain_store(path)
        command = [sys.executable, "-c", REPLACEMENT, str(path), str(len(found) + 1)]
        code = subprocess.run(command, check=False).returncode
        assert code in (0, -signal.SIGKILL)
        missing = not path.exists()
        store = PartialZarr(path)
        assert {one.name for one in tmp_path.iterdir()} == {path.name, store.folder.name}
        store.abort()
        assert not missing or [*path.glob(".*")] == []
        found.append((missing, *plain_content(path)))
    earlier, new = (False, *["earlier"] * 3), (False, *["new"] * 3)
    assert list(dict.fromkeys(found)) == [earlier, (True, *["earlier"] * 3), new]
    assert found.count(new) > 5, "some moments of removing the earlier store"


def test_a_store_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.ome.zarr"
    plain_store(path)
    store = PartialZarr(path)

    def fail(*_: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    for module in ("image.writers.zarr_writer", "files.replaced_folder"):  # the second rename, and the first one
        with monkeypatch.context() as context:
            context.setattr(f"bioimage_inference.{module}.give_name", fail)
            with pytest.raises(OutputError, match="Input/output error"):
                store.commit()
        assert plain_content(path) == ("earlier",) * 3
        assert [*path.glob(".*")] == []
    store.abort()
    assert [*tmp_path.iterdir()] == [path]


ADDED_LABELS = """
from pathlib import Path
import sys
import numpy as np
from bioimage_inference.image.writers import zarr_additions
from bioimage_inference.image.writers.base import Layout
from bioimage_inference.image.writers.ome_zarr_writer import open_labels_writer
write_group, times = zarr_additions.write_group, []
def when_told(*given):
    if not times:
        print("has read the metadata", flush=True)
        input()
    times.append(1)
    write_group(*given)
zarr_additions.write_group = when_told
path = Path(sys.argv[1])
writer = open_labels_writer(path, Layout("yx", (8, 8), np.dtype("uint8")))
writer.write((slice(0, 8), slice(0, 8)), np.ones((8, 8), "uint8"))
writer.flush()
writer.commit()
"""


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_two_runs_that_add_label_maps_at_the_same_time_both_list_theirs(
    tmp_path: Path, version: ZarrVersion, first: int
) -> None:
    image = tmp_path / "image.ome.zarr"
    create_store(image, facts("yx", (8, 8)), version=version)
    runs = []
    with contextlib.ExitStack() as stack:
        for name in ("nuclei", "cells"):
            command = [sys.executable, "-c", ADDED_LABELS, str(image / "labels" / name)]
            run = stack.enter_context(subprocess.Popen(command, stdout=-1, stdin=-1, text=True))
            assert run.stdout is not None
            assert run.stdout.readline() == "has read the metadata\n"
            runs.append(run)
        for run in (runs[first], runs[1 - first]):
            run.communicate("\n")
            assert run.returncode == 0
    _, labels = group_content(image / "labels", version)
    assert sorted(labels["labels"]) == ["cells", "nuclei"]
    yaozarrs.validate_zarr_store(image)
    with warnings.catch_warnings(action="error"):  # zarr warns of files that are no part of a group
        assert sorted(zarr.open_group(image / "labels", mode="r").keys()) == ["cells", "nuclei"]
