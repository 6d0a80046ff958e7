"""What reading promises of metadata: pixel sizes, channel names, and no other file than the one that is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from bioimage_inference.image.image import PixelSize
from tests.reading_data import (
    MINISBLACK,
    Array,
    described,
    opened,
    pixels,
    tiff,
)


def test_imagej_says_pixel_size_z_spacing_and_frame_interval(tmp_path: Path) -> None:
    meta = {"axes": "TZYX", "unit": "micron", "spacing": 0.3, "finterval": 2.5}
    path = tiff(tmp_path, pixels(2, 3, 20, 30), imagej=True, resolution=(1 / 0.108, 1 / 0.108), metadata=meta)
    image, _ = opened(path)
    assert {axis: (round(size.value, 6), size.unit) for axis, size in image.pixel_size.items()} == {
        "x": (0.108, "µm"),
        "y": (0.108, "µm"),
        "z": (0.3, "µm"),
        "t": (2.5, "s"),
    }
    assert described(image) == "[dataset_1.dat] axes TZYX (2,3,20,30) uint16, 0.108 µm/px, z 0.3 µm, t 2.5 s"


@pytest.mark.parametrize(
    ("stated", "value", "unit"),
    [
        ("um", 0.5, "µm"),
        ("µm", 0.5, "µm"),
        ("\\u00B5m", 0.5, "µm"),
        ("nm", 0.5, "nm"),
        ("mm", 0.5, "mm"),
        ("cm", 5000, "µm"),
    ],
)
def test_units_come_in_few_spellings(tmp_path: Path, stated: str, value: float, unit: str) -> None:
    description = f"ImageJ=1.54f\nunit={stated}\n".encode("latin-1")
    path = tiff(
        tmp_path, pixels(20, 30), resolution=(2, 2), resolutionunit="none", description=description, metadata=None
    )
    image, _ = opened(path)
    assert image.pixel_size == {"x": PixelSize(value, unit), "y": PixelSize(value, unit)}


@pytest.mark.parametrize("unit", ["pixel", "", "fortnight"])
def test_units_that_are_none_say_nothing(tmp_path: Path, unit: str) -> None:
    image, _ = opened(tiff(tmp_path, pixels(20, 30), imagej=True, resolution=(2, 2), metadata={"unit": unit}))
    assert not image.pixel_size


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [(1e5, "centimeter", 0.1), (254000, "inch", 0.1), (72, "inch", None), (300, "inch", None), (1, "centimeter", None),
     (118.11, "centimeter", None), (1, "none", None), (9.26, "none", None)],
)  # fmt: skip
def test_resolution_tags_count_unless_they_are_meant_for_a_printer(
    tmp_path: Path, resolution: float, unit: str, expected: float | None
) -> None:
    path = tiff(tmp_path, pixels(20, 30), metadata=None, resolution=(resolution, resolution), resolutionunit=unit)
    image, _ = opened(path)
    assert {axis: size.value for axis, size in image.pixel_size.items()} == (
        {"x": expected, "y": expected} if expected else {}
    )


def test_the_galaxy_imaging_tools_dialect_is_understood(tmp_path: Path) -> None:
    meta = {"axes": "QTZYXC", "unit": "um", "spacing": 0.4, "z_position": 3.2}
    image, _ = opened(tiff(tmp_path, pixels(1, 2, 3, 20, 30, 2), resolution=(4, 5), metadata=meta, **MINISBLACK))
    assert (image.axes, image.axes_source) == ("?tzyxc", "file")
    assert image.pixel_size == {"x": PixelSize(0.25, "µm"), "y": PixelSize(0.2, "µm"), "z": PixelSize(0.4, "µm")}
    assert described(image).endswith(" uint16, x 0.25 µm, y 0.2 µm, z 0.4 µm")


def test_ome_says_pixel_size_and_channel_names(tmp_path: Path) -> None:
    meta = {
        "axes": "TCYX",
        "PhysicalSizeX": 108,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.000108,
        "PhysicalSizeYUnit": "mm",
        "TimeIncrement": 1.5,
        "TimeIncrementUnit": "min",
        "Channel": {"Name": ["DAPI", "GFP"]},
    }
    image, _ = opened(tiff(tmp_path, pixels(3, 2, 20, 30), ome=True, metadata=meta))
    assert image.channel_names == ("DAPI", "GFP")
    assert image.pixel_size == {"x": PixelSize(108, "nm"), "y": PixelSize(0.000108, "mm"), "t": PixelSize(90, "s")}


def test_imagej_labels_name_channels_where_each_channel_has_one(tmp_path: Path) -> None:
    stack = pixels(2, 3, 2, 20, 30)
    named = tiff(tmp_path, stack, imagej=True, metadata={"axes": "TZCYX", "Labels": ["DAPI", "GFP"] * 6})
    assert opened(named)[0].channel_names == ("DAPI", "GFP")
    planes = tiff(tmp_path, stack, imagej=True, metadata={"axes": "TZCYX", "Labels": [f"slice {n}" for n in range(12)]})
    assert opened(planes)[0].channel_names == ()


def test_of_several_series_the_first_is_read_and_the_others_are_named(tmp_path: Path) -> None:
    path = tmp_path / "two.ome.tif"
    first, second = pixels(3, 20, 30), pixels(40, 50)
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(first, metadata={"axes": "ZYX", "Name": "embryo"}, **MINISBLACK)
        writer.write(second, metadata={"axes": "YX", "Name": "overview"})
    image, got = opened(path)
    np.testing.assert_array_equal(got, first)
    assert "'embryo'" in image.notes[0]
    assert "not 1 'overview' (YX 40×50)" in image.notes[0]


def test_of_a_pyramid_the_full_resolution_is_read(tmp_path: Path) -> None:
    path, full = tmp_path / "pyramid.tif", pixels(64, 96)
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(full, subifds=1, tile=(16, 16), metadata={"axes": "YX"})
        writer.write(full[::2, ::2], subfiletype=1, tile=(16, 16))
    image, got = opened(path)
    np.testing.assert_array_equal(got, full)
    assert not image.notes


@pytest.mark.parametrize("options", [{"colormap": np.zeros((3, 256), np.uint16)}, {"photometric": "miniswhite"}])
def test_stored_values_are_kept_under_colour_tables_and_inversion_and_said(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    array = pixels(20, 30, dtype="uint8")
    image, got = opened(tiff(tmp_path, array, **options))
    np.testing.assert_array_equal(got, array)
    assert len(image.notes) == 1
    assert "stored" in image.notes[0]


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib", "jpeg"])
def test_luma_and_chroma_are_never_called_red_green_and_blue(
    tmp_path: Path, compression: str | None, planar: str
) -> None:
    array = pixels(32, 32, 3, dtype="uint8") if planar == "contig" else pixels(3, 32, 32, dtype="uint8")
    options = {"subsampling": (1, 1)} if compression == "jpeg" else {}
    kind = {"photometric": "ycbcr", "planarconfig": planar, "compression": compression}
    image, got = opened(tiff(tmp_path, array, metadata=None, **kind, **options))
    converted = compression == "jpeg" and planar == "contig"
    if compression != "jpeg":
        np.testing.assert_array_equal(got, array)
    assert image.channel_names == (("red", "green", "blue") if converted else ("Y", "Cb", "Cr"))
    assert [note for note in image.notes if "YCbCr" in note] == list(image.notes)
    assert bool(image.notes) != converted


def test_raw_camera_data_are_said(tmp_path: Path) -> None:
    array = pixels(20, 30)
    image, got = opened(tiff(tmp_path, array, photometric=32803, metadata=None))
    np.testing.assert_array_equal(got, array)
    assert any("raw camera data" in note for note in image.notes)


def test_imagejs_calibration_is_not_applied_and_said(tmp_path: Path) -> None:
    image, _ = opened(tiff(tmp_path, pixels(20, 30), imagej=True, metadata={"cf": 0, "c0": -32768, "c1": 1}))
    assert "-32768 + 1 × stored value" in image.notes[0]


def test_a_bilevel_tiff_is_zeros_and_ones(tmp_path: Path) -> None:
    mask = pixels(20, 30, dtype="bool")
    image, got = opened(tiff(tmp_path, mask))
    assert image.dtype == got.dtype == np.uint8
    np.testing.assert_array_equal(got, mask.astype(np.uint8))


def ome_file(
    folder: Path, name: str, array: Array, data: str, sizes: str = 'SizeC="2" SizeZ="3" SizeT="1"', top: str = ""
) -> Path:
    """An OME-TIFF of the pages of ``array`` whose XML has the TiffData elements ``data``."""
    channels = '<Channel ID="Channel:0:0" Name="DAPI"/><Channel ID="Channel:0:1" Name="GFP"/>'
    xml = (
        f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"{top}><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="30" SizeY="20" {sizes}>{channels}{data}'
        "</Pixels></Image></OME>"
    )
    path = folder / name
    with tifffile.TiffWriter(path) as writer:
        for number, page in enumerate(array):
            writer.write(page, metadata=None, contiguous=False, description=xml if number == 0 else None)
    return path


def tiff_data(file: str, channel: int, planes: int, first: int = 0) -> str:
    return "".join(
        f'<TiffData FirstC="{channel}" FirstZ="{z}" FirstT="0" IFD="{first + z}" PlaneCount="1">'
        f'<UUID FileName="{file}">urn:uuid:{file}</UUID></TiffData>'
        for z in range(planes)
    )


def test_a_renamed_ome_tiff_still_knows_its_planes(tmp_path: Path) -> None:
    array = pixels(6, 20, 30)
    data = tiff_data("original.ome.tif", 0, 3) + tiff_data("original.ome.tif", 1, 3, first=3)
    image, got = opened(ome_file(tmp_path, "dataset_7.dat", array, data))
    assert (image.axes, image.channel_names, image.notes) == ("czyx", ("DAPI", "GFP"), ())
    np.testing.assert_array_equal(got, array.reshape(2, 3, 20, 30))


def test_ome_metadata_in_a_companion_file_leave_the_pages(tmp_path: Path) -> None:
    xml = '<OME xmlns="x"><BinaryOnly MetadataFile="all.companion.ome" UUID="urn:uuid:1"/></OME>'
    array = pixels(3, 20, 30)
    image, got = opened(tiff(tmp_path, array, description=xml, metadata=None, **MINISBLACK))
    assert (image.axes, image.axes_source) == ("?yx", "guess")
    assert "'all.companion.ome'" in image.notes[0]
    np.testing.assert_array_equal(got, array)


def test_planes_that_an_aborted_acquisition_lacks_are_said(tmp_path: Path) -> None:
    array = pixels(4, 20, 30)
    data = '<TiffData IFD="0" PlaneCount="4"/>'
    image, got = opened(ome_file(tmp_path, "aborted.ome.tif", array, data, 'SizeC="2" SizeZ="3" SizeT="1"'))
    np.testing.assert_array_equal(got.reshape(6, 20, 30), [*array, *np.zeros((2, 20, 30))])
    assert "6 planes, of which 2 are missing" in image.notes[0]


@pytest.mark.parametrize(
    "xml",
    [
        "<OME><Image></OME>",
        '<!DOCTYPE OME [<!ENTITY a "aaaaaaaaaa">]><OME>&a;</OME>',
        "<OME><Image><Pixels/></Image></OME>",
    ],
)
def test_damaged_or_malicious_ome_xml_leaves_the_pages_and_is_said(tmp_path: Path, xml: str) -> None:
    array = pixels(3, 20, 30)
    image, got = opened(tiff(tmp_path, array, description=xml, metadata=None, **MINISBLACK))
    np.testing.assert_array_equal(got, array)
    assert "OME-XML" in image.notes[0]
