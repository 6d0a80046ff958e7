"""Every kind of output as other programs see it: axes, names, pixel sizes and values.

The outputs are written once. The metadata of the images, and the values of the ``.npy`` files, are what every other
file must show. Pillow decodes TIFF with libtiff, so it shares no code with tifffile, which writes the files.
"""

import csv
import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import bioio_ome_tiff
import bioio_ome_zarr
import bioio_tifffile
import numpy as np
import ome_types
import pytest
import shapely
import tifffile
import yaozarrs
import zarr
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import regionprops

from bioimage_inference.cli import main
from tests.machine import HANG_SECONDS

Array = NDArray[Any]
SIZES = MappingProxyType({"t": 30.0, "z": 1.5, "y": 0.25, "x": 0.325})  # seconds and µm
NO_SIZES = MappingProxyType({"x": 1.0, "y": 1.0, "z": 1.0, "t": 0.0})  # what ImageJ shows where it knows none
MAPS = ("foreground", "boundary")
IMAGEJ = Path("/usr/share/java/ij.jar")  # Debian's package imagej


@dataclass(frozen=True)
class Prediction:
    """What every file of a prediction must show. ``values`` have the axes, slowest first, as a labelled TIFF."""

    axes: str
    values: Array
    names: tuple[str, ...]
    output: str = "prediction"

    @property
    def letters(self) -> str:
        """The axes without channels, which are those of the label map."""
        return self.axes.replace("c", "")

    def ordered(self, axes: str) -> Array:
        """The values under these axes; an axis that the prediction lacks has one entry."""
        kept = "".join(letter for letter in axes if letter in self.axes)
        moved = self.values.transpose([self.axes.index(letter) for letter in kept])
        return moved.reshape([moved.shape[kept.index(letter)] if letter in kept else 1 for letter in axes])


