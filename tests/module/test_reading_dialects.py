"""Dialects of TIFF, written here as microscopes and their programs write them: sizes, counts, previews, names."""

import io
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bioimage_inference.image.image import PixelSize
from bioimage_inference.image.units import pixel_size
from tests.reading_data import MINISBLACK, RGB8, Array, failure, opened, pixels, tiff

INCH, CENTIMETRE = 2, 3
MICROMETRES = {"um": 1, "micrometer": 1, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "inch": 25400, "pm": 1e-6}
IN_MICROMETRES = {"nm": 1e-3, "µm": 1.0, "mm": 1e3}


def text(*lines: str) -> bytes:
    return "\n".join(lines).encode()


def described(folder: Path, array: Array, description: bytes, **options: Any) -> Path:
    """A TIFF with the text of another program, not tifffile's own."""
    return tiff(folder, array, description=description, metadata=None, **options)


def paged(folder: Path, array: Array, description: bytes, **options: Any) -> Path:
    """A TIFF of single pages, the text on the first."""
    path = folder / "dataset_1.dat"
    with tifffile.TiffWriter(path) as writer:
        for number, page in enumerate(array):
            here = {"description": description} if number == 0 else {}
            writer.write(page, contiguous=False, metadata=None, **here, **options)
    return path


def micrometres(size: PixelSize) -> float:
    return size.value * IN_MICROMETRES[size.unit]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    unit=st.sampled_from(sorted(MICROMETRES)),
    tags=st.sampled_from([None, INCH, CENTIMETRE]),
    size=st.floats(0.01, 900),
)
def test_the_unit_is_that_of_the_number_it_stands_beside(
    tmp_path: Path, unit: str, tags: int | None, size: float
) -> None:
    # Pixels per cm where the tags say so, else per unit of the text: ImageJ writes that beside the tag "none", and
    # old versions of tifffile beside "inch".
    per = MICROMETRES["cm" if tags == CENTIMETRE else unit]
    path = described(
        tmp_path,
        pixels(20, 30),
        text("ImageJ=1.48v", f"unit={unit}"),
        resolution=(per / size, per / size),
        resolutionunit=tags or 1,
    )
    with tifffile.TiffFile(path) as tif:  # a fraction of 32-bit numbers, so not always what was asked for
        pixels_of_it, units_of_it = tif.pages[0].tags["XResolution"].value
    image, _ = opened(path)
    assert micrometres(image.pixel_size["x"]) == pytest.approx(per * units_of_it / pixels_of_it, rel=1e-6)
    assert image.pixel_size["y"] == image.pixel_size["x"]
    assert bool(image.notes) == (tags == CENTIMETRE and unit != "cm")


@pytest.mark.parametrize("unit", ["pixel", "", None])
def test_pixels_per_cm_count_beside_a_unit_that_is_none(tmp_path: Path, unit: str | None) -> None:
    lines = ["ImageJ=1.53t"] if unit is None else ["ImageJ=1.53t", f"unit={unit}"]
    path = described(tmp_path, pixels(20, 30), text(*lines), resolution=(40_000, 40_000), resolutionunit=CENTIMETRE)
    image, _ = opened(path)
    assert image.pixel_size == ({"x": PixelSize(0.25, "µm"), "y": PixelSize(0.25, "µm")} if unit is None else {})


@pytest.mark.parametrize("tags", [{}, {"resolution": (200_000 / 3, 200_000 / 3), "resolutionunit": CENTIMETRE}])
def test_scifio_states_sizes_by_axis(tmp_path: Path, tags: dict[str, Any]) -> None:
    scifio = text(
        *("SCIFIO=0.43.3", "axes=X,Y,Z,Time", "lengths=30,20,3,2", "scales=0.15,0.3,2.0,4.0"),
        *("units=micrometer,micrometer,micrometer,second", "images=6", "channels=1", "slices=3", "frames=2"),
        *("hyperstack=true", "mode=composite", "unit=micrometer"),
    )
    stack = pixels(6, 20, 30)
    image, got = opened(paged(tmp_path, stack, scifio, **tags))
    assert image.axes == "tzyx"
    np.testing.assert_array_equal(got, stack.reshape(2, 3, 20, 30))
    assert image.pixel_size == {
        "x": PixelSize(0.15, "µm"),
        "y": PixelSize(0.3, "µm"),
        "z": PixelSize(2, "µm"),
        "t": PixelSize(4, "s"),
    }
    assert not image.notes


