"""From a model and its images to a plan: open, match axes, choose tiles. Computes nothing and needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..array_types import Spans
from ..errors import ImageError, OutOfMemoryError, UsageError
from ..files.typed_path import input_path
from ..image.array_images import array_image
from ..image.axis_mapping import AxisMapping, TensorAxes, map_axes
from ..image.image import Image
from ..image.readers.reading import open_image
from ..image.resize import resized
from ..machine.memory import PIPELINE_BYTES, PROGRAM_BYTES, STACK_BYTES, MemoryBudget, memory_budget
from ..model.spec import Axis, FixedSize, ModelSpec, StepSize, TensorSpec
from ..options import Options
from ..text import byte_size
from ..tiling.axis import legal_size
from ..tiling.choice import BYTES_PER_PIXEL, Request, dimensions_of
from ..tiling.links import TILED
from ..tiling.plan import Plan, make_plan
from .sample_reader import Source

ImageLike = Image | NDArray[np.generic] | Path | str


@dataclass(frozen=True)
class Prepared:
    """Images matched to the inputs of a model, and the plan for each of their samples, made as ``request`` wants it.

    Of the ``budget`` of the process, ``program`` bytes are for all but the tiles. ``over_tile`` names operations of the
    network that look at the whole tile, so that the result depends on its size.
    """

    matched: Mapping[str, AxisMapping]
    request: Request
    plan: Plan
    budget: MemoryBudget
    program: int
    over_tile: tuple[str, ...] = ()

    @property
    def leading(self) -> AxisMapping:
        """The image that the tiles are chosen for."""
        return self.matched[self.plan.leading]

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the user, of reading, matching and planning."""
        found = [note for one in self.matched.values() for note in (*one.image.notes, *one.notes)]
        if self.budget.note is not None:
            found.append(self.budget.note)
        return (*dict.fromkeys(found), *self.plan.notes)

    def domain(self, tensor: str) -> Spans:
        """What statistics of an input are of: the image, with its mirrored border where the network sees that."""
        domain = {}
        tilings = {axis.letter: axis for axis in self.plan.axes}
        for letter, link in self.plan.inputs[tensor].items():
            border = int(tilings[link.letter].start * link.scale)
            domain[letter] = (border, self.matched[tensor].sizes[letter] - border)
        return domain


def prepare(spec: ModelSpec, image: ImageLike, others: Mapping[str, ImageLike], options: Options) -> Prepared:
    """Open the image and further inputs, match their axes, choose the tiles.

    Raises :class:`UsageError` for options that cannot be, :class:`ImageError` for images that cannot be read or do not
    fit, :class:`OutOfMemoryError` where the budget is too small for the program, or for a piece of an image.
    """
    _check_inputs(spec, others)
    given = {spec.inputs[0].id: image, **others}
    budget = memory_budget(options.memory)
    program = PROGRAM_BYTES - PIPELINE_BYTES + _weights_size(spec) + beside_network(spec)
    opened: list[Image] = []
    try:
        matched = {}
        for tensor in spec.inputs:
            if tensor.id in given:
                first = tensor.id == spec.inputs[0].id
                opened.append(_open(given[tensor.id], options.axes if first else None))
                _check_piece(opened[-1], budget, program)
                matched[tensor.id] = _match(opened[-1], tensor, options, options.channels if first else None)
        request = _request(spec, options, budget.size - program)
        prepared = Prepared(matched, request, _plan(spec, matched, request), budget, program)
        _check_samples(prepared)
        _check_room(prepared)
    except BaseException:
        for one in opened:
            one.close()
        raise
    return prepared


def planned(prepared: Prepared, spec: ModelSpec, request: Request) -> Prepared:
    """The same with other tiles. Raises what :func:`~bioimage_inference.tiling.plan.make_plan` raises."""
    return replace(prepared, request=request, plan=_plan(spec, prepared.matched, request))


def with_program(prepared: Prepared, spec: ModelSpec, program: int) -> Prepared:
    """The same for a program that takes ``program`` bytes without the tiles.

    Raises :class:`OutOfMemoryError` where the budget is too small for that.
    """
    request = replace(prepared.request, room=prepared.budget.size - program)
    found = planned(replace(prepared, program=program), spec, request)
    _check_room(found)
    return found


