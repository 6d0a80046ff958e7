"""From a model and its images to a plan: open, match axes, choose tiles. Nothing is computed, torch is not needed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..array_types import Spans
from ..errors import ImageError, OutOfMemoryError, UsageError
from ..files.typed_path import Address, image_path
from ..image.array_images import array_image
from ..image.axis_mapping import AxisMapping, TensorAxes, map_axes
from ..image.image import Image
from ..image.readers.reading import open_image
from ..image.resize import resized
from ..image.series import MAIN, Selection
from ..machine.memory import PIPELINE_BYTES, PROGRAM_BYTES, STACK_BYTES, MemoryBudget, memory_budget
from ..model.spec import Axis, FixedSize, ModelSpec, StepSize, TensorSpec
from ..options import Options
from ..text import byte_size, counted, times
from ..tiling.axis_relations import TILED, links
from ..tiling.axis_tiling import legal_size
from ..tiling.plan import Plan, make_plan
from ..tiling.tile_size import BYTES_PER_PIXEL, Request, Tiling, choose_tiles, dimensions_of
from .augmentation import check_augmentation, copies_in_words
from .pixel_scale import mismatch_notes, network_pixel_size, rescaled_note, rescaled_sizes, with_given_size
from .sample_reader import Source

_PADDED = {
    "constant": "a constant value",
    "edge": "copies of its border pixels",
    "reflect": "mirrored pixels",
    "symmetric": "mirrored pixels",
}
ImageLike = Image | NDArray[np.generic] | Path | Address | str


@dataclass(frozen=True)
class PreparedImages:
    """Images matched to the inputs of a model, and the plan for each of their samples, chosen for ``request``.

    The program takes ``program`` bytes of the ``budget``; the rest is for tiles. ``over_tile`` names operations of the
    network that depend on the whole tile, so that the result depends on the tile size. ``augmentation`` is the remark
    on the copies that are averaged.
    """

    matched: Mapping[str, AxisMapping]
    request: Request
    plan: Plan
    budget: MemoryBudget
    program: int
    over_tile: tuple[str, ...] = ()
    augmentation: str = ""

    @property
    def leading(self) -> AxisMapping:
        """The image that the tiles are chosen for."""
        return self.matched[self.plan.leading]

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the user from reading, matching and planning."""
        found = [note for one in self.matched.values() for note in (*one.image.notes, *one.notes)]
        if self.budget.note is not None:
            found.append(self.budget.note)
        if self.augmentation:
            found.append(self.augmentation)
        return (*dict.fromkeys(found), *self.plan.notes)

    def domain(self, tensor: str) -> Spans:
        """Return the region of an input that statistics are measured in, as (start, stop) by axis letter.

        It is the image, or the image with its mirrored border.
        """
        domain = {}
        tilings = {axis.letter: axis for axis in self.plan.axes}
        for letter, link in self.plan.inputs[tensor].items():
            border = int(tilings[link.letter].start * link.scale)
            domain[letter] = (border, self.matched[tensor].sizes[letter] - border)
        return domain


def prepare(spec: ModelSpec, image: ImageLike, others: Mapping[str, ImageLike], options: Options) -> PreparedImages:
    """Open the image and further inputs, match their axes, choose the tiles.

    Raises :class:`UsageError` for impossible options, :class:`ImageError` for images that cannot be read or do not fit
    the model, :class:`OutOfMemoryError` if the budget is too small for the program, or for a piece of an image.
    """
    check_inputs(spec, others)
    given = {spec.inputs[0].id: image, **others}
    check_augmentation(spec, given, options)
    budget = memory_budget(options.memory)
    program = PROGRAM_BYTES - PIPELINE_BYTES + weights_size(spec) + beside_network(spec)
    opened: list[Image] = []
    try:
        matched = {}
        for tensor in spec.inputs:
            if tensor.id in given:
                first = tensor.id == spec.inputs[0].id
                chosen = (options.axes, selection_of(options)) if first else (None, MAIN)
                opened.append(_open(given[tensor.id], *chosen))
                _check_piece(opened[-1], budget, program)
                matched[tensor.id] = _match(opened[-1], tensor, options, first)
        request = _request(spec, options, budget.size - program)
        plan, words = make_plan(spec, _sizes(matched), request), copies_in_words(spec, options)
        prepared = PreparedImages(matched, request, plan, budget, program, augmentation=words)
        _check_samples(prepared)
        _check_room(spec, prepared)
    except BaseException:
        for one in opened:
            one.close()
        raise
    return prepared


def tiling_for(spec: ModelSpec, prepared: PreparedImages, request: Request) -> Tiling:
    """Return the tiles for another request. Raises the errors of :func:`~bioimage_inference.tiling.plan.make_plan`."""
    leading = spec.tensor(prepared.plan.leading)
    return choose_tiles(spec, leading, links(spec, leading, prepared.matched), prepared.leading.sizes, request)