def test_scifio_without_units_states_no_size(tmp_path: Path) -> None:
    scifio = text("SCIFIO=0.43.3", "axes=X,Y", "lengths=30,20", "scales=1.0,1.0", "units=null,null", "unit=null")
    image, _ = opened(
        described(tmp_path, pixels(20, 30), scifio, resolution=(10_000, 10_000), resolutionunit=CENTIMETRE)
    )
    assert not image.pixel_size


@pytest.mark.parametrize(
    ("size", "unit", "noted"),
    [(0.9, "nm", True), (1, "nm", False), (1e-5, "um", True), (1, "mm", False), (1.1, "mm", True), (0.1, "um", False)],
)
def test_a_size_that_no_microscope_has_is_said(tmp_path: Path, size: float, unit: str, noted: bool) -> None:
    image, _ = opened(
        described(tmp_path, pixels(20, 30), text("ImageJ=1.5", f"unit={unit}"), resolution=(1 / size, 1 / size))
    )
    assert ["unusual pixel size" in note for note in image.notes] == [True] * noted


@pytest.mark.parametrize(
    ("unit", "size"),
    [
        ("pm", PixelSize(500, "nm")),
        ("Å", PixelSize(5e4, "nm")),
        ("Pm", PixelSize(5e26, "µm")),
        ("km", PixelSize(5e14, "µm")),
        ("thou", PixelSize(12.7e6, "µm")),
        ("pixel", None),
        ("reference frame", None),
    ],
)
def test_ome_units_keep_their_case(tmp_path: Path, unit: str, size: PixelSize | None) -> None:
    meta = {"axes": "YX", "PhysicalSizeX": 500_000, "PhysicalSizeXUnit": unit}
    image, _ = opened(tiff(tmp_path, pixels(20, 30), ome=True, metadata=meta))
    assert image.pixel_size.get("x") == size


METRES = {"Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1, "": 0, "d": -1, "c": -2,
          "m": -3, "µ": -6, "n": -9, "p": -12, "f": -15, "a": -18, "z": -21, "y": -24}  # fmt: skip
OTHER_LENGTHS = {"Å": 1e-10, "\u212b": 1e-10, "thou": 2.54e-5, "li": 2.54e-2 / 12, "in": 2.54e-2, "ft": 0.3048,
                 "yd": 0.9144, "mi": 1609.344, "ua": 1.495978707e11, "ly": 9.4607304725808e15,
                 "pc": 3.0856775814913673e16, "pt": 2.54e-2 / 72}  # fmt: skip
OTHER_TIMES = {"min": 60.0, "h": 3600.0, "d": 86400.0}


@pytest.mark.parametrize("case", [*(f"{prefix}m" for prefix in METRES), *OTHER_LENGTHS])
def test_every_length_of_ome_is_understood(case: str) -> None:
    metres = OTHER_LENGTHS.get(case) or 10.0 ** METRES[case.removesuffix("m")]
    size = pixel_size("x", "1", case)
    assert size is not None
    assert micrometres(size) == pytest.approx(metres * 1e6, rel=1e-9)


@pytest.mark.parametrize("case", [*(f"{prefix}s" for prefix in METRES), *OTHER_TIMES])
def test_every_time_of_ome_is_understood(case: str) -> None:
    size = pixel_size("t", "1", case)
    assert size is not None
    assert size.unit == "s"
    assert size.value == pytest.approx(OTHER_TIMES.get(case) or 10.0 ** METRES[case.removesuffix("s")], rel=1e-9)


def test_a_reversed_stack_keeps_its_spacing_and_is_said(tmp_path: Path) -> None:
    image, got = opened(tiff(tmp_path, stack := pixels(4, 20, 30), imagej=True, metadata={"axes": "ZYX", "spacing": -2,
                                                                                       "unit": "um"}))  # fmt: skip
    np.testing.assert_array_equal(got, stack)
    assert image.pixel_size["z"] == PixelSize(2, "µm")
    assert "reversed" in image.notes[0]


