"""From image size, model and memory to a plan: which tiles, with which halo and padding."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from ..errors import ImageError
from ..model.spec import ModelSpec, TensorSpec
from ..options import Border
from .axis import AxisTiling, Kept, kept_parts, legal_size
from .choice import Request, Sizes, choose_tiles
from .links import Link, leading_input, links


@dataclass(frozen=True)
class OutputPlan:
    """One output tensor: its letters, the final size of each linked axis, and what is kept of each tile.

    ``kept[letter]`` has one entry per tile along the leading axis ``links[letter].letter``; an axis that is missing
    there is written whole.
    """

    id: str
    letters: str
    links: Mapping[str, Link]
    sizes: Sizes
    kept: Mapping[str, tuple[Kept, ...]]


@dataclass(frozen=True)
class Tile:
    """One tile: its place in the grid, what to read of every input, what to keep of every output.

    ``read[tensor][letter]`` is (start, stop) in pixels of that input, beyond the image where it is to be padded.
    """

    place: Mapping[str, int]
    read: Mapping[str, Mapping[str, tuple[int, int]]]
    kept: Mapping[str, Mapping[str, Kept]]


@dataclass(frozen=True)
class Plan:
    """How one sample is computed, ``batch`` tiles at once.

    ``halo`` is in pixels of the leading input; ``asked`` is whether the user chose the size of the tiles.
    """

    leading: str
    axes: tuple[AxisTiling, ...]
    inputs: Mapping[str, Mapping[str, Link]]
    outputs: tuple[OutputPlan, ...]
    halo: Sizes
    border: Border
    batch: int = 1
    notes: tuple[str, ...] = ()
    asked: bool = False

    def __len__(self) -> int:
        return prod(len(axis.starts) for axis in self.axes)

    @property
    def tile_shape(self) -> Sizes:
        """Pixels that the network sees of the leading input."""
        return {axis.letter: axis.tile for axis in self.axes}

    @property
    def computed(self) -> float:
        """Pixels computed over pixels of the image."""
        return prod(len(axis.starts) * axis.tile / axis.size for axis in self.axes)

    def tiles(self) -> Iterator[Tile]:
        """All tiles, the last axis fastest."""
        for place in product(*(range(len(axis.starts)) for axis in self.axes)):
            yield self.tile(dict(zip((axis.letter for axis in self.axes), place, strict=True)))

    def tile(self, place: Mapping[str, int]) -> Tile:
        """The tile with this number along each axis."""
        starts = {axis.letter: (axis.starts[place[axis.letter]], axis.tile) for axis in self.axes}
        return Tile(
            place=place,
            read={
                tensor: {letter: _linked_span(link, *starts[link.letter]) for letter, link in own.items()}
                for tensor, own in self.inputs.items()
            },
            kept={
                output.id: {letter: kept[place[output.links[letter].letter]] for letter, kept in output.kept.items()}
                for output in self.outputs
            },
        )


def _linked_span(link: Link, start: int, length: int) -> tuple[int, int]:
    first = int(start * link.scale)
    return first, first + link.size(length)


def make_plan(model: ModelSpec, sizes: Mapping[str, Sizes], request: Request) -> Plan:
    """Plan the tiles of one sample.

    ``sizes`` gives, for every input tensor that is present, the pixels of the sample along each of its axes.
    Raises :class:`ImageError` where the image cannot be brought into a legal size, :class:`UsageError` where the
    user's tile cannot be used.
    """
    leading = leading_input(model, sizes)
    linked = links(model, leading)
    choice = choose_tiles(model, leading, linked, sizes[leading.id], request)
    inputs = {
        tensor.id: {
            axis.letter: linked[tensor.id, axis.letter] for axis in tensor.axes if (tensor.id, axis.letter) in linked
        }
        for tensor in model.inputs
        if tensor.id in sizes
    }
    tilings = {axis.letter: axis for axis in choice.axes}
    for tensor in model.inputs:
        if tensor.id in sizes:
            _check_input(tensor, sizes[tensor.id], inputs[tensor.id], leading, tilings)
    return Plan(
        leading=leading.id,
        axes=choice.axes,
        inputs=inputs,
        outputs=tuple(_output_plan(output, linked, tilings, choice.halo) for output in model.outputs),
        halo={axis.letter: choice.halo[axis.letter] for axis in choice.axes if len(axis.starts) > 1},
        border=request.border,
        batch=choice.batch,
        notes=(*choice.notes, *_padding_notes(model, linked, choice.axes)),
        asked=request.tile is not None,
    )


def _padding_notes(
    model: ModelSpec, linked: Mapping[tuple[str, str], Link], axes: Sequence[AxisTiling]
) -> Iterator[str]:
    """A remark on outputs that cannot be cropped where the image was padded."""
    padded = {axis.letter for axis in axes if axis.stop - axis.size > -axis.start}
    uncropped = [
        repr(output.id)
        for output in model.outputs
        if padded
        - {linked[output.id, axis.letter].letter for axis in output.axes if (output.id, axis.letter) in linked}
    ]
    if uncropped:
        yield (
            f"The image was padded along {', '.join(sorted(padded))} to a size that the model takes. What it returns "
            f"as {', '.join(uncropped)} cannot be cropped there: it is of the padded image."
        )


def _output_plan(
    output: TensorSpec, linked: Mapping[tuple[str, str], Link], tilings: Mapping[str, AxisTiling], halo: Sizes
) -> OutputPlan:
    own = {axis.letter: linked[output.id, axis.letter] for axis in output.axes if (output.id, axis.letter) in linked}
    kept = {
        letter: kept_parts(tilings[link.letter], link.scale, link.offset, int(halo[link.letter] * link.scale))
        for letter, link in own.items()
    }
    sizes = {letter: link.size(tilings[link.letter].size) for letter, link in own.items()}
    if any(size < 1 for size in sizes.values()):
        raise ImageError(
            f"The image is too small: output {output.id!r} would have {sizes} pixels. Give a larger image."
        )
    return OutputPlan(id=output.id, letters=output.letters, links=own, sizes=sizes, kept=kept)


def _check_input(
    tensor: TensorSpec, sizes: Sizes, own: Mapping[str, Link], leading: TensorSpec, tilings: Mapping[str, AxisTiling]
) -> None:
    """Every further input must show the same place, and axes that are never tiled must have a legal size."""
    for axis in tensor.axes:
        link = own.get(axis.letter)
        pixels = sizes[axis.letter]
        if link is not None:
            expected = link.size(tilings[link.letter].size)
            if pixels != expected:
                raise ImageError(
                    f"Input {tensor.id!r} has {pixels} pixels along {axis.letter}, but {expected} belong to the "
                    f"{tilings[link.letter].size} of input {leading.id!r}: both must show the same place."
                )
        elif axis.letter not in "bc" and legal_size(axis.size, pixels) != pixels:
            raise ImageError(
                f"Input {tensor.id!r} has {pixels} entries along {axis.id!r}; the model takes {axis.size.describe()}."
            )
