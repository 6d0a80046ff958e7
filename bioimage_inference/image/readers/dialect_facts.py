"""Facts that a dialect of TIFF states about an image: metadata, and the axes along which its pages stand."""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..image import Metadata, PixelSize
from ..units import finite_number, pixel_size
from .file_bytes import FileBytes

# Stages and clocks jitter, so steps that differ by less than this part of their mean count as equal.
_JITTER = 0.01
# An index along an axis may have gaps (an acquisition was aborted), but most of the planes must be there.
_MOST_PLANES_PER_PAGE = 2


@dataclass(frozen=True)
class DialectSource:
    """The source of a dialect: tifffile's file and one of its series, and the bytes of the file.

    ``planes`` is the number of planes of the series. ``frames`` are their pages; only the first one for planes that
    follow each other behind a single page.
    """

    tif: Any
    series: Any
    file: FileBytes
    frames: tuple[Any, ...]
    planes: int

    @property
    def key(self) -> Any:
        """The first page of the series."""
        return self.series.keyframe


@dataclass(frozen=True)
class PlaneOrder:
    """Axes along which the pages of a file stand.

    ``axes`` are letters and ``counts`` the extents, outermost first. ``pages`` has the page of every plane, in C order;
    None for a plane that the file lacks.
    """

    axes: str
    counts: tuple[int, ...]
    pages: tuple[int | None, ...]


@dataclass(frozen=True)
class DialectFacts(Metadata):
    """Metadata of a dialect. ``planes`` is None if the dialect does not name the axes of its pages."""

    planes: PlaneOrder | None = None


def nested(counts: Sequence[tuple[str, int]], pages: int) -> PlaneOrder | None:
    """Return the order of pages that follow each other along axes with these letters and counts, outermost first.

    The result is None unless the counts are positive and their product is the number of ``pages``.
    """
    if any(count < 1 for _, count in counts) or math.prod(count for _, count in counts) != pages:
        return None
    long = [(letter, count) for letter, count in counts if count > 1]
    return PlaneOrder("".join(letter for letter, _ in long), tuple(count for _, count in long), tuple(range(pages)))


def plane_order(axes: str, indices: Sequence[Sequence[int]]) -> PlaneOrder | None:
    """Return the order of pages with these ``indices`` along ``axes``: one row per page, one column per letter.

    The outermost axis is the one along which the pages change least often. The result is None for pages with the same
    indices, and for indices with more gaps than pages.
    """
    if not indices or len(set(map(tuple, indices))) != len(indices):
        return None
    columns = dict(zip(axes, zip(*indices, strict=True), strict=True))
    long = {letter: column for letter, column in columns.items() if len(set(column)) > 1}
    first = {letter: min(column) for letter, column in long.items()}
    counts = {letter: max(column) - first[letter] + 1 for letter, column in long.items()}
    if math.prod(counts.values()) > _MOST_PLANES_PER_PAGE * len(indices):
        return None
    changes = {letter: sum(a != b for a, b in pairwise(column)) for letter, column in long.items()}
    order = "".join(sorted(long, key=lambda letter: changes[letter]))
    pages: list[int | None] = [None] * math.prod(counts.values())
    for page in range(len(indices)):
        place = 0
        for letter in order:
            place = place * counts[letter] + long[letter][page] - first[letter]
        pages[place] = page
    return PlaneOrder(order, tuple(counts[letter] for letter in order), tuple(pages))


def ranks(values: Iterable[Hashable]) -> list[int]:
    """Return the number of each value among the different values, in the order in which they come."""
    seen: dict[Hashable, int] = {}
    return [seen.setdefault(value, len(seen)) for value in values]


def even_step(positions: Iterable[object]) -> float | None:
    """Return the distance between evenly spaced positions, as a positive number; None if they are not."""
    numbers = [finite_number(as_number(position)) for position in positions]
    known = [number for number in numbers if number is not None]
    if len(known) != len(numbers) or len(known) < 2:
        return None
    steps = [after - before for before, after in pairwise(known)]
    mean = sum(steps) / len(steps)
    even = mean != 0 and all(abs(step - mean) <= _JITTER * abs(mean) for step in steps)
    return abs(mean) if even else None


def as_number(value: object) -> object:
    """Return a number of NumPy as one of Python, anything else as it is."""
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "ndim", None) == 0 else value


def size_of(axis: str, value: object, unit: object, factor: float = 1.0) -> PixelSize | None:
    """Return the pixel size of ``value`` times ``factor``, a number or its text; None if it is no usable one."""
    number = finite_number(as_number(value))
    return None if number is None else pixel_size(axis, number * factor, unit)
