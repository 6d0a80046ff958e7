"""Where an output lies in its image: in coordinates, layers, records, and in every format that can say it.

The images hold the position of each pixel along x, in the unit of the pixel size. Networks that average their
neighbourhood return the position of the output's pixels, which must be the one that the output states.
"""

import json
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest
import tifffile
import torch
import xarray
import zarr

import bioimage_inference
from bioimage_inference.api import Target
from bioimage_inference.image.image import PixelSize
from bioimage_inference.image.readers.reading import open_image
from bioimage_inference.image.writers.base import Layout
from bioimage_inference.image.writers.zarr_writer import create_store

from .. import models

SIZE = {"y": 0.5, "x": 0.25}
SCHEMA = json.loads(
    (Path(bioimage_inference.__file__).parent / "provenance" / "provenance.schema.json").read_text(encoding="utf-8")
)


class Average(torch.nn.Module):
    """The mean of blocks of ``down`` pixels, less ``crop`` of these on every side."""

    def __init__(self, crop: int = 0, down: int = 1) -> None:
        super().__init__()
        self.crop, self.down = crop, down

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.avg_pool2d(x, self.down)
        return x[:, :, self.crop : x.shape[2] - self.crop, self.crop : x.shape[3] - self.crop]


def average(folder: Path, crop: int = 0, down: int = 1, dtype: str = "float32") -> Path:
    steps = [{"id": "ensure_dtype", "kwargs": {"dtype": dtype}}]
    inputs, outputs = models.simple_tensors(size={"min": 32, "step": 4}, postprocessing=steps)
    for letter, axis in zip("yx", outputs[0]["axes"][2:], strict=True):
        axis |= {"size": models.reference(letter, offset=-2 * crop), "scale": float(down)}
    return models.write_model(folder / "model", Average(crop, down), inputs, outputs)


def ramp(start: float = 0.0, unit: str | None = "µm", height: int = 60, width: int = 80) -> xarray.DataArray:
    """An image of the positions of its own pixels along x."""
    attributes = {} if unit is None else {"units": unit}
    x = start + np.arange(width) * SIZE["x"]
    places = {"y": ("y", np.arange(height) * SIZE["y"], attributes), "x": ("x", x, attributes)}
    return xarray.DataArray(np.tile(x, (height, 1)).astype(np.float32), dims=("y", "x"), coords=places)


