"""Dialects of light and electron microscopes and of slide scanners: axes, pixel sizes, time steps and names."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from bioimage_inference.image.image import Image, PixelSize
from tests import dialect_files as files
from tests.dialect_files import bytes_tag, paged, text_tag
from tests.reading_data import MINISBLACK, Array, opened, pixels, tiff

UM = {"y": PixelSize(0.65, "µm"), "x": PixelSize(0.65, "µm")}


def check(path: Path, stored: Array, axes: str, sizes: Mapping[str, PixelSize], names: Sequence[str] = ()) -> Image:
    """Read the file, compare its axes, sizes and names, and its pixels, and return the image."""
    image, got = opened(path)
    np.testing.assert_array_equal(got, stored)
    assert (image.axes, dict(image.pixel_size), image.channel_names) == (axes, dict(sizes), tuple(names))
    return image


@pytest.mark.parametrize("unit", ["um", "u", "micron"])
def test_metamorph_states_calibration_and_the_distance_of_planes(tmp_path: Path, unit: str) -> None:
    stack = pixels(5, 20, 30)
    path = files.stk(tmp_path / "a.stk", stack, distances=[0.5] * 5, times=range(0, 5000, 1000), unit=unit)
    assert not check(path, stack, "zyx", {**UM, "z": PixelSize(0.5, "µm")}).notes


def test_metamorph_states_heights_and_times(tmp_path: Path) -> None:
    stack = pixels(4, 20, 30)
    heights, times = [10, 9.25, 8.5, 7.75], [100, 2100, 4100, 6100]
    check(files.stk(tmp_path / "z.stk", stack, distances=[1, 2, 3, 4], times=times, heights=heights), stack, "zyx",
          {**UM, "z": PixelSize(0.75, "µm")})  # fmt: skip
    check(files.stk(tmp_path / "t.stk", stack, distances=[0] * 4, times=times), stack, "tyx",
          {**UM, "t": PixelSize(2, "s")})  # fmt: skip


def test_metamorph_times_that_are_not_even_are_no_step(tmp_path: Path) -> None:
    stack = pixels(4, 20, 30)
    check(files.stk(tmp_path / "t.stk", stack, distances=[0] * 4, times=[0, 10, 500, 510]), stack, "tyx", UM)


def test_metamorph_wavelengths_are_channels(tmp_path: Path) -> None:
    stack = pixels(6, 20, 30)
    path = files.stk(tmp_path / "c.stk", stack, distances=[0.5] * 6, times=[0] * 6, waves=[405, 488] * 3)
    check(path, stack.reshape(3, 2, 20, 30), "zcyx", {**UM, "z": PixelSize(0.5, "µm")}, ("405 nm", "488 nm"))


def test_metaseries_states_calibration_and_setting(tmp_path: Path) -> None:
    array = pixels(20, 30)
    path = tiff(tmp_path, array, description=files.metaseries("DAPI", 1), software="MetaSeries", metadata=None)
    check(path, array, "yx", UM, ("DAPI",))
    bare = tiff(
        tmp_path, array, description=files.metaseries("DAPI", 1, calibrated=False), software="MetaSeries", metadata=None
    )
    check(bare, array, "yx", {}, ("DAPI",))


def test_metaseries_pages_are_channels_planes_or_frames(tmp_path: Path) -> None:
    stack = pixels(4, 20, 30)
    texts = [files.metaseries(setting, height) for setting in ("DAPI", "FITC") for height in (3, 4.5)]
    check(paged(tmp_path / "cz.tif", stack, texts, software="MetaSeries"), stack.reshape(2, 2, 20, 30), "czyx",
          {**UM, "z": PixelSize(1.5, "µm")}, ("DAPI", "FITC"))  # fmt: skip
    texts = [files.metaseries("DAPI", 3, time=f"20240101 10:00:0{second}.000") for second in range(4)]
    check(paged(tmp_path / "t.tif", stack, texts, software="MetaSeries"), stack, "tyx", UM, ("DAPI",))


def test_zeiss_lsm_states_voxels_names_and_interval(tmp_path: Path) -> None:
    stack = pixels(4, 20, 30)
    plane = {"x": PixelSize(0.2, "µm"), "y": PixelSize(0.3, "µm")}
    check(files.lsm(tmp_path / "z.lsm", stack, scan=0, channels=["Ch2-T1"]), stack, "zyx",
          {**plane, "z": PixelSize(1, "µm")}, ("Ch2-T1",))  # fmt: skip
    check(files.lsm(tmp_path / "t.lsm", stack, scan=3, interval=2.5), stack, "tyx", {**plane, "t": PixelSize(2.5, "s")})
    check(files.lsm(tmp_path / "s.lsm", stack, scan=3, stamps=[7, 9, 11, 13]), stack, "tyx",
          {**plane, "t": PixelSize(2, "s")})  # fmt: skip


def test_fluoview_states_resolution_by_dimension(tmp_path: Path) -> None:
    stack = pixels(2, 3, 2, 20, 30)
    header = files.fluoview_header([("X", 30, 0.4, "um"), ("Y", 20, 0.5, "um"), ("Ch", 2, 1, "Ch"),
                                    ("Z", 3, -1.5, "um"), ("Time", 2, 30, "s")])  # fmt: skip
    path = files.fluoview(tmp_path / "a.tif", stack.reshape(12, 20, 30), header)
    sizes = {"x": PixelSize(0.4, "µm"), "y": PixelSize(0.5, "µm"), "z": PixelSize(1.5, "µm"), "t": PixelSize(30, "s")}
    check(path, stack, "tzcyx", sizes)


def test_olympus_sis_states_metres_and_bands(tmp_path: Path) -> None:
    stack = pixels(2, 20, 30)
    lines = ["[Dimension]", "Band=2", "Z=1", "Time=1", "[Z]", "ZPos1=0", "[Time]", "TimePos1=0", "[Band]",
             "BandName1=DAPI", "BandName2=FITC"]  # fmt: skip
    ini = "\r\n".join(lines)
    path = files.sis(tmp_path / "a.tif", stack, ini=ini)
    sizes = {"x": PixelSize(0.2, "µm"), "y": PixelSize(0.3, "µm")}
    check(path, stack, "cyx", sizes, ("DAPI", "FITC"))
    check(files.sis(tmp_path / "b.tif", stack[:1]), stack[0], "yx", sizes)


FIELD = {"x": PixelSize(1, "µm"), "y": PixelSize(0.5, "µm")}
Z25 = {"z": PixelSize(2.5, "µm")}


@pytest.mark.parametrize(
    ("changed", "shape", "axes", "sizes"),
    [
        ({}, (3, 2), "zcyx", Z25),
        ({"framesPerSlice": "4"}, (3, 4, 2), "ztcyx", {**Z25, "t": PixelSize(0.5, "s")}),
        ({}, (5, 3, 2), "tzcyx", {**Z25, "t": PixelSize(4, "s")}),
        ({"numSlices": "1", "framesPerSlice": "Inf"}, (6, 2), "tcyx", {"t": PixelSize(0.5, "s")}),
        ({"framesPerSlice": "4"}, (5, 2), "?cyx", {}),
        ({"stackZStepSize": "-2.5"}, (3, 2), "zcyx", Z25),
    ],
)
@pytest.mark.parametrize("place", ["software", "description"])
def test_scanimage_interleaves_channels_with_planes_and_frames(
    tmp_path: Path, changed: dict[str, str], shape: tuple[int, ...], axes: str, sizes: dict[str, PixelSize], place: str
) -> None:
    values = files.SCANIMAGE | {f"SI.hStackManager.{key}": value for key, value in changed.items()}
    front = "" if place == "software" else "scanimage."
    text = "\n".join(f"{front}{key} = {value}" for key, value in values.items())
    stack = pixels(*shape, 20, 30)
    path = tmp_path / "a.tif"
    options = {"software": text} if place == "software" else {}
    pages = stack.reshape(-1, 20, 30)
    paged(path, pages, [text if place == "description" else None] * len(pages), **options)
    image = check(path, stack, axes, {**FIELD, **sizes}, ("green", "blue"))
    assert ["reversed" in note for note in image.notes] == [True] * ("-" in changed.get("stackZStepSize", ""))


def test_old_scanimage_states_planes_and_their_distance(tmp_path: Path) -> None:
    stack = pixels(3, 2, 20, 30)
    text = "\r".join(["state.configName='a'", "state.acq.numberOfZSlices=3", "state.acq.zStepSize=2.5",
                      "state.acq.savingChannel1=1", "state.acq.savingChannel2=1", "state.acq.savingChannel3=0",
                      "state.acq.numberOfFrames=1"])  # fmt: skip
    check(paged(tmp_path / "a.tif", stack.reshape(6, 20, 30), [text] * 6), stack, "zcyx", Z25)


@pytest.mark.parametrize(
    ("lines", "size"),
    [
        (["AP_PIXEL_SIZE", "Pixel Size = 4.2 nm"], PixelSize(4.2, "nm")),
        (["AP_PIXEL_SIZE", "Pixel Size = 1.5 µm"], PixelSize(1.5, "µm")),
        (["AP_IMAGE_PIXEL_SIZE", "Image Pixel Size = 4 nm", "AP_PIXEL_SIZE", "Pixel Size = 4.2 nm"],
         PixelSize(4, "nm")),
        (["AP_PIXEL_SIZE", "Pixel Size = unknown"], None),
        (["AP_MAG", "Mag = 20 K X"], None),
    ],
)  # fmt: skip
def test_zeiss_sem_states_its_pixel_size(tmp_path: Path, lines: Sequence[str], size: PixelSize | None) -> None:
    array = pixels(20, 30)
    path = tiff(tmp_path, array, metadata=None, extratags=[files.zeiss_sem_tag(*lines)])
    check(path, array, "yx", {} if size is None else {"y": size, "x": size})


@pytest.mark.parametrize(
    ("section", "sizes"),
    [
        ("[Scan]\r\nPixelWidth=4e-009\r\nPixelHeight=5e-009", {"x": PixelSize(4, "nm"), "y": PixelSize(5, "nm")}),
        ("[EBeam]\r\nHFW=3e-006\r\n[Image]\r\nResolutionX=30", {"x": PixelSize(100, "nm"), "y": PixelSize(100, "nm")}),
        ("[EBeam]\r\nHFW=3e-006\r\n[Image]\r\nResolutionX=60", {}),
        ("[Scan]\r\nPixelWidth=\r\nPixelHeight=a", {}),
    ],
)
@pytest.mark.parametrize("code", [34680, 34682])
def test_fei_states_metres(tmp_path: Path, section: str, sizes: dict[str, PixelSize], code: int) -> None:
    array = pixels(20, 30)
    check(tiff(tmp_path, array, metadata=None, extratags=[text_tag(code, f"[User]\r\nA=1\r\n{section}\r\n")]), array,
          "yx", sizes)  # fmt: skip


def test_tvips_states_nanometres(tmp_path: Path) -> None:
    array = pixels(20, 30)
    path = tiff(tmp_path, array, metadata=None, extratags=[bytes_tag(37706, files.tvips_header(0.5, 0.25))])
    check(path, array, "yx", {"x": PixelSize(0.5, "nm"), "y": PixelSize(0.25, "nm")})


@pytest.mark.parametrize(
    ("third", "letter", "size"),
    [("nm", "z", PixelSize(3, "nm")), ("s", "t", PixelSize(3, "s")), ("", "?", None), ("eV", "?", None)],
)
def test_gatan_states_size_and_unit_of_each_axis(
    tmp_path: Path, third: str, letter: str, size: PixelSize | None
) -> None:
    stack = pixels(4, 20, 30)
    tags = files.gatan_tags((0.5, "nm"), (0.25, "µm"), (3.0, third))
    sizes = {"x": PixelSize(0.5, "nm"), "y": PixelSize(0.25, "µm")} | ({} if size is None else {letter: size})
    check(tiff(tmp_path, stack, metadata=None, extratags=tags, **MINISBLACK), stack, f"{letter}yx", sizes)


def test_gatan_diffraction_has_no_length(tmp_path: Path) -> None:
    array = pixels(20, 30)
    tags = files.gatan_tags((0.5, "1/nm"), (0.5, "1/nm"))
    check(tiff(tmp_path, array, metadata=None, extratags=tags), array, "yx", {})


def test_qptiff_names_its_channels(tmp_path: Path) -> None:
    stack = pixels(3, 64, 96)
    path = files.qptiff(tmp_path / "a.qptiff", stack, ("DAPI", "Opal 520", "Opal 690"))
    check(path, stack, "cyx", {"y": PixelSize(0.5, "µm"), "x": PixelSize(0.5, "µm")}, ("DAPI", "Opal 520", "Opal 690"))


def test_ndpi_states_its_resolution_and_focal_planes(tmp_path: Path) -> None:
    stack = pixels(3, 64, 96, 3, dtype="uint8")
    path = files.ndpi(tmp_path / "dataset_1.dat", stack, (-2000, 0, 2000))
    sizes = {"x": PixelSize(0.25, "µm"), "y": PixelSize(0.5, "µm"), "z": PixelSize(2000, "nm")}
    check(path, stack, "zyxs", sizes, ("red", "green", "blue"))


@pytest.mark.parametrize("levels", [1, 2])
def test_philips_states_millimetres_along_y_and_x(tmp_path: Path, levels: int) -> None:
    full = pixels(64, 96, 3, dtype="uint8")
    text = files.philips_text('"0.0005" "0.00025"', '"0.001" "0.0005"')
    path = files.philips(tmp_path / "a.tiff", [full, full[::2, ::2]][:levels], text)
    sizes = {"y": PixelSize(0.0005, "mm"), "x": PixelSize(0.00025, "mm")}
    check(path, full, "yxs", sizes, ("red", "green", "blue"))


def test_leica_scn_states_the_view_in_nanometres(tmp_path: Path) -> None:
    stack = pixels(2, 64, 96)
    path = files.leica_scn(tmp_path / "a.scn", stack)
    check(path, stack, "cyx", {"x": PixelSize(500, "nm"), "y": PixelSize(250, "nm")}, ("DAPI", "FITC"))


def test_damaged_metadata_lead_to_a_note_and_leave_the_pixels(tmp_path: Path) -> None:
    array = pixels(20, 30)
    for text, software in (("<MetaData><a></MetaData>", "MetaSeries"), ("<x", "PerkinElmer-QPI")):
        path = tiff(tmp_path, array, description=text, software=software, metadata=None)
        image, got = opened(path)
        np.testing.assert_array_equal(got.reshape(20, 30), array)
        assert "damaged" in image.notes[0]
