"""How an image fills a tensor: which axis is which, which axes are iterated, which channels are taken.

Knows no model: the tensor is given by its axis letters and its number of channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..array_types import Array, Spans
from ..errors import ImageError, UsageError
from ..text import counted
from .axes import SERIES, SPACE, UNKNOWN
from .image import Image

_COLOURS = {1: ("grey",), 2: ("grey", "alpha"), 3: ("red", "green", "blue"), 4: ("red", "green", "blue", "alpha")}


@dataclass(frozen=True)
class TensorAxes:
    """The tensor to be filled: its id, its axis letters such as ``bcyx``, its number of channels.

    ``channels`` is 1 for a tensor without a channel axis, and ``None`` if any number fits. ``minimum`` is the smallest
    legal size by axis: a tensor that needs several pixels along z takes no image without z.
    """

    tensor: str
    letters: str
    channels: int | None
    minimum: Mapping[str, int]

    def describe(self) -> str:
        """Return the axes and channels in words, for messages."""
        channels = f" with {counted(self.channels, 'channel')}" if self.channels is not None else ""
        return f"axes {self.letters.upper()}{channels}"


@dataclass(frozen=True)
class AxisMapping:
    """How an image fills a tensor.

    ``axes`` are the letters of the image's dimensions, ``letters`` those of the tensor. ``iterated`` are axes of the
    image that the tensor lacks: each index along them is a sample. ``sizes`` are the pixels of one sample along each
    axis of the tensor. ``channels`` are the channels taken, in the order of the tensor. ``resized_from`` is the image
    before it was resized, if it was. ``rescaled`` outputs are brought back to the pixels of that image.
    """

    image: Image
    axes: str
    letters: str
    iterated: str
    sizes: Mapping[str, int]
    channels: tuple[int, ...] | None
    notes: tuple[str, ...] = ()
    resized_from: Image | None = None
    rescaled: bool = False

    @property
    def given(self) -> Image:
        """The image before it was resized."""
        return self.resized_from or self.image

    @property
    def samples(self) -> tuple[int, ...]:
        """Number of samples along each iterated axis."""
        return tuple(self.image.shape[self.axes.index(letter)] for letter in self.iterated)

    def read(self, index: Sequence[int], spans: Spans) -> Array:
        """Return a region of one sample as an array with the axes ``letters``.

        ``index`` is the position along the iterated axes, ``spans`` the (start, stop) along other axes. Raises
        :class:`ImageError` if the file cannot be read.
        """
        at = dict(zip(self.iterated, index, strict=True))
        region = []
        for letter, size in zip(self.axes, self.image.shape, strict=True):
            if letter in at:
                region.append(slice(at[letter], at[letter] + 1))
            elif letter == "c" and self.channels is not None:
                region.append(slice(min(self.channels), max(self.channels) + 1))
            else:
                region.append(slice(*spans.get(letter, (0, size))))
        kept = "".join(letter for letter in self.axes if letter in self.letters and letter not in self.iterated)
        dropped = tuple(number for number, letter in enumerate(self.axes) if letter not in kept)
        block = self.image.read(tuple(region)).squeeze(dropped)
        if self.channels is not None and "c" in kept:
            block = block.take([channel - min(self.channels) for channel in self.channels], axis=kept.index("c"))
        block = block.transpose([kept.index(letter) for letter in self.letters if letter in kept])
        return np.expand_dims(block, [n for n, letter in enumerate(self.letters) if letter not in kept])


def map_axes(image: Image, tensor: TensorAxes, channels: Sequence[int | str] | None = None) -> AxisMapping:
    """Map the axes of an image to those of a tensor; ``channels`` are numbers from 0 or names.

    Raises :class:`ImageError` if image and tensor do not fit; its message shows both and the option that helps. Raises
    :class:`UsageError` for channels that the image does not have.
    """
    image, notes = _with_colours_as_channels(image), []
    axes = _guess(image, tensor) if UNKNOWN in image.axes else image.axes
    if UNKNOWN in image.axes or (image.axes_source == "guess" and "c" in axes):
        notes.append(
            f"{image.name} does not name its axes; they are taken as {axes.upper()}. If that is wrong, say --axes."
        )
    if len(set(axes)) != len(axes):
        raise _mismatch(image, tensor, f"the axes {axes!r} are not all different", "Name each axis once with --axes.")
    for letter in tensor.letters:
        if letter not in "bcti" and letter not in axes and tensor.minimum.get(letter, 2) > 1:
            raise _mismatch(image, tensor, f"the image has no axis {letter}", _axis_advice(image, tensor, letter))
    chosen, channel_notes = _chosen_channels(image, axes, tensor, channels)
    sizes = {letter: image.shape[axes.index(letter)] if letter in axes else 1 for letter in tensor.letters}
    if "b" in sizes:
        sizes["b"] = 1
    if chosen is not None and "c" in sizes:
        sizes["c"] = len(chosen)
    iterated = "".join(
        letter
        for letter, size in zip(axes, image.shape, strict=True)
        if (letter not in tensor.letters or letter == "b") and size > 1 and not (letter == "c" and chosen is not None)
    )
    series = next((letter for letter in SERIES if letter in iterated), None)
    notes += channel_notes
    if sizes.get("z") == 1 and series is not None:
        notes.append(
            f"The model takes volumes, but {image.name} has no planes along z: each of its "
            f"{image.shape[axes.index(series)]} places along {series.upper()} becomes a volume of one plane. If "
            f"{series.upper()} is the z axis of a stack, give --axes {_exchanged(axes, series, 'z')}."
        )
    return AxisMapping(image, axes, tensor.letters, iterated, sizes, chosen, tuple(notes))


def _with_colours_as_channels(image: Image) -> Image:
    """Return the image with the colour axis ``s`` as channels, also in place of a channel axis of size 1."""
    if "s" not in image.axes:
        return image
    if image.size("c") > 1:
        raise ImageError(
            f"{image.name} has both channels and colours (axes {image.axes.upper()}, shape {image.shape}). "
            "Save it with one of the two, or name the axes with --axes."
        )
    count = image.size("s")
    names = image.channel_names if len(image.channel_names) == count else _COLOURS.get(count, ())
    return replace(image, axes=image.axes.replace("c", "p").replace("s", "c"), channel_names=names)


def _exchanged(axes: str, first: str, second: str) -> str:
    """Return the axes after two letters have exchanged places."""
    return axes.translate(str.maketrans(first + second, second + first))


def _guess(image: Image, tensor: TensorAxes) -> str:
    """Return letters for all axes of the image, guessed from their number and the axes of the tensor."""
    space = "".join(letter for letter in tensor.letters if letter in SPACE)
    guesses = []
    for guess in (tensor.letters, tensor.letters.replace("b", ""), space):
        guesses += [guess, guess.replace("c", "") + "c" if "c" in guess else guess]
    guesses.append(("t" if "z" in space else "z") + space)
    for guess in guesses:
        if len(guess) == len(image.shape) and _agrees(guess, image) and _channels_fit(guess, image.shape, tensor):
            return guess
    free = [letter for letter in (*reversed(SERIES), "z") if letter not in image.axes]
    spare = iter(free[-image.axes.count(UNKNOWN) :])
    return "".join(next(spare, UNKNOWN) if letter == UNKNOWN else letter for letter in image.axes)


def _agrees(guess: str, image: Image) -> bool:
    """Return whether the guess keeps the letters from the file or the user; guessed y and x may change."""
    if image.axes_source == "guess" and set(image.axes) <= set("?yx"):
        return True
    return all(known in (UNKNOWN, letter) for letter, known in zip(guess, image.axes, strict=True))


def _channels_fit(guess: str, shape: Sequence[int], tensor: TensorAxes) -> bool:
    return "c" not in guess or tensor.channels in (None, shape[guess.index("c")])


def _chosen_channels(
    image: Image, axes: str, tensor: TensorAxes, channels: Sequence[int | str] | None
) -> tuple[tuple[int, ...] | None, list[str]]:
    """Return the channels to take, with notes; ``None`` if all are taken in order, or are iterated as samples."""
    available = image.shape[axes.index("c")] if "c" in axes else 1
    names = image.channel_names if len(image.channel_names) == available else ()
    if channels is not None:
        return _given_channels(image, axes, tensor, channels, available, names), []
    if tensor.channels is None or available == tensor.channels:
        return None, []
    if available == tensor.channels + 1 and names[-1:] == ("alpha",):
        note = f"The transparency channel of {image.name} is left out; the model takes {', '.join(names[:-1])}."
        return tuple(range(available - 1)), [note]
    if advice := _other_axis_advice(image, axes):
        raise _mismatch(image, tensor, "the image has no axis of channels", advice)
    if available > tensor.channels:
        first = ",".join(map(str, range(tensor.channels)))
        advice = f"Choose with --channels, for instance --channels {first}{_in_brackets(names)}."
    else:
        there = f"; this one has {_numbered(names)}" if names else ""
        advice = f"Give an image with all of them (channels of one image stack, not separate files){there}."
    if not names and "z" not in axes and (available > 4 or image.axes_source == "guess"):
        stack = SPACE if axes == "yxc" else axes.replace("c", "z")
        advice += f" If that axis is not channels but a stack, give --axes, for instance --axes {stack}."
    raise _mismatch(image, tensor, f"the image has {counted(available, 'channel')}", advice)


def _given_channels(
    image: Image,
    axes: str,
    tensor: TensorAxes,
    channels: Sequence[int | str],
    available: int,
    names: tuple[str, ...],
) -> tuple[int, ...] | None:
    """Return the numbers of the channels that the user gave; ``None`` for an image without a channel axis."""
    others = [channel for channel in channels if channel != 0]
    if others and not names and (advice := _other_axis_advice(image, axes)):
        raise UsageError(
            f"--channels asks for channel {others[0]}, but {image.name} has no axis of channels: its axes are "
            f"{axes.upper()} ({_times(image.shape)}). {advice}"
        )
    chosen = tuple(channel_number(image.name, names, available, channel) for channel in channels)
    if tensor.channels is not None and len(chosen) != tensor.channels:
        raise UsageError(
            f"--channels names {counted(len(chosen), 'channel')}, but the model takes {tensor.channels}. "
            "Name as many as the model takes, in the model's order."
        )
    return chosen if "c" in axes else None


def channel_number(owner: str, names: Sequence[str], count: int, channel: int | str) -> int:
    """Return the number, from 0, of a channel given by number or name.

    ``owner`` is the file, ``names`` are those of its ``count`` channels, or empty. Case matters only between names that
    differ in nothing else. Raises :class:`UsageError`.
    """
    if not isinstance(channel, str):
        if not 0 <= channel < count:
            there = f"channels 0 to {count - 1}" if count > 1 else "only channel 0"
            raise UsageError(f"--channels asks for channel {channel}, but {owner} has {there}{_in_brackets(names)}.")
        return int(channel)
    for known, given in ((list(names), channel), ([name.casefold() for name in names], channel.casefold())):
        if known.count(given) == 1:
            return known.index(given)
        if given in known:
            raise UsageError(f"Several channels of {owner} are called {channel!r}{_in_brackets(names)}. Give a number.")
    there = f"It has {_numbered(names)}." if names else f"It names no channels; give numbers from 0 to {count - 1}."
    raise UsageError(f"--channels asks for {channel!r}, but {owner} has no channel of this name. {there}")


def _other_axis_advice(image: Image, axes: str) -> str:
    """Return how to declare another axis as channels; empty if the image has channels or no such axis."""
    sizes = dict(zip(axes, image.shape, strict=True))
    spare = next((letter for letter in ("z", *reversed(SERIES)) if sizes.get(letter, 1) > 1), None)
    if spare is None or "c" in axes:
        return ""
    return (
        f"If its {sizes[spare]} planes along {spare.upper()} are channels, give --axes {_exchanged(axes, spare, 'c')}."
    )


def _axis_advice(image: Image, tensor: TensorAxes, letter: str) -> str:
    spare = [other for other in image.axes if other not in tensor.letters and other not in "sc"]
    if spare:
        return f"If its {spare[0]} axis is {letter}, give --axes {image.axes.replace(spare[0], letter)}."
    if image.axes_source == "guess" and image.axes == "yxc":
        return f"Its last axis of {image.size('c')} is taken as channels; if the image is a stack, give --axes zyx."
    return "Give an image with more dimensions, or choose a model for such images."


def _mismatch(image: Image, tensor: TensorAxes, problem: str, advice: str) -> ImageError:
    return ImageError(
        f"{image.name} does not fit the model: {problem}. The image has axes {image.axes.upper()} "
        f"({_times(image.shape)}), the model's input {tensor.tensor!r} needs {tensor.describe()}. {advice}"
    )


def _numbered(names: Sequence[str]) -> str:
    return ", ".join(f"{number} {name}" for number, name in enumerate(names))


def _in_brackets(names: Sequence[str]) -> str:
    return f" ({_numbered(names)})" if names else ""


def _times(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