COUNTS = st.fixed_dictionaries(
    {"frames": st.integers(1, 4), "slices": st.integers(1, 4), "channels": st.integers(1, 4)}
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=COUNTS, pages=st.integers(1, 12), compressed=st.booleans(), contiguous=st.booleans())
def test_every_page_is_read_whatever_the_text_counts(
    tmp_path: Path, counts: dict[str, int], pages: int, compressed: bool, contiguous: bool
) -> None:
    stack = pixels(pages, 20, 30)
    description = text(
        "ImageJ=1.53", f"images={np.prod(list(counts.values()))}", *(f"{k}={v}" for k, v in counts.items())
    )
    options: dict[str, Any] = {"compression": "zlib"} if compressed else {}
    path = (
        described(tmp_path, stack, description, **MINISBLACK, **options)
        if contiguous
        else paged(tmp_path, stack, description, **options)
    )
    image, got = opened(path)
    np.testing.assert_array_equal(got.reshape(stack.shape), stack)
    announced = int(np.prod(list(counts.values())))
    letters = {"frames": "t", "slices": "z", "channels": "c"}
    if announced == pages:
        assert not image.notes
        assert {letter: image.size(letter) for letter in letters.values()} == {
            letters[name]: count for name, count in counts.items()
        }
    elif announced > 1:
        assert f"{pages} page" in image.notes[0]
        inner = [name for name in ("channels", "slices", "frames") if counts[name] > 1][:-1]
        if pages % np.prod([counts[name] for name in inner], dtype=int) == 0:
            assert all(image.size(letters[name]) == counts[name] for name in inner)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("slices", [1, 4])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_bio_formats_counts_samples_as_channels(
    tmp_path: Path, compression: str | None, slices: int, planar: str
) -> None:
    shape = (20, 30, 3) if planar == "contig" else (3, 20, 30)
    stack = pixels(slices, *shape, dtype="uint8")
    description = text(
        "ImageJ=", "hyperstack=true", f"images={3 * slices}", "channels=3", f"slices={slices}", "frames=1"
    )
    path = paged(tmp_path, stack, description, photometric="rgb", planarconfig=planar, compression=compression)
    image, got = opened(path)
    colours = "yxs" if planar == "contig" else "cyx"
    assert image.axes == ("z" if slices > 1 else "") + colours
    np.testing.assert_array_equal(got, stack if slices > 1 else stack[0])
    assert not image.notes


@pytest.mark.parametrize("cut", [0.3, 0.7, 0.99])
def test_a_stack_behind_one_directory_that_is_cut_is_still_truncated(tmp_path: Path, cut: float) -> None:
    path = tiff(tmp_path, pixels(8, 60, 70), imagej=True, metadata={"axes": "ZYX"}, truncate=True)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * cut)])
    assert "truncated" in str(failure(path))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_page_of_another_kind_behind_a_stack_is_never_read_as_part_of_it(tmp_path: Path, compression: Any) -> None:
    stack, path = pixels(5, 40, 30), tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for number, page in enumerate(stack):
            here = {"description": "ImageJ=1.53\nimages=5\nslices=5\nunit=um"} if number == 0 else {}
            writer.write(page, contiguous=False, metadata=None, compression=compression, resolution=(4, 4), **here)
        writer.write(pixels(20, 30), metadata=None, subfiletype=1, compression=compression)
    image, got = opened(path)
    np.testing.assert_array_equal(got, stack)
    assert image.pixel_size["x"] == PixelSize(0.25, "µm")
    assert "different sizes" in image.notes[0]


def test_pages_whose_tags_are_not_in_order_are_read(tmp_path: Path) -> None:
    stack = pixels(3, 20, 30)
    path = paged(tmp_path, stack, b"ImageJ=1.53\nimages=3\nslices=3")
    content = bytearray(path.read_bytes())
    (page,) = struct.unpack_from("<I", content, 4)
    while page:
        (tags,) = struct.unpack_from("<H", content, page)
        entries = [bytes(content[page + 2 + 12 * n : page + 14 + 12 * n]) for n in range(tags)]
        content[page + 2 : page + 2 + 12 * tags] = b"".join(reversed(entries))
        (page,) = struct.unpack_from("<I", content, page + 2 + 12 * tags)
    path.write_bytes(content)
    image, got = opened(path)
    np.testing.assert_array_equal(got, stack)
    assert (image.axes, image.notes) == ("zyx", ())


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_pages_of_two_sizes_are_no_stack_whatever_the_text_says(tmp_path: Path, bigtiff: bool, byteorder: Any) -> None:
    path, first = tmp_path / "a.tif", pixels(40, 30)
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        'DimensionOrder="XYZCT" Type="uint16" SizeX="30" SizeY="40" SizeZ="2" SizeC="1" SizeT="1">'
        '<TiffData IFD="0" PlaneCount="2"/></Pixels></Image></OME>'
    )
    for description in ("ImageJ=1.53\nimages=2\nslices=2", "ImageJ=1.53", xml):
        with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as writer:
            writer.write(first, metadata=None, description=description)
            writer.write(pixels(20, 30), metadata=None)
        if description == xml:
            assert "page 2 has 20×30 pixels of uint16, but 40×30 pixels of uint16 belong" in str(failure(path))
        else:
            image, got = opened(path)
            np.testing.assert_array_equal(got, first)
            assert "different sizes" in image.notes[0]


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("announced", [10, 3, 2])
def test_a_shape_that_the_pages_do_not_have_is_dropped(tmp_path: Path, announced: int, compression: Any) -> None:
    stack = pixels(4, 20, 30)
    description = json.dumps({"shape": [announced, 20, 30], "axes": "TYX"}).encode()
    image, got = opened(paged(tmp_path, stack, description, compression=compression))
    np.testing.assert_array_equal(got, stack)
    assert (image.axes, image.axes_source) == ("?yx", "guess")
    assert ["10×20×30" in note for note in image.notes] == [True] * (announced == 10)