@pytest.mark.parametrize("tile", [None, (40, 48)], ids=["whole", "in tiles"])
@pytest.mark.parametrize(("crop", "down"), [(0, 1), (5, 1), (0, 2), (3, 4)])
@pytest.mark.parametrize("start", [0.0, 1000.0])
def test_coordinates_are_the_places_of_the_pixels(
    tmp_path: Path, crop: int, down: int, start: float, tile: tuple[int, int] | None
) -> None:
    prediction = bioimage_inference.predict(average(tmp_path, crop, down), ramp(start), tile=tile)
    assert (prediction.record["plan"]["tiles"] > 1) == (tile is not None)
    found = prediction.outputs["out"].to_xarray().squeeze()
    assert found.sizes == {"y": 60 // down - 2 * crop, "x": 80 // down - 2 * crop}
    np.testing.assert_allclose(found.values, np.broadcast_to(found.x, found.shape), rtol=1e-6, atol=1e-6)
    assert float(found.y[1] - found.y[0]) == pytest.approx(SIZE["y"] * down)
    jsonschema.validate(json.loads(json.dumps(prediction.record)), SCHEMA)


def test_an_enlarged_output_covers_the_image(tmp_path: Path) -> None:
    inputs, outputs = models.simple_tensors(size={"min": 32, "step": 4})
    for axis in outputs[0]["axes"][2:]:
        axis["scale"] = 0.25
    model = models.write_model(tmp_path, models.Scaled(up=4), inputs, outputs)
    found = bioimage_inference.predict(model, ramp()).outputs["out"].to_xarray().squeeze()
    np.testing.assert_allclose(found.coarsen(x=4).mean().values, ramp().values.repeat(4, axis=0), atol=1e-6)
    np.testing.assert_allclose(found.x.coarsen(x=4).mean(), ramp().x, atol=1e-6)


def test_positions_count_in_pixels_where_the_size_of_a_pixel_is_unknown(tmp_path: Path) -> None:
    array = np.tile(np.arange(80, dtype=np.float32), (60, 1))
    output = bioimage_inference.predict(average(tmp_path, 3, 4), array, axes="yx").outputs["out"]
    found = output.to_xarray().squeeze()
    assert found.x.attrs == {"units": "pixel"}
    np.testing.assert_allclose(found.values, np.broadcast_to(found.x, found.shape), atol=1e-5)
    ((_, arguments, _),) = bioimage_inference.predict(average(tmp_path, 3, 4), array, axes="yx").to_layers()
    assert arguments["scale"] == (4, 4)
    assert arguments["translate"] == (13.5, 13.5)


def test_an_image_made_larger_or_smaller_stays_in_its_place(tmp_path: Path) -> None:
    inputs, outputs = models.simple_tensors(size={"y": 64, "x": 40})
    model = models.write_model(tmp_path, models.Identity(), inputs, outputs)
    found = bioimage_inference.predict(model, ramp(), fit="resize").outputs["out"].to_xarray().squeeze()
    inside = found.values[:, 2:-2]  # smoothing bends the ends of the ramp
    np.testing.assert_allclose(inside, np.broadcast_to(found.x[2:-2], inside.shape), atol=1e-3)


def written(folder: Path, image: Any, tiff_layout: Any, crop: int = 5) -> Path:
    path = folder / "out.tif"
    bioimage_inference.predict(
        average(folder, crop), image, targets={"out": Target(tiff=path)}, tiff_layout=tiff_layout
    )
    return path


def test_imagej_knows_the_origin(tmp_path: Path) -> None:
    with tifffile.TiffFile(written(tmp_path, ramp(), "labelled")) as tiff:
        facts = tiff.imagej_metadata
        first = tiff.asarray()[0, 0]
    assert facts is not None
    assert facts["xorigin"] == facts["yorigin"] == -5
    # ij.measure.Calibration.getX: (x - xOrigin) * pixelWidth
    assert (0 - facts["xorigin"]) * SIZE["x"] == pytest.approx(first)
    with tifffile.TiffFile(written(tmp_path / "whole", ramp(), "labelled", crop=0)) as tiff:
        assert "xorigin" not in (tiff.imagej_metadata or {})


def planes(path: Path) -> list[dict[str, str]]:
    with tifffile.TiffFile(path) as tiff:
        assert tiff.ome_metadata is not None
        root = ElementTree.fromstring(tiff.ome_metadata)
    return [dict(element.attrib) for element in root.iter() if element.tag.endswith("}Plane")]


def test_ome_xml_has_the_position_of_every_plane(tmp_path: Path) -> None:
    model = average(tmp_path, 5, dtype="float64")  # ImageJ's own format has no numbers of 64 bits
    volume = xarray.concat([ramp()] * 3, xarray.DataArray([7.0, 9.0, 11.0], dims="z", attrs={"units": "µm"}, name="z"))
    path = tmp_path / "out.tif"
    bioimage_inference.predict(model, volume, targets={"out": Target(tiff=path)}, tiff_layout="labelled")
    found = planes(path)
    assert [float(plane["PositionZ"]) for plane in found] == [7, 9, 11]
    assert {(plane["PositionX"], plane["PositionXUnit"]) for plane in found} == {("1.25", "µm")}
    assert {float(plane["PositionY"]) for plane in found} == {2.5}
    np.testing.assert_allclose(tifffile.imread(path)[:, 0, 0], 1.25)


def test_pages_have_the_origin_in_their_description(tmp_path: Path) -> None:
    with tifffile.TiffFile(written(tmp_path, ramp(), "pages")) as tiff:
        found = json.loads(tiff.pages.first.description)["origin"]
    assert found == {"x": {"value": 1.25, "unit": "µm"}, "y": {"value": 2.5, "unit": "µm"}}


def test_a_written_ome_zarr_has_a_translation_behind_its_scale(tmp_path: Path) -> None:
    sizes = {"y": PixelSize(0.5, "µm", 2.5), "x": PixelSize(0.25, "µm", 1.25)}
    create_store(tmp_path / "a.zarr", Layout("cyx", (2, 50, 70), np.dtype("float32"), sizes), {"y": 50, "x": 70})
    (dataset,) = zarr.open_group(tmp_path / "a.zarr", mode="r").attrs["ome"]["multiscales"][0]["datasets"]  # type: ignore[index, call-overload]
    assert dataset["coordinateTransformations"] == [
        {"type": "scale", "scale": [1.0, 0.5, 0.25]},
        {"type": "translation", "translation": [0.0, 2.5, 1.25]},
    ]
    with closing(open_image(tmp_path / "a.zarr")) as image:
        assert dict(image.pixel_size) == sizes


def store(folder: Path, translations: tuple[float, float] | None) -> Path:
    """The ramp as an OME-Zarr in nanometres; ``translations`` are those of the dataset and of the image, along x."""
    group = zarr.create_group(folder, zarr_format=3)
    array = ramp(sum(translations or ()) / 1000).values
    group.create_array("0", shape=array.shape, dtype="float32", chunks=array.shape)[...] = array
    scale = [{"type": "scale", "scale": [500.0, 250.0]}]
    dataset, image = ([{"type": "translation", "translation": [0.0, one]}] for one in translations or (0.0, 0.0))
    multiscales = {
        "axes": [{"name": letter, "type": "space", "unit": "nanometer"} for letter in "yx"],
        "datasets": [{"path": "0", "coordinateTransformations": [*scale, *(dataset if translations else [])]}],
        "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0]}, *image],
    }
    group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscales]}
    return folder


