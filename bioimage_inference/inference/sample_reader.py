"""Any region of any sample of one input tensor, padded where it lies beyond the image."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..array_types import Array, Index, Spans
from ..image.axis_mapping import AxisMapping
from ..model.spec import Padding
from ..tiling.axis_tiling import OUTSIDE, border_indices
from .processing import Place, as_floats

# A sample up to this many bytes is read once and kept; a larger one is read region by region.
_KEEP_BYTES = 128 << 20
# A pass over a sample takes pieces of about this many pixels.
_CHUNK_PIXELS = 1 << 21


def region_of(spans: Spans, letters: str) -> tuple[slice, ...]:
    """Return the index of the region ``spans`` in an array with axes ``letters``; other axes are taken whole."""
    return tuple(slice(*spans[letter]) if letter in spans else slice(None) for letter in letters)


def padded(
    read: Callable[[Spans], Array], letters: str, sizes: Mapping[str, int], padding: Padding, spans: Spans
) -> Array:
    """Return the region ``spans`` of an array with axes ``letters`` and ``sizes``, padded beyond its border.

    ``read`` returns a region inside of the border. An array whose dtype cannot hold the value of the padding becomes
    floating point, also in a region without padding: all regions have the same dtype.
    """
    inner, outer = {}, {}
    for letter, (start, stop) in spans.items():
        if start >= 0 and stop <= sizes[letter]:
            inner[letter] = (start, stop)
            continue
        indices = border_indices(start, stop, sizes[letter], padding.mode)
        used = indices[indices != OUTSIDE]
        first, last = (int(used.min()), int(used.max())) if used.size else (0, 0)
        inner[letter] = (first, last + 1)
        outer[letter] = np.where(indices == OUTSIDE, OUTSIDE, indices - first)
    block = read(inner)
    if padding.mode == "constant" and not _holds(block.dtype, padding.value):
        block = as_floats(block)
    for letter, indices in outer.items():
        axis = letters.index(letter)
        block = block.take(indices, axis=axis, mode="clip")
        outside = indices == OUTSIDE
        if outside.any():
            block[(slice(None),) * axis + (outside,)] = padding.value
    return block


def _holds(dtype: "np.dtype[Any]", value: float) -> bool:
    """Return whether a dtype holds a value exactly."""
    with np.errstate(invalid="ignore", over="ignore"):
        return float(np.array(value).astype(dtype)) == value


def pieces(
    sizes: Mapping[str, int], spans: Spans, letters: str, reduced: str | None = None, pixels: int = _CHUNK_PIXELS
) -> Iterator[Spans]:
    """Yield parts of ``spans`` of about ``pixels``, cut along one of the axes ``reduced`` (``None``: any of them)."""
    extents = {letter: stop - start for letter, (start, stop) in spans.items()}
    total = int(np.prod([extents.get(letter, sizes[letter]) for letter in letters]))
    allowed = [letter for letter in letters if letter in extents and (reduced is None or letter in reduced)]
    count = -(-total // pixels)
    if count <= 1 or not allowed:
        yield spans
        return
    # the first axis is the slowest in most files, so that the pixels of a part lie together
    cut = next((letter for letter in allowed if extents[letter] >= count), max(allowed, key=extents.__getitem__))
    start, stop = spans[cut]
    length = -(-(stop - start) // count)
    for first in range(start, stop, length):
        yield {**spans, cut: (first, min(first + length, stop))}


class Source:
    """The samples of one input tensor.

    ``domain`` gives (start, stop) along each axis that tiles may cut: the pixels that statistics cover. They are the
    image, or the image with its mirrored border.
    """

    def __init__(self, matched: AxisMapping, padding: Padding, domain: Spans) -> None:
        self.matched, self.padding, self.domain = matched, padding, domain
        self.letters = matched.letters
        self._index: Index | None = None
        self._whole: Array | None = None

    def read(self, index: Index, spans: Spans) -> Array:
        """Return the region ``spans`` of a sample, with the tensor's axes and the image's dtype."""
        index = self._own_index(index)

        def inside(inner: Spans) -> Array:
            return self._inside(index, inner)

        return padded(inside, self.letters, self.matched.sizes, self.padding, spans)

    def place(self, spans: Spans) -> Place:
        """Return which pixels of the image, and of :attr:`domain`, a region shows; padding shows the nearest pixels."""
        place = {}
        for letter, (start, stop) in spans.items():
            size = self.matched.sizes[letter]
            first, last = self.domain.get(letter, (0, size))
            mode = "edge" if self.padding.mode == "constant" else self.padding.mode
            place[letter] = {
                last - first: np.arange(start - first, stop - first).clip(0, last - first - 1),
                size: border_indices(start, stop, size, mode),
            }
        return place

    def chunks(self, indices: Sequence[Index], reduced: str | None = None) -> Iterator[Array]:
        """Yield the domain of some samples in parts, cut along one of the axes ``reduced`` (``None``: any axis)."""
        for index in dict.fromkeys(map(self._own_index, indices)):
            for spans in pieces(self.matched.sizes, self.domain, self.letters, reduced):
                yield self.read(index, spans)

    @property
    def is_picture(self) -> bool:
        """Whether a sample has several pixels along the axes y or x."""
        return any(self.matched.sizes.get(letter, 1) > 1 for letter in "yx")

    def constants(self, indices: Sequence[Index]) -> list[float | None]:
        """Return for each sample its value if all its pixels are equal, the first channel's; else ``None``."""
        return [self._constant(index) for index in dict.fromkeys(map(self._own_index, indices))]

    def _constant(self, index: Index) -> float | None:
        """Return the value of a constant sample. A row in the middle decides on most of the others, without more."""
        first: Array | None = None
        for spans in (self._middle_row(), *pieces(self.matched.sizes, self.domain, self.letters)):
            chunk = self.matched.read(index, spans) if first is None else self.read(index, spans)
            if first is None:
                corner = tuple(slice(None) if letter == "c" else slice(1) for letter in self.letters)
                first = chunk[corner]
            if not (chunk == first).all():
                return None
        assert first is not None
        return float(first.flat[0])

    def _middle_row(self) -> dict[str, tuple[int, int]]:
        """Return the region of a row of pixels in the middle of a sample."""
        sizes = {letter: self.matched.sizes[letter] for letter in self.letters if letter not in "bc"}
        *others, along = sizes
        return {along: (0, sizes[along])} | {letter: (sizes[letter] // 2, sizes[letter] // 2 + 1) for letter in others}

    def _own_index(self, index: Index) -> Index:
        """Return the index in this image, which may have a single sample for all samples of the leading image."""
        return index if self.matched.samples else ()

    def _inside(self, index: Index, spans: Spans) -> Array:
        if index != self._index:
            self._index, self._whole = index, None
            if np.prod(list(self.matched.sizes.values())) * self.matched.image.dtype.itemsize <= _KEEP_BYTES:
                self._whole = self.matched.read(index, {})
        if self._whole is None:
            return self.matched.read(index, spans)
        return self._whole[region_of(spans, self.letters)]
