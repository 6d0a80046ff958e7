"""The choice of the tile size, and of the number of tiles at once: the fewest pixels computed within the memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, lcm, prod
from typing import Literal

from ..errors import ImageError, UsageError
from ..model.spec import Axis, FixedSize, FreeSize, ModelSpec, ReferencedSize, Size, StepSize, TensorSpec
from ..options import Border
from ..text import counted
from .axis_relations import TILED, Link, common_size
from .axis_tiling import AxisTiling, candidates, legal_size, spread, stride_of

Sizes = Mapping[str, int]

BYTES_PER_PIXEL = {2: 1300, 3: 850}
"""Memory of the process per pixel of a tile, by the number of dimensions, assumed until the network is measured.

The peak of the process grew by 430 to 750 bytes per pixel of tiles of 256² to 1024² (nuclei and demo U-Net) and by 200
to 850 bytes per pixel of tiles of 16×96×96 to 32×256×256 (3-D demo U-Net); 2 cores of an Intel Xeon, torch 2.13.
"""
# Pixels of the largest useful tile, or batch of tiles. On a CPU, 2-D tiles of 512² computed the nuclei U-Net at 2.2
# Mpx/s with a halo of 32; tiles of 1536² gained a fifth of the network's time, and lost it again in the whole process
# (caches, page faults; 2 cores of an Intel Xeon). In 2-D slabs, tiles of 1408×2080 computed a plane of 4096² with 1.05
# times its pixels in 670 MiB, tiles of 1408² with 1.06 in 620, of 2080² with 1.03 in 720 (nuclei U-Net, 2 tiles at
# once, AMD EPYC). In 3-D slabs the number counts the pixels in memory at once: tiles of 128×272×272 were 6 % faster
# than the chosen 128×152x272, and took 1366 MiB in place of 860 (docs/benchmarks.md).
_ENOUGH_PIXELS = {
    "cpu": {2: 600 * 600, 3: 128 * 232 * 232},
    "slabs": {2: 2048 * 1472, 3: 64 * 206 * 206},
    "gpu": {2: 2048 * 2048, 3: 256 * 256 * 256},
}
# Pixels of the largest tile in slabs: input and output of the network are whole tiles also there.
_ENOUGH_IN_SLABS = 1 << 24
# Planes of a 3-D tile in slabs that are in memory at once: about the receptive field of a 3-D U-Net.
_HELD_PLANES = 64
# The cost of one more tile, in pixels computed. It decides between tilings that compute almost the same pixels.
_TILE_COST = 20_000
# The halo for a description without one, in pixels: up to a quarter of a short tile. In y and x it is at least the
# receptive field of a small U-Net, if the tile has room for it. The nuclei U-Net looks 58 pixels far.
_DEFAULT_HALO = {"y": 64, "x": 64, "z": 16, "t": 16}
_LEAST_HALO = {"y": 24, "x": 24, "z": 0, "t": 0}


@dataclass(frozen=True)
class Request:
    """Conditions for the tiles.

    ``exact`` allows neither padding nor tiles. ``tile`` maps axis letters to the lengths that the user chose. ``room``
    is the memory for a tile in bytes, without the memory of the program. ``bytes_per_pixel`` is the memory for a pixel
    of a tile, ``None`` until it is measured. ``pixels`` is an upper bound of the tile. ``whole`` asks for a single tile
    if the model allows that size. A ``gpu`` takes larger tiles, and several at once. Tiles in ``slabs`` may be larger
    than whole tiles.
    """

    exact: bool = False
    border: Border = "natural"
    tile: Sizes | None = None
    room: int = 4 << 30
    bytes_per_pixel: float | None = None
    pixels: int | None = None
    whole: bool = False
    gpu: bool = False
    slabs: bool = False


@dataclass(frozen=True)
class Tiling:
    """The tiles along every axis of the leading input; the network computes ``batch`` tiles at once.

    ``halo`` is the halo between tiles in pixels of the leading input. ``notes`` are remarks for the user.
    """

    axes: tuple[AxisTiling, ...]
    halo: Sizes
    batch: int
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return prod(len(axis.starts) for axis in self.axes)

    @property
    def tile_shape(self) -> Sizes:
        """Pixels of a tile of the leading input, by axis letter."""
        return {axis.letter: axis.tile for axis in self.axes}

    @property
    def pixels(self) -> int:
        """Pixels of a tile of the leading input."""
        return prod(axis.tile for axis in self.axes)

    @property
    def computed(self) -> float:
        """Pixels computed for each pixel of the image."""
        return prod(len(axis.starts) * axis.tile / axis.size for axis in self.axes)


@dataclass(frozen=True)
class _Line:
    """One axis of the leading input before its tile is chosen; ``tileable`` means that every output follows it.

    ``size`` are the legal lengths of a single tile, ``tile_size`` those of one of several.
    """

    letter: str
    size: Size
    tile_size: Size
    pixels: int
    extent: int
    start: int
    halo: int
    overlap: int
    stride: int
    tileable: bool
    declared: bool


def choose_tiles(
    model: ModelSpec, leading: TensorSpec, linked: Mapping[tuple[str, str], Link], sizes: Sizes, request: Request
) -> Tiling:
    """Choose the tiles of an image of ``sizes`` pixels along each axis of the leading input.

    Raises :class:`ImageError` if the image cannot have a legal size, :class:`UsageError` for an impossible tile,
    :class:`ModelError` for inputs without a common size.
    """
    notes: list[str] = []
    axes = [axis for axis in leading.axes if axis.letter in TILED]
    _check_request(request, "".join(axis.letter for axis in axes))
    free = [axis for axis in axes if not isinstance(axis.size, ReferencedSize)]
    lines = []
    for axis in free:
        size = common_size(model, linked, axis.letter, axis.size)
        lines.append(_line(model, linked, axis.letter, size, sizes[axis.letter], request, notes))
    tiles = _best(lines, request, notes)
    for axis in axes:
        if isinstance(axis.size, ReferencedSize):  # to another axis of this tensor
            reference = next(other.letter for other in leading.axes if other.id == axis.size.axis)
            size = FixedSize(Link(reference, axis.size.scale, axis.size.offset).size(tiles[reference]))
            line = _line(model, linked, axis.letter, size, sizes[axis.letter], request, notes)
            lines.append(line)
            tiles |= _best([line], replace(request, tile=None), notes)
    order = {axis.letter: number for number, axis in enumerate(axes)}
    lines.sort(key=lambda line: order[line.letter])
    tilings = tuple(_tiling(line, tiles[line.letter]) for line in lines)
    silent = [line for line, tiling in zip(lines, tilings, strict=True) if len(tiling.starts) > 1 and not line.declared]
    if silent:
        halos = ", ".join(f"{line.halo} along {line.letter}" for line in silent)
        notes.append(
            "The description declares no halo, and the image needs several tiles: each is computed with a default "
            f"number of its neighbours' pixels on either side ({halos}), which are cut off again. Whether the network "
            "needs more of them is measured by bioimage-inference validate MODEL --halo."
        )
    halo = {line.letter: line.halo for line in lines}
    return Tiling(tilings, halo, _batch(model, tilings, request), tuple(notes))


def declared_halo(model: ModelSpec, linked: Mapping[tuple[str, str], Link], letter: str) -> int:
    """Return the largest halo that outputs declare along an axis, in pixels of the leading input; 0 without a halo."""
    return max((ceil(axis.halo / link.scale) for axis, link in _followers(model, linked, letter)), default=0)


def _check_request(request: Request, letters: str) -> None:
    unknown = sorted(set(request.tile or ()) - set(letters))
    if unknown:
        raise UsageError(f"--tile names the axis {unknown[0]!r}, but the model's image axes are {letters!r}.")


def _line(
    model: ModelSpec,
    linked: Mapping[tuple[str, str], Link],
    letter: str,
    size: Size,
    pixels: int,
    request: Request,
    notes: list[str],
) -> _Line:
    followers = _followers(model, linked, letter)
    declared = declared_halo(model, linked, letter)
    # with this step of tile starts, no tile starts between two pixels of a coarser tensor
    coarsest = lcm(*(link.scale.denominator for link in linked.values() if link.letter == letter))
    halo = declared or _default_halo(letter, size, (request.tile or {}).get(letter), followers, coarsest)
    if isinstance(size, FixedSize) and _overlap(halo, followers) + coarsest > size.size:
        halo = max(0, min(size.size // 4, (size.size - coarsest) // 2))
        notes.append(
            f"The declared halo along {letter} leaves nothing of a tile of {counted(size.size, 'pixel')}; {halo} is "
            "used."
        )
    overlap = _overlap(halo, followers)
    mirrored = ceil(declared / coarsest) * coarsest if request.border == "mirror" else 0
    extent = _extent(letter, size, pixels, mirrored, coarsest, request)
    stride = stride_of(size, overlap, coarsest)
    return _Line(
        letter=letter,
        size=size,
        tile_size=_size_of_tiles(size, extent, stride),
        pixels=pixels,
        extent=extent,
        start=-mirrored,
        halo=halo,
        overlap=overlap,
        stride=stride,
        tileable=all(
            any(other.letter == letter for other in _links_of(output, linked)) and not _is_list(output)
            for output in model.outputs
        ),
        declared=bool(declared),
    )


def _followers(model: ModelSpec, linked: Mapping[tuple[str, str], Link], letter: str) -> list[tuple[Axis, Link]]:
    """Return the axes of outputs that follow an axis of the leading input, with their links."""
    return [
        (axis, linked[output.id, axis.letter])
        for output in model.outputs
        for axis in output.axes
        if (output.id, axis.letter) in linked and linked[output.id, axis.letter].letter == letter
    ]


def _overlap(halo: int, followers: Sequence[tuple[Axis, Link]]) -> int:
    """Return the pixels that neighbouring tiles share at least: the halo on both sides, and what the network crops."""
    return max((max(0, ceil(2 * halo - link.offset / link.scale)) for _, link in followers), default=0)


def _size_of_tiles(size: Size, extent: int, stride: int) -> Size:
    """Return the legal lengths of tiles with which the last tile also starts on a multiple of ``stride``."""
    if isinstance(size, FixedSize):
        return size
    least = legal_size(size, 1)
    return StepSize(least + (extent - least) % stride, stride)


def _default_halo(
    letter: str, size: Size, wanted: int | None, followers: Sequence[tuple[Axis, Link]], coarsest: int
) -> int:
    """Return a halo for a description without one: smaller for a short tile, so that tiles can advance.

    Pixels that the network itself crops are not cropped again.
    """
    cropped = max((ceil(-link.offset / link.scale / 2) for _, link in followers), default=0)
    halo = _DEFAULT_HALO[letter]
    if isinstance(size, FixedSize) or wanted is not None:
        tile = legal_size(size, wanted or 1)
        stride = coarsest if isinstance(size, FixedSize) else stride_of(size, 0, coarsest)
        halo = min(halo, max(tile // 4, min(_LEAST_HALO[letter], 3 * tile // 8)), (tile - stride) // 2)
    return max(0, halo - max(0, cropped))


def _is_list(output: TensorSpec) -> bool:
    """Return whether an output is a list, for instance of objects. Lists of several tiles cannot be joined."""
    return any(isinstance(axis.size, FreeSize) and axis.letter not in "bc" for axis in output.axes)


def _links_of(output: TensorSpec, linked: Mapping[tuple[str, str], Link]) -> list[Link]:
    return [linked[output.id, axis.letter] for axis in output.axes if (output.id, axis.letter) in linked]


def _extent(letter: str, size: Size, pixels: int, mirrored: int, coarsest: int, request: Request) -> int:
    """Return the pixels that the network sees along an axis: image, mirrored border, and padding to a legal size."""
    wanted = pixels + 2 * mirrored
    legal = legal_size(size, wanted)
    if request.exact and legal != wanted:
        raise ImageError(
            f"The image has {counted(pixels, 'pixel')} along {letter}; the model takes {size.describe()}, and --fit "
            "exact allows neither padding nor tiles. Leave --fit away to pad or tile the image."
        )
    # an image beyond a fixed size needs several tiles, and the last must not start between two pixels of another tensor
    return legal if legal >= wanted else legal + ceil((wanted - legal) / coarsest) * coarsest


def _best(lines: Sequence[_Line], request: Request, notes: list[str]) -> dict[str, int]:
    """Return the tile along each axis that computes the fewest pixels within the budget, else the smallest tile."""
    budget = _most_pixels([line.extent for line in lines], request)
    best: tuple[tuple[float, ...], tuple[int, ...]] | None = None
    for combination in product(*(_options(line, request, notes) for line in lines)):
        tiles = [tile for tile, _ in combination]
        pixels, count = prod(tiles), prod(number for _, number in combination)
        over = max(0, held_pixels(tiles, request) - budget, pixels - (request.pixels or _ENOUGH_IN_SLABS))
        # of equal costs, the longest rows: pixels along the last axis are neighbours in memory
        score = (over, count * (pixels + _TILE_COST), *(-tile for tile, _ in reversed(combination)))
        if best is None or score < best[0]:
            best = score, tuple(tile for tile, _ in combination)
    assert best is not None
    return {line.letter: tile for line, tile in zip(lines, best[1], strict=True)}


def _most_pixels(extents: Sequence[int], request: Request) -> int:
    """Return how many pixels of an image of these extents the network may see at once."""
    dimensions = dimensions_of(extents)
    budget = max(1, int(request.room / (request.bytes_per_pixel or BYTES_PER_PIXEL[dimensions])))
    where = "gpu" if request.gpu else "slabs" if request.slabs else "cpu"
    return min(budget, _ENOUGH_PIXELS[where][dimensions], request.pixels or budget)


def held_pixels(tile: Sequence[int], request: Request) -> int:
    """Return the pixels of a tile that take memory at once: in 3-D slabs the pixels of some planes."""
    if request.slabs and dimensions_of(tile) == 3:
        return min(tile[0], _HELD_PLANES) * prod(tile[1:])
    return prod(tile)


def dimensions_of(extents: Sequence[int]) -> Literal[2, 3]:
    """Return 3 for an image of more than two dimensions, else 2. Axes of one pixel do not count."""
    return 3 if sum(extent > 1 for extent in extents) > 2 else 2


def _batch(model: ModelSpec, axes: Sequence[AxisTiling], request: Request) -> int:
    """Return how many tiles to compute at once: as many as keep a GPU busy. On a CPU, batches gain nothing."""
    if not request.gpu or not all(_takes_batches(tensor.axis("b")) for tensor in (*model.inputs, *model.outputs)):
        return 1
    room = _most_pixels([axis.stop - axis.start for axis in axes], request) // prod(axis.tile for axis in axes)
    return max(1, min(room, prod(len(axis.starts) for axis in axes)))


def _takes_batches(axis: Axis | None) -> bool:
    return axis is not None and isinstance(axis.size, FreeSize) and axis.size.maximum is None


def _options(line: _Line, request: Request, notes: list[str]) -> list[tuple[int, int]]:
    """Return the pairs of tile length and number of tiles to choose from."""
    wanted = (request.tile or {}).get(line.letter)
    if request.whole and legal_size(line.size, line.extent) == line.extent:
        return [(line.extent, 1)]
    if not line.tileable or request.exact:
        if isinstance(line.size, FixedSize) and line.extent > line.size.size:
            raise ImageError(
                f"The image has {counted(line.pixels, 'pixel')} along {line.letter}, the model takes "
                f"{line.size.describe()}, and its output does not follow the image, so tiles cannot be put together. "
                "Crop the image, or use --fit resize to change its size."
            )
        if wanted is not None and request.exact:
            notes.append(
                f"--tile {wanted} along {line.letter} has no effect: --fit exact computes the image as one tile."
            )
        elif wanted is not None and wanted != line.extent:
            notes.append(
                f"A tile of {counted(wanted, 'pixel')} along {line.letter} is not possible here; {line.extent} is used."
            )
        return [(line.extent, 1)]
    if wanted is None:
        options = list(candidates(line.tile_size, line.extent, line.overlap, line.stride))
        return options or [(line.extent, 1)]
    if isinstance(line.size, FixedSize) and wanted != line.size.size:
        raise UsageError(
            f"The model takes {line.size.describe()} pixels along {line.letter}; --tile cannot change that."
        )
    tile = min(legal_size(line.tile_size, wanted), line.extent)
    if tile != wanted:
        notes.append(f"A tile of {counted(wanted, 'pixel')} along {line.letter} is not possible here; {tile} is used.")
    if tile < line.extent and (tile - line.overlap) // line.stride < 1:
        raise UsageError(
            f"A tile of {counted(tile, 'pixel')} along {line.letter} is too short: neighbouring tiles share "
            f"{counted(line.overlap, 'pixel')} (twice the halo) and start on multiples of {line.stride}. Give at "
            f"least {legal_size(line.tile_size, line.overlap + line.stride)}."
        )
    return [(tile, len(spread(line.extent, tile, line.overlap, line.stride)))]


def _tiling(line: _Line, tile: int) -> AxisTiling:
    starts = tuple(line.start + start for start in spread(line.extent, tile, line.overlap, line.stride))
    return AxisTiling(
        line.letter, line.pixels, line.start, line.start + line.extent, tile, starts, line.overlap, line.stride
    )
