"""Which axis of an image is which axis of a tensor, what is iterated, which channels are taken.

Knows no model: the wanted axes come as letters with the number of channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, UsageError
from .image import Image

_COLOURS = {1: ("grey",), 2: ("grey", "alpha"), 3: ("red", "green", "blue"), 4: ("red", "green", "blue", "alpha")}


@dataclass(frozen=True)
class Wanted:
    """A tensor to be filled: its id, its axes as letters such as ``bcyx``, its number of channels.

    ``channels`` is 1 for a tensor without a channel axis, and ``None`` where any number will do. ``minimum`` has the
    fewest pixels that an axis may have, so that a single plane is told from a stack.
    """

    tensor: str
    letters: str
    channels: int | None
    minimum: Mapping[str, int]

    def describe(self) -> str:
        """In words, for the user."""
        channels = f" with {self.channels} channel{'s' * (self.channels > 1)}" if self.channels is not None else ""
        return f"axes {self.letters.upper()}{channels}"


@dataclass(frozen=True)
class Matched:
    """How an image fills a tensor.

    ``axes`` are the letters of the image's own dimensions, ``letters`` those of the tensor; ``iterated`` are axes of
    the image that the tensor lacks: each index along them is a sample of its own. ``sizes`` are the pixels of one
    sample along every axis of the tensor, ``channels`` the channels taken, in the order of the tensor. ``resized_from``
    is the image as it was given, where ``image`` is a resized one.
    """

    image: Image
    axes: str
    letters: str
    iterated: str
    sizes: Mapping[str, int]
    channels: tuple[int, ...] | None
    notes: tuple[str, ...] = ()
    resized_from: Image | None = None

    @property
    def samples(self) -> tuple[int, ...]:
        """Number of samples along each iterated axis."""
        return tuple(self.image.shape[self.axes.index(letter)] for letter in self.iterated)

    def read(self, index: Sequence[int], spans: Mapping[str, tuple[int, int]]) -> NDArray[np.generic]:
        """Read a region of one sample: ``index`` along the iterated axes, ``spans`` (start, stop) along others.

        Returns an array with the axes ``letters``; raises :class:`ImageError` where the file cannot be read.
        """
        where = dict(zip(self.iterated, index, strict=True))
        region, kept = [], ""
        for letter, size in zip(self.axes, self.image.shape, strict=True):
            if letter in where:
                region.append(slice(where[letter], where[letter] + 1))
            elif letter == "c" and self.channels is not None:
                region.append(slice(min(self.channels), max(self.channels) + 1))
            else:
                region.append(slice(*spans.get(letter, (0, size))))
        block = self.image.read(tuple(region))
        drop = []
        for number, letter in enumerate(self.axes):
            if letter in self.letters and letter not in self.iterated:
                kept += letter
            else:
                drop.append(number)
        block = block.squeeze(tuple(drop))
        if self.channels is not None and "c" in kept:
            block = block.take([channel - min(self.channels) for channel in self.channels], axis=kept.index("c"))
        block = block.transpose([kept.index(letter) for letter in self.letters if letter in kept])
        return np.expand_dims(block, [n for n, letter in enumerate(self.letters) if letter not in kept])


def match(image: Image, wanted: Wanted, channels: Sequence[int | str] | None = None) -> Matched:
    """Match the axes of an image to those of a tensor; ``channels`` are numbers from 0 or names.

    Raises :class:`ImageError`, showing both sides and the option that settles it, where they do not fit, and
    :class:`UsageError` for channels that the image does not have.
    """
    image, notes = _without_samples_axis(image)
    axes = _guess(image, wanted) if "?" in image.axes else image.axes
    if "?" in image.axes or (image.axes_source == "guess" and "c" in axes):
        notes.append(
            f"{image.name} does not name its axes; they are taken as {axes.upper()}. If that is wrong, say --axes."
        )
    if len(set(axes)) != len(axes):
        raise _mismatch(image, wanted, f"the axes {axes!r} are not all different", "Name each axis once with --axes.")
    for letter in wanted.letters:
        if letter not in "bcti" and letter not in axes and wanted.minimum.get(letter, 2) > 1:
            raise _mismatch(image, wanted, f"the image has no axis {letter}", _advice(image, wanted, letter))
    chosen, channel_notes = _choose_channels(image, axes, wanted, channels)
    sizes = {letter: image.shape[axes.index(letter)] if letter in axes else 1 for letter in wanted.letters}
    if "b" in sizes:
        sizes["b"] = 1
    if chosen is not None and "c" in sizes:
        sizes["c"] = len(chosen)
    iterated = "".join(
        letter
        for letter, size in zip(axes, image.shape, strict=True)
        if (letter not in wanted.letters or letter == "b") and size > 1 and not (letter == "c" and chosen is not None)
    )
    notes += [*channel_notes, *_single_plane_note(image, axes, sizes, iterated)]
    return Matched(image, axes, wanted.letters, iterated, sizes, chosen, tuple(notes))


def _single_plane_note(image: Image, axes: str, sizes: Mapping[str, int], iterated: str) -> list[str]:
    """A remark where a model for volumes gets single planes of an image that has many along another axis."""
    series = next((letter for letter in "tpi" if letter in iterated), None)
    if sizes.get("z") != 1 or series is None:
        return []
    named, count = _exchanged(axes, series, "z"), image.shape[axes.index(series)]
    return [
        f"The model takes volumes, but {image.name} has no planes along z: each of its {count} places "
        f"along {series.upper()} becomes a volume of one plane. If {series.upper()} is the z axis of a stack, say "
        f"--axes {named}."
    ]


def _exchanged(axes: str, one: str, other: str) -> str:
    """What to say for ``--axes`` so that two axes exchange their letters, or one gets that of an axis not there."""
    return axes.translate(str.maketrans(one + other, other + one))


def _without_samples_axis(image: Image) -> tuple[Image, list[str]]:
    """Colours (``s``) are channels; beside a channel axis of one they replace it."""
    if "s" not in image.axes:
        return image, []
    count = image.size("s")
    names = image.channel_names if len(image.channel_names) == count else _COLOURS.get(count, ())
    if "c" not in image.axes:
        return replace(image, axes=image.axes.replace("s", "c"), channel_names=names), []
    if image.size("c") == 1:
        return replace(image, axes=image.axes.replace("c", "p").replace("s", "c"), channel_names=names), []
    raise ImageError(
        f"{image.name} has both channels and colours (axes {image.axes.upper()}, shape {image.shape}). "
        "Save it with one of the two, or name the axes with --axes."
    )


def _guess(image: Image, wanted: Wanted) -> str:
    """Letters for unnamed axes, from their number and what the tensor wants."""
    shape, letters = image.shape, wanted.letters
    stripped = letters.replace("b", "")
    space = "".join(letter for letter in letters if letter in "zyx")
    guesses = []
    for guess in (letters, stripped, space):
        guesses += [guess, guess.replace("c", "") + "c" if "c" in guess else guess]
    guesses.append(("t" if "z" in space else "z") + space)
    for guess in guesses:
        if len(guess) == len(shape) and _agrees(guess, image) and _channels_fit(guess, shape, wanted):
            return guess
    free = [letter for letter in "iptz" if letter not in image.axes]
    spare = iter(free[-image.axes.count("?") :])
    return "".join(next(spare, "?") if letter == "?" else letter for letter in image.axes)


def _agrees(guess: str, image: Image) -> bool:
    """Letters that the file or the user named stand; y and x at the end of an array are themselves only likely."""
    if image.axes_source == "guess" and set(image.axes) <= set("?yx"):
        return True
    return all(known in ("?", letter) for letter, known in zip(guess, image.axes, strict=True))


def _channels_fit(guess: str, shape: Sequence[int], wanted: Wanted) -> bool:
    if "c" not in guess or wanted.channels is None:
        return True
    return shape[guess.index("c")] == wanted.channels


def _choose_channels(
    image: Image, axes: str, wanted: Wanted, channels: Sequence[int | str] | None
) -> tuple[tuple[int, ...] | None, list[str]]:
    """The channels to take, ``None`` where all are taken as they are or are iterated as samples."""
    available = image.shape[axes.index("c")] if "c" in axes else 1
    names = image.channel_names if len(image.channel_names) == available else ()
    offer = _channels_advice(image, axes)
    if channels is not None:
        asked = [channel for channel in channels if channel != 0]
        if offer and not names and asked:
            raise UsageError(
                f"--channels asks for channel {asked[0]}, but {image.name} has no axis of channels: its axes are "
                f"{axes.upper()} ({_times(image.shape)}).{offer}"
            )
        chosen = tuple(channel_number(image.name, names, available, channel) for channel in channels)
        if wanted.channels is not None and len(chosen) != wanted.channels:
            raise UsageError(
                f"--channels names {len(chosen)} channels, but the model takes {wanted.channels}. "
                "Name one for each, in the model's order."
            )
        return (chosen if "c" in axes else None), []
    if wanted.channels is None or available == wanted.channels:
        return None, []
    if available == wanted.channels + 1 and names[-1:] == ("alpha",):
        kept = ", ".join(names[:-1])
        return tuple(range(available - 1)), [
            f"The transparency channel of {image.name} is left out; the model takes {kept}."
        ]
    if offer:
        raise _mismatch(image, wanted, "the image has no axis of channels", offer.strip())
    first = ",".join(str(number) for number in range(wanted.channels))
    if available > wanted.channels:
        advice = f"Choose with --channels, for instance --channels {first}{_named(names)}."
    else:
        there = f"; this one has {_listed(names)}" if names else ""
        advice = f"Give an image with all of them (channels of one image stack, not separate files){there}."
    if not names and "z" not in axes and (available > 4 or image.axes_source == "guess"):
        stack = "zyx" if axes == "yxc" else axes.replace("c", "z")
        advice += f" If that axis is not channels but a stack, say so with --axes, for instance --axes {stack}."
    raise _mismatch(image, wanted, f"the image has {available} channel{'s' * (available > 1)}", advice)


def channel_number(owner: str, names: Sequence[str], count: int, channel: int | str) -> int:
    """The number, from 0, of a channel that is given by its number or name; case counts only between such names.

    ``owner`` is the file, ``names`` those of its ``count`` channels or none. Raises :class:`UsageError`.
    """
    if not isinstance(channel, str):
        if not 0 <= channel < count:
            there = f"channels 0 to {count - 1}" if count > 1 else "only channel 0"
            raise UsageError(f"--channels asks for channel {channel}, but {owner} has {there}{_named(names)}.")
        return int(channel)
    for known, given in ((list(names), channel), ([name.casefold() for name in names], channel.casefold())):
        if known.count(given) == 1:
            return known.index(given)
        if given in known:
            raise UsageError(f"Several channels of {owner} are called {channel!r}{_named(names)}. Give a number.")
    there = f"It has {_listed(names)}." if names else f"It names no channels; give numbers from 0 to {count - 1}."
    raise UsageError(f"--channels asks for {channel!r}, but {owner} has no channel of this name. {there}")


def _channels_advice(image: Image, axes: str) -> str:
    """How to say that another axis has the channels, where there is one."""
    spare = next((letter for letter in "zipt" if letter in axes and image.shape[axes.index(letter)] > 1), None)
    if spare is None or "c" in axes:
        return ""
    named = _exchanged(axes, spare, "c")
    return f" If its {image.shape[axes.index(spare)]} planes along {spare.upper()} are channels, say --axes {named}."


def _named(names: Sequence[str]) -> str:
    return f" ({_listed(names)})" if names else ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"{number} {name}" for number, name in enumerate(names))


def _times(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def _advice(image: Image, wanted: Wanted, letter: str) -> str:
    spare = [other for other in image.axes if other not in wanted.letters and other not in "sc"]
    if spare:
        named = image.axes.replace(spare[0], letter)
        return f"If its {spare[0]} axis is {letter}, say --axes {named}."
    if image.axes_source == "guess" and image.axes == "yxc":
        return f"Its last axis of {image.size('c')} is taken as channels; if the image is a stack, say --axes zyx."
    return "Give an image with more dimensions, or choose a model for such images."


def _mismatch(image: Image, wanted: Wanted, found: str, advice: str) -> ImageError:
    return ImageError(
        f"{image.name} does not fit the model: {found}. The image has axes {image.axes.upper()} "
        f"({_times(image.shape)}), the model's input {wanted.tensor!r} wants {wanted.describe()}. {advice}"
    )
