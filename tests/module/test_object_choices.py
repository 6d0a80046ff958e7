"""Which regions are objects, their measures, and how planes are joined, compared with scikit-image and SciPy."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import pdist
from skimage.measure import regionprops

from bioimage_inference.cli import main
from bioimage_inference.image.array_images import array_image
from bioimage_inference.segmentation.hole_filling import fill_holes
from bioimage_inference.segmentation.label_blocks import LabelFile
from bioimage_inference.segmentation.measuring import Meter
from bioimage_inference.segmentation.prediction_maps import Samples

Rows = list[dict[str, str]]


def segmented(
    folder: Path, foreground: NDArray[Any], axes: str, *more: str, image: NDArray[Any] | None = None
) -> tuple[NDArray[Any], Rows]:
    """Segment a foreground without boundary; return the label map and the rows of the table."""
    np.save(folder / "p.npy", foreground.astype(np.float32))
    arguments = ["segment", str(folder / "p.npy"), "--axes", axes, "--object-boundary", "none", "-o", str(folder / "o")]
    if image is not None:
        tifffile.imwrite(
            folder / "i.tif", image, imagej=True, resolution=(2, 2), metadata={"unit": "um", "axes": axes.upper()}
        )
        arguments += ["--image", str(folder / "i.tif")]
    assert main([*arguments, "--overwrite", *more]) == 0
    with (folder / "o" / "p_objects.csv").open(encoding="utf-8", newline="") as file:
        return tifffile.imread(folder / "o" / "p_labels.tif"), list(csv.DictReader(file))


@pytest.fixture
def shapes() -> NDArray[np.bool_]:
    """A small and a large square, a disc, a ring around a dot, and an object at the border."""
    y, x = np.mgrid[:80, :100]
    shapes = (np.hypot(y - 20, x - 70) < 12) | (np.abs(np.hypot(y - 55, x - 70) - 15) < 4)
    shapes |= np.hypot(y - 55, x - 70) < 3
    shapes[10:15, 10:15] = shapes[30:50, 10:35] = shapes[70:, 10:20] = True
    return shapes


def sizes(labels: NDArray[Any]) -> set[int]:
    return set(np.bincount(labels.ravel())[1:].tolist())


def test_sizes_and_borders_choose_objects(
    tmp_path: Path, shapes: NDArray[np.bool_], capsys: pytest.CaptureFixture[str]
) -> None:
    everything = sizes(segmented(tmp_path, shapes, "yx")[0])
    assert everything >= {25, 500, 100}
    smaller, _ = segmented(tmp_path, shapes, "yx", "--object-max-size", "499")
    assert sizes(smaller) == {size for size in everything if size < 500}
    assert "more than 499 pixels" in capsys.readouterr().out
    inside, rows = segmented(tmp_path, shapes, "yx", "--exclude-border", "--min-size", "26")
    assert sizes(inside) == everything - {25, 100}
    assert {row["touches_border"] for row in rows} == {"0"}
    assert [int(row["label"]) for row in rows] == list(range(1, len(rows) + 1))


def test_holes_are_filled_but_for_the_objects_in_them(tmp_path: Path, shapes: NDArray[np.bool_]) -> None:
    labels, rows = segmented(tmp_path, shapes, "yx", "--fill-holes")
    assert ((labels > 0) == ndimage.binary_fill_holes(shapes)).all()
    ring, dot = labels[55, 55], labels[55, 70]
    assert ring != dot
    assert labels[55, 63] == ring
    y, x = np.mgrid[:80, :100]
    assert ((labels == dot) == (np.hypot(y - 55, x - 70) < 3)).all()
    assert int(rows[ring - 1]["area_px"]) == (labels == ring).sum()


@pytest.mark.parametrize("most", [500, 8000])
def test_holes_are_filled_across_blocks(tmp_path: Path, shapes: NDArray[np.bool_], most: int) -> None:
    before, count = ndimage.label(shapes, output=np.uint32)
    samples = Samples(array_image(shapes, "yx"), "yx")
    meter = Meter(0, count, shapes.shape, 0)
    meter.add((slice(0, 80), slice(0, 100)), before, [])
    with (
        LabelFile(tmp_path / "a.npy", "yx", shapes.shape) as regions,
        LabelFile(tmp_path / "b.npy", "yx", shapes.shape) as filled,
    ):
        regions.write((slice(0, 80), slice(0, 100)), before)
        fill_holes(regions, meter.result(), samples, filled, most)
        found = filled.read((slice(0, 80), slice(0, 100)))
    assert ((found > 0) == ndimage.binary_fill_holes(shapes)).all()
    assert (found[shapes] == before[shapes]).all()


def test_measures_are_those_of_scikit_image(tmp_path: Path, shapes: NDArray[np.bool_]) -> None:
    light = np.random.default_rng(0).integers(100, 60000, (2, *shapes.shape)).astype(np.uint16)
    labels, rows = segmented(tmp_path, shapes, "yx", image=light[0])
    for expected, row in zip(regionprops(labels, light[0]), rows, strict=True):
        assert float(row["perimeter_px"]) == pytest.approx(expected.perimeter, rel=1e-6)
        assert float(row["perimeter_um"]) == pytest.approx(expected.perimeter / 2, rel=1e-6)
        assert float(row["eccentricity"]) == pytest.approx(expected.eccentricity, abs=1e-6)
        assert float(row["std_intensity"]) == pytest.approx(expected.image_intensity[expected.image].std(), rel=1e-6)
        corners = np.concatenate([expected.coords + np.array([y, x]) for y in (0, 1) for x in (0, 1)])
        assert float(row["feret_px"]) == pytest.approx(pdist(corners).max(), rel=1e-6)
        assert float(row["feret_um"]) == pytest.approx(pdist(corners).max() / 2, rel=1e-6)


def test_the_spread_of_bright_values_is_exact(tmp_path: Path) -> None:
    """Sums of squares would lose the spread of values that are far from zero."""
    shapes = np.zeros((20, 30))
    shapes[5:15, 5:25] = 1
    light = (1e7 + np.random.default_rng(0).normal(size=shapes.shape)).astype(np.float32)
    labels, rows = segmented(tmp_path, shapes, "yx", image=light)
    assert float(rows[0]["std_intensity"]) == pytest.approx(light[labels > 0].astype(float).std(), rel=1e-4)


def stack_of_discs() -> NDArray[np.bool_]:
    """Two columns that touch in no plane, drift, and end; and one that begins where another ended."""
    y, x = np.mgrid[:40, :60]
    stack = np.zeros((6, 40, 60), bool)
    for z in range(6):
        stack[z] |= np.hypot(y - 15, x - 14 - z) < 8
        if z < 3:
            stack[z] |= np.hypot(y - 20, x - 45) < 9
        else:
            stack[z] |= np.hypot(y - 33, x - 48) < 6
    return stack


def test_planes_are_joined_by_their_overlap(tmp_path: Path) -> None:
    stack = stack_of_discs()
    light = np.random.default_rng(1).random(stack.shape).astype(np.float32)
    labels, rows = segmented(tmp_path, stack, "zyx", "--stitch", image=light)
    assert ((labels > 0) == stack).all()
    assert len(rows) == 3
    for expected, row in zip(regionprops(labels, light), rows, strict=True):
        assert int(row["volume_px"]) == expected.area
        assert float(row["centroid_z_px"]) == pytest.approx(expected.centroid[0], rel=1e-5)
        assert float(row["centroid_x_px"]) == pytest.approx(expected.centroid[2], rel=1e-5)
        assert [int(row[f"bbox_{end}_z"]) for end in ("min", "max")] == [expected.bbox[0], expected.bbox[3]]
        inside = light[labels == expected.label].astype(float)
        assert float(row["mean_intensity"]) == pytest.approx(inside.mean(), rel=1e-5)
        assert float(row["std_intensity"]) == pytest.approx(inside.std(), rel=1e-5)
        assert float(row["max_intensity"]) == pytest.approx(inside.max(), rel=1e-6)
    stricter, _ = segmented(tmp_path, stack, "zyx", "--object-stitch", "0.95")
    assert stricter.max() > 3


def test_stitching_joins_each_object_to_one_of_the_next_plane(tmp_path: Path) -> None:
    """A disc over two halves goes on as the half that it overlaps more."""
    stack = np.zeros((2, 30, 40))
    stack[0, 5:25, 5:35] = 1
    stack[1, 5:25, 5:18] = stack[1, 5:25, 20:35] = 1
    labels, _ = segmented(tmp_path, stack, "zyx", "--stitch")
    assert labels.max() == 2
    assert labels[1, 10, 30] == labels[0, 10, 10]
    assert labels[1, 10, 10] != labels[0, 10, 10]
    joined, _ = segmented(tmp_path, stack, "zyx")
    assert joined.max() == 1


def test_each_time_point_of_stacks_is_stitched_by_itself(tmp_path: Path) -> None:
    stack = stack_of_discs()
    both, _ = segmented(tmp_path, np.stack([stack, stack[::-1]], axis=1), "ztyx", "--stitch")
    alone, _ = segmented(tmp_path, stack, "zyx", "--stitch")
    assert both.max() == 6
    assert (both[0] == alone).all()


def test_stitching_needs_planes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "p.npy", np.zeros((20, 20), np.float32))
    arguments = ["segment", str(tmp_path / "p.npy"), "--axes", "yx", "--object-boundary", "none"]
    assert main([*arguments, "--stitch"]) == 2
    assert "no planes along z" in capsys.readouterr().err
    assert main([*arguments, "--stitch", "1.5"]) == 2


def test_the_record_names_the_choices(tmp_path: Path) -> None:
    data = Path(__file__).parents[2] / "test-data"
    arguments = ["predict", str(data / "demo-model.zip"), str(data / "nuclei.tif"), "-o", str(tmp_path), "--segment"]
    assert main([*arguments, "--exclude-border", "--fill-holes", "--max-size", "5000"]) == 0
    objects = json.loads((tmp_path / "nuclei_provenance.json").read_text(encoding="utf-8"))["objects"]
    assert objects["exclude_border"] is objects["fill_holes"] is True
    assert objects["max_size"] == 5000
    assert "stitch" not in objects
    assert objects["count"] < 72
