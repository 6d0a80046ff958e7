"""The letters of image axes: translating those of other programs, guessing where a file is silent, obeying the user."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from ..errors import UsageError
from .image import Image, PixelSize

LETTERS = "tcszyxbip"
_SPATIAL = "zyx"
_UNKNOWN = "?"
_MOST_COLOURS = 5
_FAR_BELOW = 4


def parse_axes(text: str) -> str:
    """The user's axes in lower case; ``q`` and ``?`` stand for an axis without a name.

    Raises UsageError for letters that are no axes and for letters that come twice.
    """
    axes = text.strip().lower().replace("q", _UNKNOWN)
    strange = sorted({letter for letter in axes if letter not in LETTERS + _UNKNOWN})
    if not axes or strange:
        raise UsageError(
            f"The axes {text!r} contain {', '.join(map(repr, strange)) or 'no letter'}. Give one letter per dimension "
            "of the image: t time, c channel, s RGB samples, z, y, x, b batch, i index, p position, ? unknown; "
            "for example --axes tcyx."
        )
    repeated = sorted({letter for letter in axes if axes.count(letter) > 1 and letter != _UNKNOWN})
    if repeated:
        raise UsageError(
            f"The axes {text!r} name {', '.join(map(repr, repeated))} more than once. Every letter may come once only; "
            "give ? for an axis without a name."
        )
    return axes


def guess_axes(shape: Sequence[int]) -> str:
    """Axes of an array that names none: the last two are y and x, those before are unknown.

    A last axis of 2 to 5, at most a quarter of the two before it, is the channels of a picture: y, x, c.
    """
    count = len(shape)
    if count >= 3 and 2 <= shape[-1] <= _MOST_COLOURS and _FAR_BELOW * shape[-1] <= min(shape[-3:-1]):
        return _UNKNOWN * (count - 3) + "yxc"
    return _UNKNOWN * (count - 2) + "yx" if count >= 2 else _UNKNOWN * count


def named_axes(letters: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Our axes for one letter or ``?`` per dimension in another program's language, with remarks on what was renamed.

    Axes that we have no letter for (angle, lifetime, ...) are iterated like positions: the first becomes ``p``,
    the next ``i``, more are left unnamed.
    """
    axes: list[str] = []
    notes: list[str] = []
    wanted = [letter.lower() for letter in letters]
    spare = [letter for letter in "pi" if letter not in wanted]
    for letter in wanted:
        if letter == _UNKNOWN or (letter in LETTERS and letter not in axes):
            axes.append(letter)
        elif spare:
            axes.append(spare.pop(0))
            notes.append(f"The file's axis {letter.upper()!r} is treated like a series of positions.")
        else:
            axes.append(_UNKNOWN)
    return "".join(axes), tuple(notes)


def with_user_axes(image: Image, axes: str) -> Image:
    """``image`` under the axes that the user gave (already parsed), for all dimensions or all but those of size 1.

    Raises UsageError when the number of letters fits neither.
    """
    wide = [index for index, size in enumerate(image.shape) if size > 1]
    if len(axes) == len(image.shape):
        letters = list(axes)
    elif len(axes) == len(wide):
        # The user speaks of the others only, so those of size 1 keep their name unless it is taken now.
        letters = [_UNKNOWN if letter in axes else letter for letter in image.axes]
        for index, letter in zip(wide, axes, strict=True):
            letters[index] = letter
    else:
        shape = "×".join(map(str, image.shape))
        counts = " or ".join(map(str, sorted({len(image.shape), len(wide)} - {0})))
        raise UsageError(
            f"The axes {axes!r} name {len(axes)} dimensions, but {image.name} has the shape {shape} "
            f"(the file's axes: {image.axes}). Give {counts} letters, in the order of that shape."
        )
    named = "".join(letters)
    before = image.axes if "c" in image.axes else image.axes.replace("s", "c")
    return replace(
        image,
        axes=named,
        axes_source="user",
        pixel_size=MappingProxyType(_moved_sizes(image, named)),
        channel_names=image.channel_names if named.find("c") == before.find("c") else (),
    )


def _moved_sizes(image: Image, axes: str) -> dict[str, PixelSize]:
    """Pixel sizes stay with their dimension; one of length never becomes one of time, nor the reverse."""
    sizes: dict[str, PixelSize] = {}
    for old, new in zip(image.axes, axes, strict=True):
        if old in image.pixel_size and (old == new or (old in _SPATIAL and new in _SPATIAL)):
            sizes[new] = image.pixel_size[old]
    return sizes


def only_present(sizes: Mapping[str, PixelSize | None], axes: str) -> Mapping[str, PixelSize]:
    """The pixel sizes that are known, of axes that the image has."""
    return MappingProxyType({axis: size for axis, size in sizes.items() if size is not None and axis in axes})


def fitting_names(names: Sequence[str], axes: str, shape: Sequence[int]) -> tuple[str, ...]:
    """The names of channels, where there are as many as channels (or colours, in an image without channels)."""
    letter = next((letter for letter in "cs" if letter in axes), None)
    count = 1 if letter is None else shape[axes.index(letter)]
    return tuple(names) if len(names) == count else ()