@pytest.mark.parametrize("first", ["preview", "mask"])
def test_a_preview_or_mask_in_front_is_skipped(tmp_path: Path, first: str) -> None:
    path, image_pixels = tmp_path / "a.tif", pixels(96, 128)
    with tifffile.TiffWriter(path) as writer:
        if first == "preview":
            writer.write(RGB8[:10, :12], photometric="rgb", subfiletype=1, metadata=None)
        else:
            writer.write(image_pixels > 5000, photometric="mask", subfiletype=4, metadata=None)
        writer.write(image_pixels, metadata=None)
    image, got = opened(path)
    np.testing.assert_array_equal(got, image_pixels)
    assert (image.axes, image.notes) == ("yx", ())


def test_a_file_of_nothing_but_a_preview_is_read(tmp_path: Path) -> None:
    small = pixels(10, 12)
    np.testing.assert_array_equal(opened(tiff(tmp_path, small, subfiletype=1))[1], small)


def test_previews_are_no_further_images(tmp_path: Path) -> None:
    path, first, second = tmp_path / "a.tif", pixels(96, 128), pixels(40, 50)
    with tifffile.TiffWriter(path) as writer:
        writer.write(first, metadata=None)
        writer.write(RGB8[:10, :12], photometric="rgb", subfiletype=1, metadata=None)
        writer.write(second, metadata=None)
    (note,) = opened(path)[0].notes
    assert "holds 2 images. Read was 0 (YX 96×128), not 2 (YX 40×50)" in note
    assert "10×12" not in note


@pytest.mark.parametrize(
    ("names", "channels"),
    [
        (["DNA1", "CD3", "CK"], True),
        (["DAPI", "GFP", "RFP"], True),
        (["Page 1", "Page 2", "Page 3"], False),
        (["DAPI", "DAPI", "GFP"], False),
        (["DAPI", "", "GFP"], False),
        (["1", "2", "3"], False),
    ],
)
def test_pages_with_names_of_their_own_are_channels(tmp_path: Path, names: Sequence[str], channels: bool) -> None:
    stack, path = pixels(3, 20, 30), tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for page, name in zip(stack, names, strict=True):
            tags = [(285, "s", len(name) + 1, name, True)] if name else []
            writer.write(page, metadata=None, contiguous=False, extratags=tags)
    image, got = opened(path)
    np.testing.assert_array_equal(got, stack)
    assert (image.axes, image.channel_names) == (("cyx", tuple(names)) if channels else ("?yx", ()))
    assert bool(image.notes) == channels


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"photometric": "rgb"}, ("red", "green", "blue")),
        ({"photometric": "rgb", "extrasamples": ["unassalpha"]}, ("red", "green", "blue", "alpha")),
        ({"photometric": "rgb", "extrasamples": ["unspecified"]}, ("red", "green", "blue", "channel 3")),
        ({"photometric": "separated"}, ("cyan", "magenta", "yellow", "black")),
        ({"photometric": "minisblack", "extrasamples": ["unassalpha"]}, ("grey", "alpha")),
        ({"photometric": "minisblack", "extrasamples": ["unspecified"] * 2}, ()),
    ],
)
def test_samples_are_called_what_they_are(tmp_path: Path, options: dict[str, Any], names: tuple[str, ...]) -> None:
    samples = len(names) or 3
    array = pixels(20, 30, samples, dtype="uint8")
    image, _ = opened(tiff(tmp_path, array, planarconfig="contig", metadata=None, **options))
    assert (image.axes, image.channel_names) == ("yxs", names)


