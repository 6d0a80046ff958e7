"""Axes of images find their place in the model's; what cannot be matched is told with the option that settles it."""

from typing import Any

import numpy as np
import pytest

from bioimage_inference.errors import ImageError, UsageError
from bioimage_inference.image.arrays import array_image
from bioimage_inference.image.matching import Matched, Wanted, match

PLANE = Wanted("raw", "bcyx", 1, {"y": 8, "x": 8})
COLOUR = Wanted("raw", "bcyx", 3, {"y": 8, "x": 8})
VOLUME = Wanted("raw", "bczyx", 1, {"z": 4, "y": 8, "x": 8})


def matched(shape: tuple[int, ...], axes: str | None, wanted: Wanted = PLANE, channels: Any = None) -> Matched:
    array = np.arange(np.prod(shape), dtype="int32").reshape(shape)
    return match(array_image(array, axes), wanted, channels)


def whole(one: Matched, *index: int) -> np.ndarray[Any, Any]:
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
def test_unnamed_axes_are_guessed_from_the_model(shape: tuple[int, ...], wanted: Wanted, axes: str) -> None:
    one = matched(shape, None, wanted)
    assert one.axes == axes


def test_only_what_the_file_does_not_name_is_guessed() -> None:
    image = array_image(np.zeros((1, 5, 9, 10)), "?zyx")
    assert match(image, PLANE).axes == "tzyx"
    assert match(image, VOLUME).axes == "czyx"


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
    shape: tuple[int, ...], axes: str, wanted: Wanted, words: list[str]
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
        matched((3, 9, 10), "cyx", Wanted("raw", "byx", 1, {}))


def test_the_file_is_named() -> None:
    image = array_image(np.zeros((3, 9, 10)), "cyx", name="cells.tif")
    with pytest.raises(ImageError, match=r"cells\.tif does not fit"):
        match(image, PLANE)
