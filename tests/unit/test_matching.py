"""Axes of images find their place in the model's; what cannot be matched is told with the option that settles it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioimage_inference.errors import ImageError, UsageError
from bioimage_inference.image.array_images import array_image
from bioimage_inference.image.axes import with_user_axes
from bioimage_inference.image.axis_mapping import AxisMapping, TensorAxes, map_axes
from bioimage_inference.options import Options, parse_channels

PLANE = TensorAxes("raw", "bcyx", 1, {"y": 8, "x": 8})
COLOUR = TensorAxes("raw", "bcyx", 3, {"y": 8, "x": 8})
VOLUME = TensorAxes("raw", "bczyx", 1, {"z": 4, "y": 8, "x": 8})


def matched(shape: tuple[int, ...], axes: str | None, wanted: TensorAxes = PLANE, channels: Any = None) -> AxisMapping:
    array = np.arange(np.prod(shape), dtype="int32").reshape(shape)
    return map_axes(array_image(array, axes), wanted, channels)


def whole(one: AxisMapping, *index: int) -> np.ndarray[Any, Any]:
    return one.read(index, {})


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("yx", (9, 10)), ("xy", (10, 9)), ("bcyx", (1, 1, 9, 10)), ("yxc", (9, 10, 1)), ("tzcyx", (1, 1, 1, 9, 10))],
)
def test_a_plane_is_a_plane_however_its_axes_lie(axes: str, shape: tuple[int, ...]) -> None:
    one = matched(shape, axes)
    assert one.samples == ()
    assert whole(one).shape == (1, 1, 9, 10)
    plane = np.arange(90).reshape(shape).squeeze()
    np.testing.assert_array_equal(whole(one)[0, 0], plane.T if axes == "xy" else plane)


def test_a_time_series_or_stack_is_iterated() -> None:
    one = matched((2, 3, 9, 10), "tzyx")
    assert (one.iterated, one.samples) == ("tz", (2, 3))
    expected = np.arange(540).reshape(2, 3, 9, 10)
    np.testing.assert_array_equal(whole(one, 1, 2)[0, 0], expected[1, 2])


def test_a_stack_fills_a_volume_and_time_is_iterated() -> None:
    one = matched((2, 5, 9, 10), "tzyx", VOLUME)
    assert (one.iterated, dict(one.sizes)) == ("t", {"b": 1, "c": 1, "z": 5, "y": 9, "x": 10})


def test_several_images_along_the_batch_axis_are_samples() -> None:
    assert matched((4, 1, 9, 10), "bcyx").samples == (4,)


@pytest.mark.parametrize("axes", ["yxs", "cyx", "yxc"])
def test_colours_are_channels(axes: str) -> None:
    shape = (3, 9, 10) if axes == "cyx" else (9, 10, 3)
    assert whole(matched(shape, axes, COLOUR)).shape == (1, 3, 9, 10)


def test_transparency_is_left_out_with_a_word() -> None:
    one = matched((9, 10, 4), "yxs", COLOUR)
    assert one.channels == (0, 1, 2)
    assert "transparency" in one.notes[0]


def test_channels_are_taken_in_the_order_given() -> None:
    one = matched((4, 9, 10), "cyx", COLOUR, (2, 1, 0))
    np.testing.assert_array_equal(whole(one)[0], np.arange(360).reshape(4, 9, 10)[[2, 1, 0]])


def test_one_of_three_channels_for_a_model_with_one() -> None:
    one = matched((3, 9, 10), "cyx", PLANE, (1,))
    np.testing.assert_array_equal(whole(one)[0, 0], np.arange(270).reshape(3, 9, 10)[1])


def test_a_region_is_read_alone() -> None:
    one = matched((3, 9, 10), "tyx")
    expected = np.arange(270).reshape(3, 9, 10)[2, 4:7, 1:3]
    np.testing.assert_array_equal(one.read((2,), {"y": (4, 7), "x": (1, 3)})[0, 0], expected)


@pytest.mark.parametrize(
    ("shape", "wanted", "axes"),
    [
        ((9, 10), PLANE, "yx"),
        ((1, 1, 9, 10), PLANE, "bcyx"),
        ((5, 9, 10), PLANE, "zyx"),
        ((9, 10, 3), COLOUR, "yxc"),
        ((3, 9, 10), COLOUR, "cyx"),
        ((9, 9, 10), VOLUME, "zyx"),
        ((2, 9, 9, 10), VOLUME, "tzyx"),
    ],
)
def test_unnamed_axes_are_guessed_from_the_model(shape: tuple[int, ...], wanted: TensorAxes, axes: str) -> None:
    one = matched(shape, None, wanted)
    assert one.axes == axes


@given(height=st.integers(64, 700), width=st.integers(64, 700), channels=st.integers(2, 5), wanted=st.integers(1, 4))
def test_a_guess_never_takes_colours_for_a_stack(height: int, width: int, channels: int, wanted: int) -> None:
    image = array_image(np.broadcast_to(np.uint8(0), (height, width, channels)))
    plane = TensorAxes("raw", "bcyx", wanted, {"y": 8, "x": 8})
    if channels == wanted:
        one = map_axes(image, plane)
        assert (one.axes, one.samples) == ("yxc", ())
        assert "taken as YXC" in one.notes[0]
        return
    with pytest.raises(ImageError, match=f"the image has {channels} channels") as caught:
        map_axes(image, plane)
    assert ("--channels 0" in str(caught.value)) == (channels > wanted)
    assert "--axes zyx" in str(caught.value)
    with pytest.raises(ImageError, match="last axis of"):
        map_axes(image, VOLUME)


def test_what_the_user_says_of_such_an_array_counts() -> None:
    assert matched((64, 80, 3), "zyx").samples == (64,)
    one = matched((64, 80, 3), None, PLANE, (1,))
    np.testing.assert_array_equal(whole(one)[0, 0], np.arange(64 * 80 * 3).reshape(64, 80, 3)[..., 1])


@pytest.mark.parametrize(
    ("shape", "axes", "say"),
    [((24, 9, 10), "tyx", "zyx"), ((2, 24, 9, 10), "ctyx", "czyx"), ((24, 1, 9, 10), "tzyx", "ztyx"),
     ((24, 9, 10), "pyx", "zyx")],
)  # fmt: skip
def test_volumes_of_one_plane_are_said(shape: tuple[int, ...], axes: str, say: str) -> None:
    thin = TensorAxes("raw", "bczyx", shape[0] if axes[0] == "c" else 1, {"z": 1, "y": 8, "x": 8})
    image = array_image(np.zeros(shape), axes)
    (note,) = map_axes(image, thin).notes
    assert f"--axes {say}" in note
    assert not map_axes(with_user_axes(image, say), thin).notes
    assert dict(map_axes(with_user_axes(image, say), thin).sizes)["z"] == 24


def test_a_single_plane_and_a_stack_need_no_word() -> None:
    thin = TensorAxes("raw", "bczyx", 1, {"z": 1, "y": 8, "x": 8})
    for shape, axes in (((9, 10), "yx"), ((5, 9, 10), "zyx"), ((2, 5, 9, 10), "tzyx")):
        assert not matched(shape, axes, thin).notes


NAMED = replace(array_image(np.arange(450).reshape(5, 9, 10), "cyx", "cells.tif"),
                channel_names=("DNA1", "DNA2", "CD3", "CD20", "cd3"))  # fmt: skip


@pytest.mark.parametrize(("given", "taken"), [(("CD3",), 2), (("cd3",), 4), (("cd20",), 3), ((1,), 1), (("DNA1",), 0)])
def test_channels_have_numbers_and_names(given: tuple[int | str, ...], taken: int) -> None:
    one = map_axes(NAMED, PLANE, given)
    assert one.channels == (taken,)
    np.testing.assert_array_equal(whole(one)[0, 0], np.arange(450).reshape(5, 9, 10)[taken])


def test_names_that_are_none_or_several_are_refused_with_those_that_there_are() -> None:
    for name, words in (("CK", "3 CD20"), ("Cd3", "Several"), ("dna", "0 DNA1")):
        with pytest.raises(UsageError, match=words):
            map_axes(NAMED, PLANE, (name,))
    with pytest.raises(UsageError, match="names no channels; give numbers from 0 to 2"):
        matched((3, 9, 10), "cyx", PLANE, ("DAPI",))


@pytest.mark.parametrize(
    ("text", "parsed"), [("2,1,0", (2, 1, 0)), ("DAPI, GFP", ("DAPI", "GFP")), ("CD3,0", ("CD3", 0))]
)
def test_a_list_of_channels_is_numbers_and_names(text: str, parsed: tuple[int | str, ...]) -> None:
    assert parse_channels(text) == Options(channels=text).channels == parsed


@pytest.mark.parametrize("text", ["", ",", "1,,2"])
def test_a_list_of_channels_with_gaps_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="not understood"):
        parse_channels(text)


@pytest.mark.parametrize(
    ("samples", "there"), [(2, "0 grey, 1 alpha"), (3, "0 red, 1 green, 2 blue"), (4, "3 alpha"), (6, "6 channels")]
)
def test_a_refusal_names_the_colours_that_there_are(samples: int, there: str) -> None:
    with pytest.raises(ImageError, match=there):
        matched((9, 10, samples), "yxs", TensorAxes("raw", "bcyx", 5, {}))
    with pytest.raises(ImageError) as caught:
        matched((9, 10, 2), "yxs", COLOUR)
    assert "red" not in str(caught.value)


def test_transparency_beside_grey_is_left_out_too() -> None:
    one = matched((9, 10, 2), "yxs", PLANE)
    assert one.channels == (0,)
    assert "transparency" in one.notes[0]


@pytest.mark.parametrize("axes", [None, "zyx", "tyx", "pyx"])
def test_planes_that_may_be_channels_are_offered_as_channels(axes: str | None) -> None:
    for channels, wanted in ((None, COLOUR), ((2,), PLANE), (("DAPI",), PLANE)):
        with pytest.raises((ImageError, UsageError), match="no axis of channels") as caught:
            matched((5, 90, 100), axes, wanted, channels)
        assert "--axes cyx" in str(caught.value)


def test_only_what_the_file_does_not_name_is_guessed() -> None:
    image = array_image(np.zeros((1, 5, 9, 10)), "?zyx")
    assert map_axes(image, PLANE).axes == "tzyx"
    assert map_axes(image, VOLUME).axes == "czyx"


@pytest.mark.parametrize(
    ("shape", "axes", "wanted", "words"),
    [
        ((9, 10, 3), "yxs", PLANE, ["3 channels", "--channels 0", "red"]),
        ((2, 9, 10), "cyx", COLOUR, ["2 channels", "with 3 channels"]),
        ((9, 10), "yx", VOLUME, ["no axis z", "BCZYX"]),
        ((20, 9, 10), "tyx", VOLUME, ["no axis z", "--axes zyx"]),
        ((30, 9, 10), "cyx", PLANE, ["30 channels", "--axes zyx"]),
        ((9, 10), "zx", PLANE, ["no axis y"]),
    ],
)
def test_what_does_not_fit_shows_both_sides_and_what_to_say(
    shape: tuple[int, ...], axes: str, wanted: TensorAxes, words: list[str]
) -> None:
    with pytest.raises(ImageError) as caught:
        matched(shape, axes, wanted)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(("channels", "words"), [((5,), "channels 0 to 2"), ((0, 1), "names 2 channels")])
def test_channels_that_cannot_be(channels: tuple[int, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        matched((3, 9, 10), "cyx", PLANE, channels)


def test_a_model_without_channel_axis_does_not_take_colours() -> None:
    with pytest.raises(ImageError, match="3 channels"):
        matched((3, 9, 10), "cyx", TensorAxes("raw", "byx", 1, {}))


def test_the_file_is_named() -> None:
    image = array_image(np.zeros((3, 9, 10)), "cyx", name="cells.tif")
    with pytest.raises(ImageError, match=r"cells\.tif does not fit"):
        map_axes(image, PLANE)