@dataclass(frozen=True)
class Outputs:
    """The folders ``labelled``, ``pages`` and ``pyramid`` of TIFFs, and what must be seen in them by image."""

    folder: Path
    predictions: Mapping[str, Prediction]

    def tiff(self, layout: str, image: str) -> Path:
        return self.folder / layout / f"{image}_{self.predictions[image].output}.tif"

    def zarr(self, layout: str, image: str) -> Path:
        return self.folder / layout / f"{image}_{self.predictions[image].output}.ome.zarr"

    def labels(self, image: str) -> Array:
        return tifffile.imread(self.folder / "labelled" / f"{image}_labels.tif")

    def rows(self, image: str) -> list[dict[str, str]]:
        with (self.folder / "labelled" / f"{image}_objects.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


def write_image(path: Path, pixels: Array, axes: str) -> None:
    """An ImageJ hyperstack with pixel sizes, and with names of channels if it has two."""
    metadata: dict[str, Any] = {"axes": axes, "unit": "um", "spacing": SIZES["z"], "finterval": SIZES["t"]}
    if "C" in axes:
        metadata["Labels"] = ["GFP", "DAPI"] * (pixels[..., 0, 0].size // 2)
    tifffile.imwrite(path, pixels, imagej=True, resolution=(1 / SIZES["x"], 1 / SIZES["y"]), metadata=metadata)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    data, folder = Path(__file__).parents[2] / "test-data", tmp_path_factory.mktemp("seen")
    nuclei, stack = tifffile.imread(data / "nuclei.tif"), tifffile.imread(data / "nuclei_3d.tif")
    movie = np.stack([stack[8:11], stack[8:11, ::-1]])
    write_image(folder / "flat.tif", np.stack([0 * nuclei, nuclei])[:, :96, :128], "CYX")
    write_image(folder / "movie.tif", np.stack([0 * movie, movie], axis=2), "TZCYX")
    write_image(folder / "wide.tif", np.tile(np.stack([0 * nuclei, nuclei])[:, :65], 2), "CYX")
    write_image(folder / "stack.tif", stack[8:16], "ZYX")
    with Image.open(data / "tissue.png") as tissue:
        tissue.crop((0, 0, 80, 64)).save(folder / "tissue.png")

    def run(model: str, images: str, layout: str, *options: str) -> None:
        paths = [str(folder / image) for image in images.split()]
        arguments = ["predict", str(data / model), *paths, "-o", str(folder / layout), "--tiff-layout", layout]
        assert main([*arguments, "--quiet", *options]) == 0

    nuclei_of = ("--channels", "DAPI", "--segment", "--rois")
    run("demo-model.zip", "flat.tif movie.tif", "labelled", "--format", "tiff,npy,zarr", *nuclei_of)
    run("demo-model.zip", "flat.tif movie.tif", "pages", "--format", "tiff,zarr", "--zarr-version", "0.4", *nuclei_of)
    run("demo-model.zip", "wide.tif movie.tif", "pyramid", "--format", "tiff,npy,zarr", *nuclei_of)
    only_foreground = ("--segment", "--rois", "--object-boundary", "none")
    run("demo-model-3d.zip", "stack.tif", "labelled", "--format", "tiff,npy,zarr", *only_foreground)
    run("stain-model.zip", "tissue.png", "labelled", "--format", "tiff,npy,zarr", "--pixel-size", "0.25,0.325")

    tensor = {path.stem.split("_")[0]: np.load(path) for path in sorted(folder.glob("*/*.npy"))}
    predictions = {
        "flat": Prediction("cyx", tensor["flat"].reshape(2, 96, 128), MAPS),
        "movie": Prediction("tzcyx", tensor["movie"].reshape(2, 3, 2, 96, 96), MAPS),
        "wide": Prediction("cyx", tensor["wide"].reshape(2, 65, 760), MAPS),
        "stack": Prediction("czyx", tensor["stack"].reshape(1, 8, 96, 96), MAPS[:1]),
        "tissue": Prediction("cyx", tensor["tissue"].reshape(2, 64, 80), ("hematoxylin", "eosin"), "stains"),
    }
    return Outputs(folder, predictions)


LABELLED = ("flat", "movie", "stack", "tissue")
SEGMENTED = ("flat", "movie", "stack")


# TIFF


@pytest.mark.parametrize("image", LABELLED)
def test_bioio_reads_labelled_tiffs_and_label_maps(outputs: Outputs, image: str) -> None:
    prediction = outputs.predictions[image]
    expected = prediction.ordered("tzcyx")
    axes = "".join(letter for letter, size in zip("tzcyx", expected.shape, strict=True) if size > 1)
    found = bioio_tifffile.Reader(outputs.tiff("labelled", image))
    assert found.dims.order == axes.upper()
    np.testing.assert_array_equal(found.data, expected.squeeze())
    z, y, x = found.physical_pixel_sizes
    assert (y, x) == pytest.approx((SIZES["y"], SIZES["x"]), rel=1e-9)
    assert z == (SIZES["z"] if "z" in axes else None)
    if image in SEGMENTED:
        found = bioio_tifffile.Reader(outputs.folder / "labelled" / f"{image}_labels.tif")
        assert found.dims.order == prediction.letters.upper()
        assert found.dtype == np.uint16
        assert found.physical_pixel_sizes[1:] == pytest.approx((SIZES["y"], SIZES["x"]), rel=1e-9)


@pytest.mark.parametrize(("image", "planes"), [("flat", "c"), ("movie", "tcz")])
def test_bioio_reads_pages_and_their_pixel_size(outputs: Outputs, image: str, planes: str) -> None:
    found = bioio_tifffile.Reader(outputs.tiff("pages", image))
    expected = outputs.predictions[image].ordered(planes + "yx")
    np.testing.assert_array_equal(found.data.reshape(expected.shape), expected)
    assert found.physical_pixel_sizes[1:] == pytest.approx((SIZES["y"], SIZES["x"]), rel=1e-9)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:bioio_ome_tiff.reader")  # on its own call of ome-types
@pytest.mark.parametrize("image", ["wide", "movie"])
def test_bioio_reads_pyramids_as_ome_tiff(outputs: Outputs, image: str) -> None:
    prediction = outputs.predictions[image]
    found = bioio_ome_tiff.Reader(outputs.tiff("pyramid", image))
    assert found.dims.order == "TCZYX"
    np.testing.assert_array_equal(found.data, prediction.ordered("tczyx"))
    assert tuple(found.channel_names) == prediction.names
    known = SIZES["z"] if "z" in prediction.axes else None
    assert found.physical_pixel_sizes[0] == known
    assert found.physical_pixel_sizes[1:] == pytest.approx((SIZES["y"], SIZES["x"]), rel=1e-9)
    if "t" in prediction.axes:
        np.testing.assert_array_equal(found.xarray_data.coords["T"], [0, SIZES["t"]])


def test_ome_types_reads_the_metadata_of_a_pyramid(outputs: Outputs) -> None:
    (image,) = ome_types.from_tiff(outputs.tiff("pyramid", "movie")).images
    pixels = image.pixels
    assert (pixels.size_t, pixels.size_c, pixels.size_z, pixels.size_y, pixels.size_x) == (2, 2, 3, 96, 96)
    found = (pixels.time_increment, pixels.physical_size_z, pixels.physical_size_y, pixels.physical_size_x)
    assert found == pytest.approx(tuple(SIZES.values()), rel=1e-9)
    assert (pixels.time_increment_unit.value, pixels.physical_size_x_unit.value) == ("s", "µm")
    assert tuple(channel.name for channel in pixels.channels) == MAPS


def test_the_level_of_a_pyramid_holds_means(outputs: Outputs) -> None:
    values = outputs.predictions["wide"].values
    means = np.pad(values, ((0, 0), (0, 1), (0, 0)), mode="edge").reshape(2, 33, 2, 380, 2).mean(axis=(2, 4))
    with tifffile.TiffFile(outputs.tiff("pyramid", "wide")) as tiff:
        full, small = tiff.series[0].levels
        np.testing.assert_array_equal(full.asarray(), values)
        np.testing.assert_allclose(small.asarray(), means, rtol=1e-6)
    store = outputs.zarr("pyramid", "wide")
    np.testing.assert_allclose(zarr.open_array(store / "1", mode="r")[:], means, rtol=1e-6)


@pytest.mark.parametrize(
    ("layout", "image", "axes"),
    [
        *(("labelled", image, "tzcyx") for image in LABELLED),
        ("pages", "flat", "cyx"),
        ("pages", "movie", "tczyx"),
        ("pyramid", "wide", "cyx"),
        ("pyramid", "movie", "tzcyx"),
    ],
)
def test_libtiff_reads_every_page(outputs: Outputs, layout: str, image: str, axes: str) -> None:
    expected = outputs.predictions[image].ordered(axes)
    found = pages(outputs.tiff(layout, image))
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


def pages(path: Path) -> Array:
    with Image.open(path) as tiff:
        found = []
        for number in range(getattr(tiff, "n_frames", 1)):
            tiff.seek(number)
            found.append(np.asarray(tiff))
        return np.stack(found)


# OME-Zarr


@pytest.mark.parametrize(
    ("layout", "image", "version"),
    [
        *(("labelled", image, "0.5") for image in LABELLED),
        ("pages", "flat", "0.4"),
        ("pages", "movie", "0.4"),
        ("pyramid", "wide", "0.5"),
    ],
)
def test_yaozarrs_reads_stores_and_their_label_maps(outputs: Outputs, layout: str, image: str, version: str) -> None:
    prediction, store = outputs.predictions[image], outputs.zarr(layout, image)
    axes = "".join(letter for letter in "tczyx" if letter in prediction.axes)
    yaozarrs.validate_zarr_store(store)
    metadata: Any = yaozarrs.open_group(store).ome_metadata()
    check_axes(metadata, axes, version)
    assert tuple(channel.label for channel in metadata.omero.channels) == prediction.names
    values = zarr.open_array(store / "0", mode="r")[:]
    np.testing.assert_array_equal(values, prediction.ordered(axes))
    for number, channel in enumerate(metadata.omero.channels):
        of_channel = values.take(number, axis=axes.index("c"))
        assert (channel.window.start, channel.window.end) == (of_channel.min(), of_channel.max())
    if image in SEGMENTED:
        yaozarrs.validate_zarr_store(store / "labels" / "objects")
        check_axes(yaozarrs.open_group(store / "labels" / "objects").ome_metadata(), prediction.letters, version)
        labels = zarr.open_array(store / "labels" / "objects" / "0", mode="r")[:]
        np.testing.assert_array_equal(labels, outputs.labels(image))


def check_axes(metadata: Any, axes: str, version: str) -> None:
    (multiscale,) = metadata.multiscales
    assert (getattr(metadata, "version", None) or multiscale.version) == version
    assert "".join(axis.name for axis in multiscale.axes) == axes
    units = {"t": "second", "c": None, **dict.fromkeys("zyx", "micrometer")}
    assert [axis.unit for axis in multiscale.axes] == [units[letter] for letter in axes]
    (scale,) = multiscale.datasets[0].coordinateTransformations
    assert scale.scale == pytest.approx([{"c": 1.0, **SIZES}[letter] for letter in axes], rel=1e-9)


@pytest.mark.parametrize("layout", ["labelled", "pages"])
@pytest.mark.parametrize("image", ["flat", "movie"])
def test_bioio_reads_stores_and_their_label_maps(outputs: Outputs, layout: str, image: str) -> None:
    prediction, store = outputs.predictions[image], outputs.zarr(layout, image)
    for path, axes in ((store, "tczyx"), (store / "labels" / "objects", "tzyx")):
        axes = "".join(letter for letter in axes if letter in prediction.axes)
        found = bioio_ome_zarr.Reader(path)
        assert found.dims.order == axes.upper()
        scale = {letter.lower(): size for letter, size in found.scale._asdict().items() if size is not None}
        assert scale == pytest.approx({letter: {"c": 1.0, **SIZES}[letter] for letter in axes}, rel=1e-9)
        if "c" in axes:
            assert tuple(found.channel_names) == prediction.names
            np.testing.assert_array_equal(found.data, prediction.ordered(axes))
        else:
            np.testing.assert_array_equal(found.data, outputs.labels(image))


def test_a_label_map_lies_on_the_image_that_it_is_added_to(tmp_path: Path) -> None:
    data, store = Path(__file__).parents[2] / "test-data", tmp_path / "nuclei.ome.zarr"
    place = [{"type": "scale", "scale": [250.0, 325.0]}, {"type": "translation", "translation": [81.0e3, -12.5e3]}]
    axes = [{"name": letter, "type": "space", "unit": "nanometer"} for letter in "yx"]
    levels = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": place}]}]
    group = zarr.open_group(store, attributes={"ome": {"version": "0.5", "multiscales": levels}})
    group.create_array("0", data=tifffile.imread(data / "nuclei.tif")[:96, :128], dimension_names=["y", "x"])
    command = ["predict", str(data / "demo-model.zip"), str(store), "-o", str(tmp_path), "--quiet"]
    assert main([*command, "--format", "tiff", "--segment", "--add-labels", "nuclei"]) == 0
    yaozarrs.validate_zarr_store(store)
    added: Any = yaozarrs.open_group(store / "labels" / "nuclei").ome_metadata()
    scale, translation = added.multiscales[0].datasets[0].coordinateTransformations
    by_unit = {"nanometer": 1.0, "micrometer": 1e3}[added.multiscales[0].axes[0].unit]
    assert [size * by_unit for size in scale.scale] == pytest.approx([250.0, 325.0])
    assert [start * by_unit for start in translation.translation] == pytest.approx([81.0e3, -12.5e3])


# Objects


@pytest.mark.parametrize("image", SEGMENTED)
def test_scikit_image_measures_the_objects_of_the_table_in_the_label_map(outputs: Outputs, image: str) -> None:
    labels, rows = outputs.labels(image), outputs.rows(image)
    np.testing.assert_array_equal(
        pages(outputs.folder / "labelled" / f"{image}_labels.tif").reshape(labels.shape), labels
    )
    times = labels if image == "movie" else labels[None]
    found = {}
    for time, sample in enumerate(times):
        for region in regionprops(sample):
            found[region.label] = (time, region.num_pixels, region.centroid, region.bbox)
    assert len(found) == len(rows) > 1
    for row in rows:
        time, size, centre, box = found[int(row["label"])]
        letters = [letter for letter in "zyx" if f"centroid_{letter}_px" in row]
        assert int(row.get("t", 0)) == time
        assert int(row["area_px" if image == "flat" else "volume_px"]) == size
        assert [float(row[f"centroid_{letter}_px"]) for letter in letters] == pytest.approx(centre, rel=1e-6)
        assert tuple(int(row[f"bbox_{end}_{letter}"]) for end in ("min", "max") for letter in letters) == box


@pytest.mark.parametrize("image", SEGMENTED)
def test_shapely_finds_the_objects_of_the_table_in_geojson(outputs: Outputs, image: str) -> None:
    path = outputs.folder / "labelled" / f"{image}_rois.geojson"
    found: dict[int, list[tuple[Any, Mapping[str, int]]]] = {}
    for feature in json.loads(path.read_text(encoding="utf-8"))["features"]:
        geometry = shapely.from_geojson(json.dumps(feature["geometry"]))
        assert geometry.is_valid
        assert feature["properties"]["name"] == f"object {feature['properties']['label']}"
        plane = feature["geometry"].get("plane", {})
        found.setdefault(feature["properties"]["label"], []).append((geometry, plane))
    assert len(found) == len(outputs.rows(image))
    for row in outputs.rows(image):
        regions = found[int(row["label"])]
        assert sum(geometry.area for geometry, _ in regions) == int(row["area_px" if image == "flat" else "volume_px"])
        box = shapely.union_all([geometry for geometry, _ in regions]).bounds
        assert box == tuple(int(row[f"bbox_{end}_{letter}"]) for end in ("min", "max") for letter in "xy")
        assert {plane.get("t", 0) for _, plane in regions} == {int(row.get("t", 0))}
        if image != "flat":
            assert min(plane["z"] for _, plane in regions) == int(row["bbox_min_z"])
            assert max(plane["z"] for _, plane in regions) == int(row["bbox_max_z"]) - 1


def test_shapely_finds_the_objects_of_the_table_in_the_table_for_omero(outputs: Outputs) -> None:
    path, objects = outputs.folder / "labelled" / "movie_rois.tsv", outputs.rows("movie")
    found: dict[str, list[tuple[Any, dict[str, str]]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            points = json.loads("[" + row["points"].replace("(", "[").replace(")", "]") + "]")
            found.setdefault(row["roi_name"], []).append((shapely.Polygon(points), row))
    assert len(found) == len(objects)
    for row in objects:
        polygons = found[f"object {row['label']}"]
        assert all(polygon.is_valid for polygon, _ in polygons)
        assert {place["t"] for _, place in polygons} == {row["t"]}
        planes = range(int(row["bbox_min_z"]), int(row["bbox_max_z"]))
        assert {int(place["z"]) for _, place in polygons} == set(planes)
        # OMERO's polygons have no holes, so they cover a hole as well.
        assert sum(polygon.area for polygon, _ in polygons) >= int(row["volume_px"])


def test_label_maps_of_pages_have_the_time_step(outputs: Outputs, tmp_path: Path) -> None:
    prediction = outputs.tiff("pages", "movie")
    assert main(["segment", str(prediction), "--labels", str(tmp_path / "labels.tif"), "--quiet"]) == 0
    with tifffile.TiffFile(tmp_path / "labels.tif") as tiff:
        assert tiff.imagej_metadata is not None
        assert (tiff.imagej_metadata["finterval"], tiff.imagej_metadata["spacing"]) == (SIZES["t"], SIZES["z"])


def test_pillow_opens_the_overlay(outputs: Outputs) -> None:
    with Image.open(outputs.folder / "labelled" / "flat_overlay.png") as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (128 * 6, 96 * 6))


# ImageJ


@dataclass(frozen=True)
class InImageJ:
    """An image as ImageJ shows it: extents along x, y, c, z and t, sizes along x, y, z and t, and all values."""

    extents: tuple[int, ...]
    sizes: tuple[float, ...]
    unit: str
    display: tuple[float, ...]
    colours: tuple[str, ...]
    names: tuple[str, ...]
    values: Array


@pytest.fixture(scope="module")
def imagej(outputs: Outputs) -> tuple[dict[str, InImageJ], dict[str, list[list[str]]]]:
    """Images by their names, and the regions of interest by the name of the label map in which they are measured."""
    if not IMAGEJ.is_file() or shutil.which("javac") is None:
        pytest.skip("ImageJ is not installed here: apt-get install imagej default-jdk-headless")
    labelled = outputs.folder / "labelled"
    files = [outputs.tiff("labelled", image) for image in LABELLED]
    for image in SEGMENTED:
        files += [labelled / f"{image}_labels.tif", labelled / f"{image}_rois.zip"]
    files.append(outputs.tiff("pages", "movie"))
    program = Path(__file__).with_name("SeenByImageJ.java")
    command = ["java", "-Djava.awt.headless=true", "-Dfile.encoding=UTF-8", "-cp", IMAGEJ, program, outputs.folder]
    done = subprocess.run([*command, *files], capture_output=True, encoding="utf-8", timeout=HANG_SECONDS, check=True)
    images: dict[str, InImageJ] = {}
    regions: dict[str, list[list[str]]] = {}
    for kind, path, *facts in (line.split("\t") for line in done.stdout.splitlines() if "\t" in line):
        name = f"{Path(path).parent.name}/{Path(path).stem}"
        if kind == "region":
            regions.setdefault(name, []).append(facts)
            continue
        width, height, channels, slices, frames = extents = tuple(map(int, facts[:5]))
        values = np.fromfile(outputs.folder / f"{files.index(Path(path))}.f4", ">f4")
        images[name] = InImageJ(
            extents,
            (*map(float, facts[5:8]), float(facts[9])),
            facts[8],
            tuple(map(float, facts[10:12])),
            tuple(facts[12:15]),
            tuple(facts[15:]),
            values.reshape(frames, slices, channels, height, width),
        )
    return images, regions


@pytest.mark.parametrize("image", LABELLED)
def test_imagej_opens_labelled_tiffs(outputs: Outputs, imagej: Any, image: str) -> None:
    prediction, path = outputs.predictions[image], outputs.tiff("labelled", image)
    found = imagej[0][f"labelled/{path.stem}"]
    np.testing.assert_array_equal(found.values, prediction.ordered("tzcyx"))
    sizes = [SIZES[letter] if letter in "xy" + prediction.axes else default for letter, default in NO_SIZES.items()]
    assert found.sizes == pytest.approx(sizes, rel=1e-9)
    assert found.unit == "µm"
    if len(prediction.names) > 1:
        assert found.names == prediction.names * (len(found.names) // len(prediction.names))
    assert 0 <= found.display[0] < found.display[1] <= 1.0  # not the 255 of bytes, in which probabilities are black


@pytest.mark.parametrize("image", SEGMENTED)
def test_imagej_opens_label_maps_in_colours(outputs: Outputs, imagej: Any, image: str) -> None:
    prediction, labels = outputs.predictions[image], outputs.labels(image)
    found = imagej[0][f"labelled/{image}_labels"]
    assert (found.values.squeeze() == labels).all()
    sizes = [SIZES[letter] if letter in "xy" + prediction.axes else default for letter, default in NO_SIZES.items()]
    assert found.sizes == pytest.approx(sizes, rel=1e-9)
    assert (found.unit, found.display) == ("µm", (0.0, 255.0))
    assert found.colours[0] == "0,0,0"
    assert len(set(found.colours)) == 3


@pytest.mark.parametrize("image", SEGMENTED)
def test_imagej_finds_each_object_in_its_region(outputs: Outputs, imagej: Any, image: str) -> None:
    labels = outputs.labels(image)
    planes = labels.reshape(-1, *labels.shape[-2:]) if image != "movie" else labels
    sizes: dict[int, int] = {}
    for name, slice_, frame, pixels, lowest, highest in imagej[1][f"labelled/{image}_labels"]:
        label = int(name.removeprefix("object "))
        assert float(lowest) == float(highest) == label
        plane = planes[int(frame) - 1][int(slice_) - 1] if image == "movie" else planes[int(slice_) - 1]
        assert int(pixels) == (plane == label).sum()
        sizes[label] = sizes.get(label, 0) + int(pixels)
    assert sizes == dict(enumerate(np.bincount(labels.ravel())[1:].tolist(), 1))


def test_imagej_opens_pages_with_their_pixel_size(outputs: Outputs, imagej: Any) -> None:
    path = outputs.tiff("pages", "movie")
    found = imagej[0][f"pages/{path.stem}"]
    np.testing.assert_array_equal(found.values.ravel(), outputs.predictions["movie"].ordered("tczyx").ravel())
    assert (found.sizes[:2], found.unit) == (pytest.approx((SIZES["x"], SIZES["y"]), rel=1e-9), "µm")