def test_the_place_of_an_ome_zarr_is_kept(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", (3000.0, 20_000.0))
    with closing(open_image(path)) as image:
        assert image.pixel_size["x"].origin == 23_000
    found = bioimage_inference.predict(average(tmp_path, 4), path).outputs["out"].to_xarray().squeeze()
    assert float(found.x[0]) == 24_000
    np.testing.assert_allclose(found.values * 1000, np.broadcast_to(found.x, found.shape), rtol=1e-6)


def test_a_transformation_that_says_nothing_is_passed_over(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", None)
    metadata = json.loads((path / "zarr.json").read_text())
    steps = metadata["attributes"]["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    steps += [
        {"type": "translation", "translation": values}
        for values in ([1.0], "ab", None, ["x", float("1e999")], [[], {}])
    ]
    steps += [{"type": ["translation"]}, {"type": "affine", "affine": [[1, 0], [0, 1]]}, {}]
    (path / "zarr.json").write_text(json.dumps(metadata))
    with closing(open_image(path)) as image:
        assert (image.pixel_size["x"].value, image.pixel_size["x"].origin) == (250, 0)


def test_descending_coordinates_have_a_size_and_no_place(tmp_path: Path) -> None:
    """Outputs have ascending coordinates, so that a place would be that of the wrong end."""
    found = bioimage_inference.predict(average(tmp_path), ramp()[:, ::-1]).outputs["out"].to_xarray()
    np.testing.assert_allclose(found.x, np.arange(80) * SIZE["x"])


def test_the_record_beside_an_array_has_the_place(tmp_path: Path) -> None:
    npy, record = tmp_path / "out.npy", tmp_path / "out_provenance.json"
    bioimage_inference.predict(average(tmp_path, 5), ramp(), targets={"out": Target(npy=npy)}, record=record)
    entry = json.loads(record.read_text(encoding="utf-8"))
    assert entry["inputs"][0]["pixel_size"]["x"] == {"value": 0.25, "unit": "µm"}
    assert "origin" not in entry["inputs"][0]
    assert entry["outputs"][0]["pixel_size"]["x"] == {"value": 0.25, "unit": "µm"}
    assert entry["outputs"][0]["origin"] == {"y": 2.5, "x": 1.25}
    jsonschema.validate(entry, SCHEMA)
