"""Objects as regions of interest: each format gives back the label map, with labels, planes and times of objects."""

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roifile
import shapely
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon, shape

from bioimage_inference.cli import main
from bioimage_inference.segmentation.outlines import outlines
from bioimage_inference.segmentation.region_files import OMERO_COLUMNS

TEST_DATA = Path(__file__).parents[2] / "test-data"
MODEL = str(TEST_DATA / "demo-model.zip")
Plane = tuple[int, int]
"""Index along t and z."""


def filled(geometry: Any, height: int, width: int) -> NDArray[np.bool_]:
    """The pixels whose centres lie inside."""
    y, x = np.mgrid[:height, :width] + 0.5
    inside: NDArray[np.bool_] = shapely.contains_xy(geometry, x, y)
    return inside


@given(mask=arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_outlines_are_valid_polygons_that_hold_the_pixels_of_the_object(mask: NDArray[np.bool_]) -> None:
    covered = np.zeros(mask.shape, int)
    for polygon in outlines(mask):
        geometry = Polygon(polygon.outer, polygon.holes)
        assert geometry.is_valid
        covered += filled(geometry, *mask.shape)
    assert (covered == mask).all()


@pytest.fixture
def cells() -> NDArray[np.float32]:
    """A foreground with discs, a ring around a hole, an object at the corner, and two that touch at a vertex only."""
    y, x = np.mgrid[:70, :90]
    distance = np.hypot(y - 35, x - 60)
    cells = (np.hypot(y - 20, x - 20) < 9) | ((distance > 8) & (distance < 17))
    cells[:6, :7] = cells[50:60, 10:20] = cells[60:66, 20:29] = True
    return cells.astype(np.float32)


def segmented(folder: Path, foreground: NDArray[np.float32], axes: str, *more: str) -> Path:
    """Run ``segment --rois`` and return the beginning of the files' names."""
    np.save(folder / "p.npy", foreground)
    arguments = ["--axes", axes, "--object-boundary", "none", "-o", str(folder / "out"), "--rois", *more]
    assert main(["segment", str(folder / "p.npy"), *arguments]) == 0
    return folder / "out" / "p"


def label_planes(start: Path, axes: str) -> dict[Plane, NDArray[Any]]:
    labels = tifffile.imread(f"{start}_labels.tif")
    times = labels if "t" in axes else labels[None]
    return {(t, z): plane for t, time in enumerate(times) for z, plane in enumerate(time if "z" in axes else [time])}


def from_geojson(start: Path) -> Iterator[tuple[int, Plane, Any]]:
    content = json.loads(Path(f"{start}_rois.geojson").read_text(encoding="utf-8"))
    assert content["type"] == "FeatureCollection"
    for feature in content["features"]:
        assert feature["properties"]["objectType"] == "detection"
        plane = feature["geometry"].pop("plane", {"z": 0, "t": 0})
        yield feature["properties"]["label"], (plane["t"], plane["z"]), shape(feature["geometry"])


def from_imagej(start: Path) -> Iterator[tuple[int, Plane, Any]]:
    for roi in roifile.roiread(f"{start}_rois.zip"):
        rings = [ring[:-1] if (ring[0] == ring[-1]).all() else ring for ring in roi.coordinates(multi=True)]
        geometry: Any = Polygon()
        for ring in rings:  # ImageJ fills a composite by the even-odd rule
            geometry = geometry.symmetric_difference(Polygon(ring))
        yield int(roi.name.split()[1]), (max(roi.t_position, 1) - 1, max(roi.z_position, 1) - 1), geometry


def from_omero(start: Path) -> Iterator[tuple[int, Plane, Any]]:
    with Path(f"{start}_rois.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        assert tuple(rows.fieldnames or ()) == OMERO_COLUMNS
        for row in rows:
            assert row["shape"] == "Polygon"
            points = [tuple(map(int, point.split(","))) for point in row["points"].strip("()").split("),(")]
            yield int(row["label"].split()[1]), (int(row["t"]), int(row["z"])), Polygon(points)


@pytest.mark.parametrize("read", [from_geojson, from_imagej, from_omero])
@pytest.mark.parametrize("axes", ["yx", "zyx", "tyx", "tzyx"])
def test_regions_give_back_the_label_map(tmp_path: Path, cells: NDArray[np.float32], axes: str, read: Any) -> None:
    foreground = cells
    if "z" in axes:
        foreground = np.stack([np.roll(cells, shift, axis=1) for shift in (0, 1, 2)])
    if "t" in axes:
        foreground = np.stack([foreground, foreground[..., ::-1]])
    start = segmented(tmp_path, foreground, axes)
    planes = label_planes(start, axes)
    found = {plane: np.zeros_like(labels) for plane, labels in planes.items()}
    for label, plane, geometry in read(start):
        assert geometry.is_valid
        inside = filled(geometry, *cells.shape)
        assert (found[plane][inside] == 0).all()
        found[plane][inside] = label
    for plane, labels in planes.items():
        assert labels.any()
        if read is from_omero:  # its polygons have no holes
            assert (found[plane][labels > 0] == labels[labels > 0]).all()
        else:
            assert (found[plane] == labels).all()


def test_parts_of_an_object_in_a_plane_stay_one_region(tmp_path: Path) -> None:
    """A vault: two pillars that meet in the plane above them."""
    vault = np.zeros((2, 20, 30), np.float32)
    vault[0, 5:15, 3:10] = vault[0, 5:15, 18:25] = vault[1, 5:15, 3:25] = 1
    start = segmented(tmp_path, vault, "zyx")
    regions = list(from_geojson(start))
    assert [(label, plane[1]) for label, plane, _ in regions] == [(1, 0), (1, 1)]
    assert isinstance(regions[0][2], MultiPolygon)
    assert [roi.z_position for roi in roifile.roiread(f"{start}_rois.zip")] == [1, 2]


def test_equal_objects_give_equal_files(tmp_path: Path, cells: NDArray[np.float32]) -> None:
    first = segmented(tmp_path, cells, "yx")
    before = Path(f"{first}_rois.zip").read_bytes()
    segmented(tmp_path, cells, "yx", "--overwrite")
    assert Path(f"{first}_rois.zip").read_bytes() == before


def test_no_objects_give_files_without_regions(tmp_path: Path) -> None:
    start = segmented(tmp_path, np.zeros((20, 30), np.float32), "yx")
    assert list(from_geojson(start)) == list(from_omero(start)) == []
    with zipfile.ZipFile(f"{start}_rois.zip") as archive:
        assert archive.namelist() == []


def test_a_rois_of_a_position_names_it(tmp_path: Path, cells: NDArray[np.float32]) -> None:
    start = segmented(tmp_path, np.stack([cells, cells]), "pyx")
    names = [roi.name for roi in roifile.roiread(f"{start}_rois.zip")]
    assert names[0] == "object 1 (p 0)"
    assert names[-1].endswith("(p 1)")


def test_single_files_can_be_named(tmp_path: Path, cells: NDArray[np.float32]) -> None:
    np.save(tmp_path / "p.npy", cells)
    arguments = ["segment", str(tmp_path / "p.npy"), "--axes", "yx", "--object-boundary", "none"]
    assert main([*arguments, "--rois-geojson", str(tmp_path / "cells.json")]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.json", "p.npy"]
    assert main([*arguments, "--rois-table", str(tmp_path / "r.tsv"), "--rois"]) == 2


def test_predict_writes_regions_and_records_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = TEST_DATA / "nuclei.tif"
    arguments = ["predict", MODEL, str(image), "-o", str(tmp_path), "--segment", "--rois"]
    assert main(arguments) == 0
    record = json.loads((tmp_path / "nuclei_provenance.json").read_text(encoding="utf-8"))
    assert Path(record["objects"]["rois_zip"]) == tmp_path / "nuclei_rois.zip"
    assert {"rois_zip", "rois_geojson", "rois_table"} <= record["objects"]["sha256"].keys()
    assert len({label for label, *_ in from_geojson(tmp_path / "nuclei")}) == record["objects"]["count"]
    capsys.readouterr()
    assert main([*arguments, "--resume"]) == 0
    assert main(["predict", MODEL, str(image), "-o", str(tmp_path / "b"), "--rois"]) == 2
    assert "--segment" in capsys.readouterr().err


def test_the_roi_set_is_read_by_other_zip_programs(tmp_path: Path, cells: NDArray[np.float32]) -> None:
    start = segmented(tmp_path, cells, "yx")
    with zipfile.ZipFile(io.BytesIO(Path(f"{start}_rois.zip").read_bytes())) as archive:
        assert archive.testzip() is None
        assert all(name.endswith(".roi") for name in archive.namelist())
