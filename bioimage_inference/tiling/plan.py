"""The plan of one sample: what to read for each tile of every input, and what to keep of every output."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from ..errors import ImageError
from ..model.spec import ModelSpec, TensorSpec
from ..options import Border
from ..text import agreeing, counted, times
from .axis_relations import Link, leading_input, links
from .axis_tiling import AxisTiling, Kept, kept_parts, legal_size
from .tile_size import Request, Sizes, Tiling, choose_tiles


@dataclass(frozen=True)
class OutputPlan:
    """One output tensor: its axes, the final size of each linked axis, and the kept part of each tile.

    ``kept[letter]`` has one entry per tile along the leading axis ``links[letter].letter``. The network returns all
    other axes whole.
    """

    id: str
    letters: str
    links: Mapping[str, Link]
    sizes: Sizes
    kept: Mapping[str, tuple[Kept, ...]]


@dataclass(frozen=True)
class Tile:
    """One tile: its place in the grid, what to read of every input, what to keep of every output.

    ``read[tensor][letter]`` is (start, stop) in pixels of that input. Pixels beyond the image are padding.
    """

    place: Mapping[str, int]
    read: Mapping[str, Mapping[str, tuple[int, int]]]
    kept: Mapping[str, Mapping[str, Kept]]


@dataclass(frozen=True, kw_only=True)
class Plan(Tiling):
    """Everything needed to compute one sample in tiles. ``asked`` tells whether the user chose the tile size."""

    leading: str
    inputs: Mapping[str, Mapping[str, Link]]
    outputs: tuple[OutputPlan, ...]
    border: Border
    asked: bool = False

    def output(self, name: str) -> OutputPlan:
        """Return the plan of the output with this id."""
        return next(one for one in self.outputs if one.id == name)

    def tiles(self) -> Iterator[Tile]:
        """Yield all tiles, the last axis fastest."""
        for place in product(*(range(len(axis.starts)) for axis in self.axes)):
            yield self.tile(dict(zip((axis.letter for axis in self.axes), place, strict=True)))

    def tile(self, place: Mapping[str, int]) -> Tile:
        """Return the tile with this number along each axis."""
        starts = {axis.letter: (axis.starts[place[axis.letter]], axis.tile) for axis in self.axes}
        return Tile(
            place=place,
            read={
                tensor: {letter: link.span(*starts[link.letter]) for letter, link in own.items()}
                for tensor, own in self.inputs.items()
            },
            kept={
                output.id: {letter: kept[place[output.links[letter].letter]] for letter, kept in output.kept.items()}
                for output in self.outputs
            },
        )


def make_plan(model: ModelSpec, sizes: Mapping[str, Sizes], request: Request, tiling: Tiling | None = None) -> Plan:
    """Plan the tiles of one sample, or complete the plan of a ``tiling`` that was chosen for the same request.

    ``sizes`` are the pixels of the sample along each axis, for every input tensor that is present.
    Raises :class:`ImageError` if the image cannot be brought into a legal size, :class:`UsageError` if the user's tile
    cannot be used.
    """
    leading = leading_input(model, sizes)
    linked = links(model, leading, sizes)
    tiling = tiling or choose_tiles(model, leading, linked, sizes[leading.id], request)
    inputs = {
        tensor.id: {
            axis.letter: linked[tensor.id, axis.letter] for axis in tensor.axes if (tensor.id, axis.letter) in linked
        }
        for tensor in model.inputs
        if tensor.id in sizes
    }
    tilings = {axis.letter: axis for axis in tiling.axes}
    for tensor in model.inputs:
        if tensor.id in sizes:
            _check_input(tensor, sizes[tensor.id], inputs[tensor.id], leading, tilings)
    return Plan(
        axes=tiling.axes,
        halo={axis.letter: tiling.halo[axis.letter] for axis in tiling.axes if len(axis.starts) > 1},
        batch=tiling.batch,
        notes=(*tiling.notes, *_padding_notes(model, linked, tiling.axes)),
        leading=leading.id,
        inputs=inputs,
        outputs=tuple(_output_plan(output, linked, tilings, tiling.halo) for output in model.outputs),
        border=request.border,
        asked=request.tile is not None,
    )


def _padding_notes(
    model: ModelSpec, linked: Mapping[tuple[str, str], Link], axes: Sequence[AxisTiling]
) -> Iterator[str]:
    """Yield a remark on outputs that cannot be cropped although the image is padded."""
    padded = {axis.letter for axis in axes if axis.stop - axis.size > -axis.start}
    uncropped = [
        repr(output.id)
        for output in model.outputs
        if padded
        - {linked[output.id, axis.letter].letter for axis in output.axes if (output.id, axis.letter) in linked}
    ]
    if uncropped:
        yield (
            f"The image was padded along {', '.join(sorted(padded))} to a size that the model takes. Its output "
            f"{', '.join(uncropped)} cannot be cropped there: it belongs to the padded image."
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
            f"The image is too small: output {output.id!r} would have {times(sizes.values())} pixels. Give a larger "
            "image."
        )
    return OutputPlan(id=output.id, letters=output.letters, links=own, sizes=sizes, kept=kept)


def _check_input(
    tensor: TensorSpec, sizes: Sizes, own: Mapping[str, Link], leading: TensorSpec, tilings: Mapping[str, AxisTiling]
) -> None:
    """Raise :class:`ImageError` unless an input shows the same place as the leading one, in a legal size."""
    for axis in tensor.axes:
        link = own.get(axis.letter)
        pixels = sizes[axis.letter]
        if link is not None:
            expected = link.size(tilings[link.letter].size)
            if pixels != expected:
                raise ImageError(
                    f"Input {tensor.id!r} has {counted(pixels, 'pixel')} along {axis.letter}, but {expected} "
                    f"{agreeing(expected, 'belong')} to the {tilings[link.letter].size} of input {leading.id!r}: both "
                    "must show the same place."
                )
        elif axis.letter not in "bc" and legal_size(axis.size, pixels) != pixels:
            raise ImageError(
                f"Input {tensor.id!r} has {counted(pixels, 'entry')} along {axis.id!r}; the model takes "
                f"{axis.size.describe()}."
            )