def with_smaller_tiles(prepared: Prepared, spec: ModelSpec) -> Prepared | None:
    """The same with tiles of at most half the pixels, after one did not fit; ``None`` where the model allows none."""
    before = prod(prepared.plan.tile_shape.values())
    smaller = planned(prepared, spec, replace(prepared.request, tile=None, whole=False, pixels=before // 2))
    plan = smaller.plan
    if prod(plan.tile_shape.values()) >= before:
        return None
    shape = "×".join(str(size) for size in prepared.plan.tile_shape.values())
    note = f"Tiles of {shape} did not fit into memory; smaller ones were used"
    note += "." if prepared.over_tile else ", which changes nothing of the result."
    return replace(smaller, plan=replace(plan, notes=(*plan.notes, note)))


def sources_of(spec: ModelSpec, prepared: Prepared) -> dict[str, Source]:
    """The inputs that are present, as the engine reads them."""
    return {
        tensor.id: Source(prepared.matched[tensor.id], tensor.padding, prepared.domain(tensor.id))
        for tensor in spec.inputs
        if tensor.id in prepared.matched
    }


def close(prepared: Prepared) -> None:
    """Close the images."""
    for one in prepared.matched.values():
        one.image.close()


def _check_inputs(spec: ModelSpec, others: Mapping[str, Any]) -> None:
    names = [tensor.id for tensor in spec.inputs]
    unknown = [name for name in others if name not in names[1:]]
    if unknown:
        raise UsageError(
            f"--input names {unknown[0]!r}, but the further inputs of the model are {', '.join(names[1:]) or 'none'}"
            f" (the image is {names[0]!r})."
        )
    missing = [tensor.id for tensor in spec.inputs[1:] if tensor.id not in others and not tensor.optional]
    if missing:
        raise UsageError(
            f"The model takes {len(names)} inputs ({', '.join(names)}); the image is the first. Give "
            f"{' and '.join(f'--input {name}=FILE' for name in missing)} as well."
        )


def _open(image: ImageLike, axes: str | None) -> Image:
    if isinstance(image, Image):
        return image
    if isinstance(image, np.ndarray):
        return array_image(image, axes)
    return open_image(input_path(image), axes)


def beside_network(spec: ModelSpec) -> int:
    """Bytes that the process takes while it computes, without the loaded network and the tensors of tiles."""
    return PIPELINE_BYTES + (STACK_BYTES if "z" in spec.inputs[0].letters else 0)


def _weights_size(spec: ModelSpec) -> int:
    """Bytes of the first weights, which take as much memory; 0 where their file is not in the package."""
    files = [spec.root / entry.source for entry in spec.weights[:1]]
    return sum(file.stat().st_size for file in files if file.is_file())


def _check_room(prepared: Prepared) -> None:
    """Raise :class:`OutOfMemoryError` where the budget does not even hold the program."""
    budget, tile = prepared.budget, list(prepared.plan.tile_shape.values())
    if budget.size > prepared.program:
        return
    needed = prepared.program + prod(tile) * BYTES_PER_PIXEL[dimensions_of(tile)]
    raise OutOfMemoryError(
        f"The budget of {byte_size(budget.size)}, {budget.reason}, is too small: the program takes about "
        f"{byte_size(prepared.program)} with this model, and {byte_size(needed)} with a tile of "
        f"{'×'.join(map(str, tile))}. Give it at least {byte_size(needed)}, or more to make it faster."
    )


def _check_piece(image: Image, budget: MemoryBudget, program: int) -> None:
    if 0 < budget.size - program < image.piece:
        raise OutOfMemoryError(
            f"{image.name} is stored in pieces that can only be unpacked as a whole, which takes "
            f"{byte_size(image.piece)} at once; the program may use {byte_size(budget.size)}, {budget.reason}, and "
            f"takes {byte_size(program)} itself. Give it more memory, or save the image as TIFF in tiles or without "
            "compression."
        )


def _match(image: Image, tensor: TensorSpec, options: Options, channels: Sequence[int | str] | None) -> AxisMapping:
    wanted = TensorAxes(
        tensor=tensor.id,
        letters=tensor.letters,
        channels=_channels(tensor.axis("c")),
        minimum={axis.letter: _minimum(axis) for axis in tensor.axes},
    )
    matched = map_axes(image, wanted, channels)
    if options.fit != "resize":
        return matched
    sizes = {
        axis.letter: _nearest(axis, matched.sizes[axis.letter])
        for axis in tensor.axes
        if axis.letter in TILED and isinstance(axis.size, FixedSize | StepSize)
    }
    image = resized(replace(matched.image, axes=matched.axes), sizes)
    return replace(map_axes(image, wanted, channels), notes=matched.notes, resized_from=matched.image)


def _channels(axis: Axis | None) -> int | None:
    if axis is None:
        return 1
    return axis.size.size if isinstance(axis.size, FixedSize) else None


def _minimum(axis: Axis) -> int:
    match axis.size:
        case FixedSize(size):
            return size
        case StepSize(minimum, _):
            return minimum
        case _:
            return 1


def _nearest(axis: Axis, pixels: int) -> int:
    """The legal size that is closest to the image's."""
    above = legal_size(axis.size, pixels)
    if isinstance(axis.size, StepSize):
        below = max(axis.size.minimum, above - axis.size.step)
        return below if pixels - below < above - pixels else above
    return above


def _plan(spec: ModelSpec, matched: Mapping[str, AxisMapping], request: Request) -> Plan:
    return make_plan(spec, {key: one.sizes for key, one in matched.items()}, request)


def _request(spec: ModelSpec, options: Options, room: int) -> Request:
    tile = None
    if options.tile is not None:
        letters = [letter for letter in spec.inputs[0].letters if letter in TILED]
        if len(options.tile) != len(letters):
            raise UsageError(
                f"--tile has {len(options.tile)} numbers, but the model's image axes are {' '.join(letters)}; give one "
                f"for each, for instance {'x'.join(['256'] * len(letters))}."
            )
        if min(options.tile) < 1:
            raise UsageError("--tile needs numbers above 0.")
        tile = dict(zip(letters, options.tile, strict=True))
    return Request(exact=options.fit == "exact", border=options.border, tile=tile, room=room)


def _check_samples(prepared: Prepared) -> None:
    """Further inputs are one for all samples of the image, or one for each."""
    leading = prepared.leading
    for tensor, one in prepared.matched.items():
        if one.samples not in ((), leading.samples):
            raise ImageError(
                f"{one.image.name} for input {tensor!r} has {one.samples} samples along {one.iterated.upper()}, "
                f"{leading.image.name} has {leading.samples} along {leading.iterated.upper() or 'none'}. Give the same "
                "number, or a single one for all."
            )