def test_an_electron_microscope_states_metres(tmp_path: Path) -> None:
    header = "[User]\r\nDate=01/01/2024\r\n[Scan]\r\nPixelWidth=4e-009\r\nPixelHeight=5e-009\r\n"
    path = tiff(tmp_path, pixels(20, 30), metadata=None, extratags=[(34682, "s", len(header) + 1, header, True)])
    assert opened(path)[0].pixel_size == {"x": PixelSize(4, "nm"), "y": PixelSize(5, "nm")}


@pytest.mark.parametrize(("mpp", "size"), [("0.4990", PixelSize(0.499, "µm")), ("unknown", None)])
def test_a_slide_states_micrometres_per_pixel(tmp_path: Path, mpp: str, size: PixelSize | None) -> None:
    array = pixels(96, 128, 3, dtype="uint8")
    text_of_it = f"Aperio Image Library v11.2.1\r\n128x96 |AppMag = 20|MPP = {mpp}|".encode()
    image, got = opened(described(tmp_path, array, text_of_it, tile=(32, 32), photometric="rgb"))
    np.testing.assert_array_equal(got, array)
    assert image.pixel_size.get("x") == image.pixel_size.get("y") == size


def micromanager(stack: Array, summary: bytes) -> bytes:
    """A Micro-Manager stack: the summary stands between the header and the first page."""
    front = struct.pack("<8I", 54773648, 0, 483765892, 0, 99384722, 0, 2355492, len(summary)) + summary
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for number, page in enumerate(stack):
            here = {"description": f"ImageJ=1.52\nimages={len(stack)}\nslices={len(stack)}"} if number == 0 else {}
            tag = (51123, "s", 20, '{"SliceIndex": 1234}', True)
            writer.write(page, metadata=None, contiguous=False, extratags=[tag], **here)
    return moved(buffer.getvalue(), front)


def moved(content: bytes, front: bytes) -> bytes:
    """A classic little-endian TIFF with ``front`` behind its header; everything that points is moved along."""
    by, out = len(front), bytearray(content)
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 12: 8}
    (page,) = struct.unpack_from("<I", out, 4)
    struct.pack_into("<I", out, 4, page + by)
    while page:
        (tags,) = struct.unpack_from("<H", out, page)
        for place in range(page + 2, page + 2 + 12 * tags, 12):
            code, kind, count, value = struct.unpack_from("<HHII", out, place)
            if count * sizes[kind] > 4 or code == 273:
                struct.pack_into("<I", out, place + 8, value + by)
        link = page + 2 + 12 * tags
        (page,) = struct.unpack_from("<I", out, link)
        struct.pack_into("<I", out, link, page + by if page else 0)
    return bytes(out[:8]) + front + bytes(out[8:])


@pytest.mark.parametrize(
    ("summary", "sizes", "names"),
    [
        (
            {"PixelSize_um": 0.325, "z-step_um": 1.0, "Interval_ms": 0, "ChNames": ["DAPI"]},
            {"y": PixelSize(0.325, "µm"), "x": PixelSize(0.325, "µm"), "z": PixelSize(1, "µm")},
            ("DAPI",),
        ),
        ({"PixelSize_um": 0, "z-step_um": "a", "ChNames": "DAPI"}, {}, ()),
        ({"ChNames": ["DAPI", "GFP"]}, {}, ()),
        (["no summary"], {}, ()),
    ],
)
def test_micro_manager_summarises_the_stack(
    tmp_path: Path, summary: Any, sizes: dict[str, PixelSize], names: tuple[str, ...]
) -> None:
    path, stack = tmp_path / "a_MMStack.tif", pixels(5, 20, 30)
    path.write_bytes(micromanager(stack, json.dumps(summary).encode()))
    image, got = opened(path)
    np.testing.assert_array_equal(got, stack)
    assert (image.axes, dict(image.pixel_size), image.channel_names) == ("zyx", sizes, names)


@pytest.mark.parametrize("summary", [b"{", b"\xff\xfe", b""])
def test_a_damaged_summary_is_no_harm(tmp_path: Path, summary: bytes) -> None:
    path, stack = tmp_path / "a_MMStack.tif", pixels(2, 20, 30)
    path.write_bytes(micromanager(stack, summary))
    image, got = opened(path)
    np.testing.assert_array_equal(got, stack)
    assert not image.pixel_size
