"""Which image of a file is read, where a file holds several images (series, scenes, fields of a plate) or a pyramid.

A reader lists the images of a file as :class:`Series`, calls :func:`choose`, and opens the result.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UsageError
from ..files.typed_path import ImagePath
from ..text import times

ALL = "all"
# A first image with fewer pixels than this part of the largest plane is taken for a preview or label. The images of a
# microscope's series are of similar size, and previews and labels of slides are far smaller.
_PREVIEW = 1 / 16
_MOST_LISTED = 10


@dataclass(frozen=True)
class Selection:
    """The choice of an image in a file. The default is the main image in full resolution.

    Parameters
    ----------
    series
        Name of a series, or its number from 0. ``all`` stands for every series.
    level
        Level of the pyramid; 0 is the full resolution.
    well, field
        Well of a plate such as ``B03``, and field of view in it: its name, or its number from 0.

    ``series``, ``well`` and ``field`` may be lists such as ``0,2`` where many images are allowed.
    """

    series: int | str | None = None
    level: int = 0
    well: str | None = None
    field: int | str | None = None

    @property
    def names_series(self) -> bool:
        """Whether a series, a well or a field is chosen."""
        return (self.series, self.well, self.field) != (None, None, None)


MAIN = Selection()


@dataclass(frozen=True)
class Series:
    """One image of a file, before it is opened.

    Parameters
    ----------
    number, name
        Position in the file from 0, and the name that the file gives (empty if it gives none).
    axes, shape
        Axis letters and extents of the full resolution. Both are empty where the file's metadata do not tell.
    levels
        Extents of all levels of the pyramid, the full resolution first. Empty without a pyramid.
    preview
        Whether the file marks the image as a preview, label or mask.
    well, field
        Names of the well and of the field of view for an image of a plate.
    place
        File or folder that holds this image alone, if there is one.
    """

    number: int
    name: str = ""
    axes: str = ""
    shape: tuple[int, ...] = ()
    levels: tuple[tuple[int, ...], ...] = ()
    preview: bool = False
    well: str | None = None
    field: str | None = None
    place: ImagePath | None = None

    @property
    def label(self) -> str:
        """The name in file names and tables: well and field, else the name, else the number."""
        if self.well is not None:
            return f"{self.well}_{self.field}"
        return self.name or str(self.number)

    def in_words(self) -> str:
        """Return number, name, axes, shape and levels, for example ``1 'Cells' (CYX 2×512×512, 3 levels)``."""
        words = f"{self.number} {self.name!r}" if self.name else str(self.number)
        facts = [f"{self.axes.upper()} {times(self.shape)}"] if self.shape else []
        facts += [f"{len(self.levels)} levels"] if len(self.levels) > 1 else []
        facts += ["preview"] if self.preview else []
        return f"{words} ({', '.join(facts)})" if facts else words


def main_series(series: Sequence[Series]) -> Series:
    """Return the first image that is no preview: neither marked as one, nor tiny beside the largest image."""
    images = [one for one in series if not one.preview] or list(series)
    largest = max(_plane(one) for one in images)
    return next(one for one in images if _plane(one) >= largest * _PREVIEW)


def _plane(one: Series) -> int:
    """Return the number of pixels of a plane."""
    return math.prod(size for letter, size in zip(one.axes, one.shape, strict=True) if letter in "yx")


def choose(name: str, series: Sequence[Series], selection: Selection) -> Series:
    """Return the one image that is selected; ``name`` is the name of the file.

    Raises :class:`UsageError` if there is no such image, no such level, or if several are selected.
    """
    if not selection.names_series and not is_plate(series):
        chosen = main_series(series)
    else:
        found = select(name, series, selection)
        if len(found) > 1:
            example = f"well={found[0].well!r}, field={found[0].field!r}" if is_plate(found) else "series=0"
            raise UsageError(
                f"{name} has {len(found)} images, but one is expected here: {_listed(found)}. Choose one, for instance "
                f"{example} (on the command line {_option(found[0])})."
            )
        (chosen,) = found
    check_level(name, chosen, selection.level)
    return chosen


def check_level(name: str, chosen: Series, level: int) -> None:
    """Raise UsageError if an image of the file ``name`` has no such level."""
    if not 0 <= level < max(1, len(chosen.levels)):
        levels = "; ".join(f"{number}: {times(shape)}" for number, shape in enumerate(chosen.levels or [chosen.shape]))
        raise UsageError(
            f"There is no level {level} of {name}. Its levels are {levels}. Choose one of them with --level."
        )


def select(name: str, series: Sequence[Series], selection: Selection) -> list[Series]:
    """Return all images that are selected; previews only by number or name. Raises :class:`UsageError` for none."""
    if selection.names_series and selection.series is None and not is_plate(series):
        raise UsageError(f"{name} is no plate, so it has no wells or fields. Choose an image with --series.")
    found = list(series)
    if selection.well is not None:
        found = _matching(name, "well", found, selection.well)
    if selection.field is not None:
        found = _matching(name, "field", found, selection.field)
    if selection.series is not None and str(selection.series) != ALL:
        return _matching(name, "series", found, selection.series)
    return [one for one in found if not one.preview] or found


def is_plate(series: Sequence[Series]) -> bool:
    """Return whether the images are fields of a plate. Without a selection, all of them are images of a run."""
    return any(one.well is not None for one in series)


def _matching(name: str, kind: str, series: Sequence[Series], wanted: int | str) -> list[Series]:
    """Return the images whose series, well or field has the name or the number ``wanted``, or one of a list."""
    whole = _matches(kind, series, str(wanted).strip())
    found = [whole] if whole else [_matches(kind, series, part.strip()) for part in str(wanted).split(",")]
    if not all(found):
        known = dict.fromkeys(one.in_words() if kind == "series" else str(getattr(one, kind)) for one in series)
        raise UsageError(
            f"{name} has no {kind} {str(wanted)!r}. It has {_shortened(list(known))}. Choose with --{kind}."
        )
    chosen = {one.number for part in found for one in part}
    return [one for one in series if one.number in chosen]


def _matches(kind: str, series: Sequence[Series], wanted: str) -> list[Series]:
    if kind == "well":
        return [one for one in series if _well(one.well or "") == _well(wanted)]
    named = [one for one in series if wanted and (one.name if kind == "series" else one.field) == wanted]
    if named or not wanted.isdecimal():
        return named
    if kind == "series":
        return [one for one in series if one.number == int(wanted)]
    wells: dict[str | None, list[Series]] = {}
    for one in series:
        wells.setdefault(one.well, []).append(one)
    return [fields[int(wanted)] for fields in wells.values() if int(wanted) < len(fields)]


def _well(text: str) -> tuple[str, str]:
    """Return row and column of a well, so that ``B03``, ``b3``, ``B/3`` and ``B-03`` are the same."""
    row = text.rstrip("0123456789")
    return row.rstrip("/-_ ").upper(), text[len(row) :].lstrip("0")


def _option(one: Series) -> str:
    return f"--well {one.well} --field {one.field}" if one.well is not None else "--series 0"


def _listed(series: Sequence[Series]) -> str:
    return _shortened([one.in_words() for one in series])


def _shortened(words: Sequence[str]) -> str:
    more = f" and {len(words) - _MOST_LISTED} more" if len(words) > _MOST_LISTED else ""
    return ", ".join(words[:_MOST_LISTED]) + more


def note_on_series(name: str, series: Sequence[Series], chosen: Series) -> tuple[str, ...]:
    """Return a note that lists the other images of a file, except previews without a name; empty if there are none.

    It is also empty for a plate, of which no field is ever chosen without the user's word.
    """
    if chosen.well is not None:
        return ()
    others = [one for one in series if one is not chosen and (one.name or not one.preview)]
    if not others:
        return ()
    return (
        f"{name} holds {len(others) + 1} images. Read was {chosen.in_words()}, not {_listed(others)}. --series chooses "
        "another one.",
    )
