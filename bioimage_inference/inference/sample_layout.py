"""Position of the samples of an output in its files: along the batch axis, or along the axes of the image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

import numpy as np

from ..array_types import Array, Index, Spans
from ..image.axes import SCALED, SERIES
from ..image.axis_mapping import AxisMapping
from ..image.image import PixelSize
from ..image.units import pixel_size
from ..image.writers.base import Layout, Writer
from ..model.spec import TensorSpec
from ..tiling.plan import Plan
from .pixel_scale import restored_sizes


@dataclass(frozen=True)
class Stack:
    """All samples of one output.

    ``letters`` and ``sizes`` describe one sample; ``iterated`` and ``samples`` are the letters and sizes of the further
    axes of the image.
    """

    letters: str
    sizes: Mapping[str, int]
    iterated: str
    samples: tuple[int, ...]

    @property
    def tensor_axes(self) -> str:
        """The model's own axes. Samples lie along the batch axis, or before the other axes if there is none."""
        return self.letters if "b" in self.letters else self.picture_axes

    @property
    def picture_axes(self) -> str:
        """The iterated axes of the image, then those of the output without the batch axis."""
        own = self.letters.replace("b", "")
        spare = [letter for letter in SERIES if letter not in own + self.iterated]
        return "".join(spare.pop(0) if letter in own else letter for letter in self.iterated) + own

    def shape(self, axes: str) -> tuple[int, ...]:
        """Return the sizes along :attr:`tensor_axes` or :attr:`picture_axes`."""
        if axes == self.letters and "b" in axes:
            batch = self.sizes["b"] * prod(self.samples)
            return tuple(batch if letter == "b" else self.sizes[letter] for letter in axes)
        return (*self.samples, *(self.sizes[letter] for letter in self.letters if letter != "b"))


class StackWriter:
    """Writes blocks of samples to writers with the tensor axes (``tensors``) or the picture axes (``pictures``)."""

    def __init__(self, stack: Stack, tensors: Sequence[Writer], pictures: Sequence[Writer]) -> None:
        self.stack, self.tensors, self.pictures = stack, tensors, pictures

    def write(self, index: Index, spans: Spans, block: Array) -> None:
        """Write the region ``spans`` of the sample at ``index``; ``block`` has the axes of the output."""
        letters = self.stack.letters
        region = {
            letter: slice(*spans.get(letter, (0, size))) for letter, size in zip(letters, block.shape, strict=True)
        }
        picture = block.squeeze(letters.index("b")) if "b" in letters else block
        picture = np.expand_dims(picture, tuple(range(len(index))))
        picture_region = (
            *(slice(place, place + 1) for place in index),
            *(region[letter] for letter in letters if letter != "b"),
        )
        for writer in self.pictures if "b" in letters else (*self.pictures, *self.tensors):
            writer.write(picture_region, picture)
        if "b" in letters:
            number = int(np.ravel_multi_index(index, self.stack.samples)) if index else 0
            region["b"] = slice(number, number + 1)
            for writer in self.tensors:
                writer.write(tuple(region.values()), block)


def layout(
    stack: Stack, axes: str, dtype: "np.dtype[np.generic]", pixel_size: Mapping[str, PixelSize], names: Sequence[str]
) -> Layout:
    """Return the layout of a file. Channel ``names`` are used if there is a name for each channel."""
    shape = stack.shape(axes)
    channels = shape[axes.index("c")] if "c" in axes else 0
    return Layout(
        axes=axes,
        shape=shape,
        dtype=dtype,
        pixel_size={letter: size for letter, size in pixel_size.items() if letter in axes},
        channel_names=tuple(names) if len(names) == channels else (),
    )


def output_pixel_size(output: TensorSpec, plan: Plan, leading: AxisMapping) -> dict[str, PixelSize]:
    """Return the pixel size along the axes of an output: that of the image, times the ratio of their resolutions.

    An output that is smaller than the image by the offset of its description lies in the middle of the image (spec 0.4,
    ``ImplicitOutputShape``), which gives the position of its first pixel. If the pixel size of the image is unknown, an
    output of another resolution or with an offset has sizes and positions in pixels of the image. Axes that the image
    does not have take the scale of the description, if it names a unit. If the image was rescaled, the output has the
    pixels of the given image, see :func:`~bioimage_inference.inference.restoring.restored_sizes`.
    """
    planned, image = plan.output(output.id), leading.given if leading.rescaled else leading.image
    sizes = restored_sizes(planned.sizes, planned.links, leading)
    found = {letter: size for letter, size in image.pixel_size.items() if letter in leading.iterated}
    for axis in output.axes:
        link = planned.links.get(axis.letter)
        if link is not None:
            size = image.pixel_size.get(link.letter)
            if size is not None or link.scale != 1 or link.offset:
                network = Fraction(leading.image.size(link.letter), image.size(link.letter))  # its pixels per pixel
                scale = link.scale * network
                if sizes[axis.letter] != planned.sizes[axis.letter]:
                    scale *= Fraction(sizes[axis.letter], planned.sizes[axis.letter])
                start = float(-link.offset / link.scale / 2 / network)
                found[axis.letter] = (size or PixelSize(1.0, "pixel")).resampled(float(scale), start)
        elif axis.unit is not None and axis.letter in SCALED:
            declared = pixel_size(axis.letter, axis.scale, axis.unit)
            if declared is not None:
                found[axis.letter] = declared
    return found