def with_tiling(
    spec: ModelSpec, prepared: PreparedImages, request: Request, tiling: Tiling, notes: Sequence[str] = ()
) -> PreparedImages:
    """Return the same with other tiles and further remarks. The plan stays if it has these tiles."""
    plan = prepared.plan
    if (plan.axes, plan.batch) != (tiling.axes, tiling.batch):
        plan = make_plan(spec, _sizes(prepared.matched), request, tiling)
    return replace(prepared, request=request, plan=replace(plan, notes=(*plan.notes, *notes)))


def with_program(spec: ModelSpec, prepared: PreparedImages, program: int) -> PreparedImages:
    """Return the same for a program that takes ``program`` bytes besides the tiles. The plan stays as it is.

    Raises :class:`OutOfMemoryError` if the budget is too small for the program.
    """
    request = replace(prepared.request, room=prepared.budget.size - program)
    found = replace(prepared, program=program, request=request)
    _check_room(spec, found)
    return found


def with_smaller_tiles(spec: ModelSpec, prepared: PreparedImages) -> PreparedImages | None:
    """Return the same with tiles of at most half the pixels; ``None`` if the model allows none."""
    before = prepared.plan
    request = replace(prepared.request, tile=None, whole=False, pixels=before.pixels // 2)
    smaller = tiling_for(spec, prepared, request)
    if smaller.pixels >= before.pixels:
        return None
    shape = "×".join(str(size) for size in before.tile_shape.values())
    note = f"Tiles of {shape} did not fit into memory; smaller ones were used"
    note += "." if prepared.over_tile else ", which changes nothing of the result."
    return with_tiling(spec, prepared, request, smaller, [note])


def sources_of(spec: ModelSpec, prepared: PreparedImages) -> dict[str, Source]:
    """Return readers of the inputs that are present."""
    return {
        tensor.id: Source(prepared.matched[tensor.id], tensor.padding, prepared.domain(tensor.id))
        for tensor in spec.inputs
        if tensor.id in prepared.matched
    }


def close(prepared: PreparedImages) -> None:
    """Close the images."""
    for one in prepared.matched.values():
        one.image.close()


def check_inputs(spec: ModelSpec, others: Mapping[str, Any]) -> None:
    """Raise :class:`UsageError` unless ``others`` names further inputs of the model, and all that it needs.

    An optional input is needed where a step on another tensor uses its values.
    """
    names = [tensor.id for tensor in spec.inputs]
    unknown = [name for name in others if name not in names[1:]]
    if unknown:
        raise UsageError(
            f"--input names {unknown[0]!r}, but the further inputs of the model are {', '.join(names[1:]) or 'none'}"
            f" (the image is {names[0]!r}). {'Give one of these' if names[1:] else 'Leave --input out'}."
        )
    missing = [tensor.id for tensor in spec.inputs[1:] if tensor.id not in others and not tensor.optional]
    if missing:
        raise UsageError(
            f"The model takes {len(names)} inputs ({', '.join(names)}); the image is the first. Give "
            f"{' and '.join(f'--input {name}=FILE' for name in missing)} as well."
        )
    absent = {*names[1:]} - others.keys()
    for tensor in (*(one for one in spec.inputs if one.id not in absent), *spec.outputs):
        for step in tensor.operations:
            reference = step.kwargs.get("reference_tensor")
            if reference in absent:
                raise UsageError(
                    f"The step {step.name} of {tensor.id!r} uses the values of the optional input {reference!r}, which "
                    f"is missing. Give --input {reference}=FILE as well."
                )


def selection_of(options: Options) -> Selection:
    """Return the options that choose an image of a file."""
    return Selection(options.series, options.level, options.well, options.field)


def _open(image: ImageLike, axes: str | None, selection: Selection) -> Image:
    if isinstance(image, Path | Address | str):
        return open_image(image_path(image), axes, selection)
    if selection != MAIN:
        raise UsageError("An array is a single image: series, level, well and field choose an image of a file.")
    return image if isinstance(image, Image) else array_image(image, axes)


def beside_network(spec: ModelSpec) -> int:
    """Return the memory of the process while it computes, without the loaded network and its tensors, in bytes."""
    return PIPELINE_BYTES + (STACK_BYTES if "z" in spec.inputs[0].letters else 0)


def weights_size(spec: ModelSpec) -> int:
    """Return the size of the first weights file, which takes as much memory; 0 if it is not in the package."""
    data = [entry.external_data.source for entry in spec.weights[:1] if entry.external_data is not None]
    files = [spec.root / name for name in (*(entry.source for entry in spec.weights[:1]), *data)]
    return sum(file.stat().st_size for file in files if file.is_file())


def _check_room(spec: ModelSpec, prepared: PreparedImages) -> None:
    """Raise :class:`OutOfMemoryError` if the budget does not even hold the program."""
    budget = prepared.budget
    if budget.size > prepared.program:
        return
    tile = list(tiling_for(spec, prepared, prepared.request).tile_shape.values())
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


def _match(image: Image, tensor: TensorSpec, options: Options, first: bool) -> AxisMapping:
    channels = options.channels if first else None
    wanted = TensorAxes(
        tensor=tensor.id,
        letters=tensor.letters,
        channels=_channels(tensor.axis("c")),
        minimum={axis.letter: _minimum(axis) for axis in tensor.axes},
    )
    matched = map_axes(image, wanted, channels)
    given = replace(matched.image, axes=matched.axes)
    if first:
        given = with_given_size(given, options)
        matched = replace(matched, image=given)
    expected = network_pixel_size(tensor, options)
    if options.rescale:
        sizes = rescaled_sizes(matched, tensor, expected)
        image = resized(given, sizes)
        note = rescaled_note(given, image, sizes)
    elif options.fit == "resize":
        sizes = {
            axis.letter: _nearest(axis, matched.sizes[axis.letter])
            for axis in tensor.axes
            if axis.letter in TILED and isinstance(axis.size, FixedSize | StepSize)
        }
        image = resized(given, sizes)
        note = _resized_note(given, image)
    else:
        return replace(
            matched, notes=(*matched.notes, *_small_notes(matched, tensor), *mismatch_notes(matched, expected))
        )
    notes = (*matched.notes, note) if note else matched.notes
    return replace(map_axes(image, wanted, channels), notes=notes, resized_from=given, rescaled=options.rescale)


def _resized_note(before: Image, after: Image) -> str:
    """Return the note on an image that ``--fit resize`` changed, or nothing."""
    changes = ", ".join(
        f"{letter} from {before.size(letter)} to {after.size(letter)}"
        for letter in before.axes
        if before.size(letter) != after.size(letter)
    )
    return f"{before.name} was resized as asked: {changes} pixels; the outputs have the new size." if changes else ""


def _small_notes(matched: AxisMapping, tensor: TensorSpec) -> Iterator[str]:
    """Yield a remark on an image with fewer pixels than the model takes."""
    short = [
        f"{matched.sizes[axis.letter]} pixels along {axis.letter} (the model takes {axis.size.describe()})"
        for axis in tensor.axes
        if axis.letter in TILED and matched.sizes[axis.letter] < _minimum(axis)
    ]
    if short:
        yield (
            f"{matched.image.name} is smaller than the model takes: {', '.join(short)}. It is padded with "
            f"{_PADDED[tensor.padding.mode]}, and the output is cropped. Check the result, or give a larger image."
        )


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
    """Return the legal size that is closest to the size of the image."""
    above = legal_size(axis.size, pixels)
    if isinstance(axis.size, StepSize):
        below = max(axis.size.minimum, above - axis.size.step)
        return below if pixels - below < above - pixels else above
    return above


def _sizes(matched: Mapping[str, AxisMapping]) -> dict[str, Mapping[str, int]]:
    """Return the pixels of a sample along each axis, by input."""
    return {tensor: one.sizes for tensor, one in matched.items()}


def tile_shape(spec: ModelSpec, options: Options) -> tuple[int, ...] | Literal["whole"] | None:
    """Return the wanted tile in pixels along each image axis of the model; ``None`` lets the program choose.

    Raises :class:`UsageError` for a tile with another number of axes.
    """
    if options.tile is None or options.tile == "whole":
        return options.tile
    letters = _tiled(spec)
    if isinstance(options.tile, int):
        return (options.tile,) * len(letters)
    if len(options.tile) != len(letters):
        example = "x".join(["256"] * len(letters))
        raise UsageError(
            f"--tile has {counted(len(options.tile), 'number')}, but the model's image axes are {' '.join(letters)}. "
            f"Give one number for each, for instance {example}."
        )
    return tuple(options.tile)


def _tiled(spec: ModelSpec) -> list[str]:
    return [letter for letter in spec.inputs[0].letters if letter in TILED]


def _request(spec: ModelSpec, options: Options, room: int) -> Request:
    shape = tile_shape(spec, options)
    tile = dict(zip(_tiled(spec), shape, strict=True)) if isinstance(shape, tuple) else None
    border, whole = options.border, shape == "whole"
    return Request(exact=options.fit == "exact", border=border, tile=tile, room=room, whole=whole)


def _check_samples(prepared: PreparedImages) -> None:
    """Raise :class:`ImageError` unless further inputs have one sample for all, or one for each sample of the image."""
    leading = prepared.leading
    for tensor, one in prepared.matched.items():
        if one.samples not in ((), leading.samples):
            raise ImageError(
                f"{one.image.name} for input {tensor!r} has {times(one.samples)} samples along "
                f"{one.iterated.upper()}, {leading.image.name} has {times(leading.samples) or 1} along "
                f"{leading.iterated.upper() or 'none'}. Give the same number, or a single one for all."
            )
