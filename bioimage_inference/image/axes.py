"""The one table of axis letters, and the rules that translate, guess and override the axes of an image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from ..errors import UsageError
from ..text import counted
from .image import Image, PixelSize


@dataclass(frozen=True)
class AxisKind:
    """An axis letter, its name, and its words in files.

    ``entry`` is the word for one index along the axis, ``aliases`` are other names, ``zarr_type`` is the axis type of
    OME-Zarr, ``imagej_count`` the key in ImageJ's text that counts the entries.
    """

    letter: str
    name: str
    entry: str
    aliases: tuple[str, ...] = ()
    zarr_type: str = ""
    imagej_count: str = ""


# In the order that OME-Zarr requires: time, then the channel or any other axis, then space.
AXES: Mapping[str, AxisKind] = MappingProxyType(
    {
        axis.letter: axis
        for axis in (
            AxisKind("t", "time", "time point", (), "time", "frames"),
            AxisKind("b", "batch", "sample"),
            AxisKind("i", "index", "object"),
            AxisKind("p", "position", "position"),
            AxisKind("c", "channel", "channel", (), "channel", "channels"),
            AxisKind("s", "sample", "colour"),  # TIFF calls the colours of a pixel its samples
            AxisKind("z", "depth", "plane", ("d",), "space", "slices"),
            AxisKind("y", "height", "row", ("h",), "space"),
            AxisKind("x", "width", "column", ("w",), "space"),
        )
    }
)
LETTERS = "".join(AXES)
OUTPUT_LETTERS = LETTERS.replace("s", "")
"""Axes of outputs: colours are channels there."""
SPACE = "".join(letter for letter, axis in AXES.items() if axis.zarr_type == "space")
SCALED = "t" + SPACE
"""Axes along which a pixel has an extent in seconds or micrometres."""
SERIES = "tpi"
"""Axes that stack samples, in the order in which they are given to axes without a letter of their own."""
UNKNOWN = "?"
_WORDS = {word: axis.letter for axis in AXES.values() for word in (axis.letter, axis.name, *axis.aliases)}
# A picture has at most 5 colours, and its sides are at least 4 times as long as its colour axis.
_MOST_COLOURS = 5
_FAR_BELOW = 4


def letter_of(word: str, letters: str = LETTERS) -> str | None:
    """Return the letter of an axis that a file calls ``word``; None if it is none of ``letters``."""
    letter = _WORDS.get(word.lower())
    return letter if letter is not None and letter in letters else None


def axis_id(letter: str) -> str:
    """Return the id of an axis in descriptions of models (bioimage.io): the letter along space, else the name."""
    return letter if letter in SPACE else AXES[letter].name


def spatial(axes: str) -> str:
    """Return those of z, y and x that ``axes`` contains, in this order."""
    return "".join(letter for letter in SPACE if letter in axes)


def parse_axes(text: str) -> str:
    """Return the user's axes in lower case; ``q`` and ``?`` stand for an axis without a name.

    Raises UsageError for letters that are not axes and for letters that occur twice.
    """
    axes = text.strip().lower().replace("q", UNKNOWN)
    strange = sorted({letter for letter in axes if letter not in LETTERS + UNKNOWN})
    if not axes or strange:
        raise UsageError(
            f"The axes {text!r} contain {', '.join(map(repr, strange)) or 'no letter'}. Give one letter per dimension "
            f"of the image: {', '.join(f'{axis.letter} {axis.name}' for axis in AXES.values())}, ? unknown; "
            "for example --axes tcyx."
        )
    repeated = sorted({letter for letter in axes if axes.count(letter) > 1 and letter != UNKNOWN})
    if repeated:
        raise UsageError(
            f"The axes {text!r} name {', '.join(map(repr, repeated))} more than once. Give each letter once only, and "
            "? for an axis without a name."
        )
    return axes


def guess_axes(shape: Sequence[int]) -> str:
    """Return the likely axes of an array without axis names: y and x come last, the axes before them are unknown.

    A last axis of 2 to 5, at most a quarter of the two axes before it, is the channels of a picture: y, x, c.
    """
    count = len(shape)
    if count >= 3 and 2 <= shape[-1] <= _MOST_COLOURS and _FAR_BELOW * shape[-1] <= min(shape[-3:-1]):
        return UNKNOWN * (count - 3) + "yxc"
    return UNKNOWN * (count - 2) + "yx" if count >= 2 else UNKNOWN * count


def named_axes(letters: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return our axes for the letters of another program, and notes on renamed axes.

    Axes without a letter in our table (angle, lifetime, …) are iterated like positions: the first one becomes ``p``,
    the second ``i``, further ones stay unknown.
    """
    axes: list[str] = []
    notes: list[str] = []
    given = [letter.lower() for letter in letters]
    spare = [letter for letter in SERIES[1:] if letter not in given]
    for letter in given:
        if letter == UNKNOWN or (letter in LETTERS and letter not in axes):
            axes.append(letter)
        elif spare:
            axes.append(spare.pop(0))
            notes.append(f"The file's axis {letter.upper()!r} is treated like a series of positions.")
        else:
            axes.append(UNKNOWN)
    return "".join(axes), tuple(notes)


def with_user_axes(image: Image, axes: str) -> Image:
    """Return ``image`` with the parsed axes of the user, given for all dimensions or for those longer than 1.

    Raises UsageError when the number of letters fits neither.
    """
    long = [index for index, size in enumerate(image.shape) if size > 1]
    if len(axes) == len(image.shape):
        letters = list(axes)
    elif len(axes) == len(long):
        # Dimensions of size 1 keep their name, unless the user gave it to another dimension.
        letters = [UNKNOWN if letter in axes else letter for letter in image.axes]
        for index, letter in zip(long, axes, strict=True):
            letters[index] = letter
    else:
        shape = "×".join(map(str, image.shape))
        counts = " or ".join(map(str, sorted({len(image.shape), len(long)} - {0})))
        raise UsageError(
            f"The axes {axes!r} name {counted(len(axes), 'dimension')}, but {image.name} has the shape {shape} "
            f"(the file's axes: {image.axes}). Give {counts} letters, in the order of that shape."
        )
    named = "".join(letters)
    before = image.axes if "c" in image.axes else image.axes.replace("s", "c")
    # A pixel size stays with its dimension. Lengths never become times, nor times lengths.
    sizes = {
        new: image.pixel_size[old]
        for old, new in zip(image.axes, named, strict=True)
        if old in image.pixel_size and (old == new or (old in SPACE and new in SPACE))
    }
    return replace(
        image,
        axes=named,
        axes_source="user",
        pixel_size=MappingProxyType(sizes),
        channel_names=image.channel_names if named.find("c") == before.find("c") else (),
    )


def only_present(sizes: Mapping[str, PixelSize | None], axes: str) -> Mapping[str, PixelSize]:
    """Return the known pixel sizes of the axes that the image has."""
    return MappingProxyType({axis: size for axis, size in sizes.items() if size is not None and axis in axes})


def fitting_names(names: Sequence[str], axes: str, shape: Sequence[int]) -> tuple[str, ...]:
    """Return the channel names if their number is that of the channels, or of the colours; else nothing."""
    letter = next((letter for letter in "cs" if letter in axes), None)
    count = 1 if letter is None else shape[axes.index(letter)]
    return tuple(names) if len(names) == count else ()


def complete_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return channel names with a stand-in for empty ones; nothing if all are empty."""
    return tuple(name or f"channel {index}" for index, name in enumerate(names)) if any(names) else ()
