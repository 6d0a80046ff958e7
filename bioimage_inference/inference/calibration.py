"""The plan for a loaded network: tiles that fit into memory, whole or in slabs; one tile if tiles cannot be joined.

Small trials measure the network: the memory of its tensors, whether slabs give the same result, whether the result
depends on the tile. They run only if the plan depends on their outcome.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, inf, prod

from ..errors import ModelError
from ..machine.memory import MemoryBudget
from ..model.spec import FixedSize, ModelSpec
from ..network.device import free_memory
from ..network.loading import LoadedNetwork
from ..network.network import Dependence, Inputs, MeasuredNetwork
from ..network.onnx_network import ONNXNetwork
from ..network.slabs import NotInSlabs
from ..network.torch_network import TorchNetwork
from ..text import byte_size, counted
from ..tiling.tile_size import BYTES_PER_PIXEL, Request, Tiling, dimensions_of, held_pixels
from .planning import PreparedImages, beside_network, tiling_for, with_program, with_smaller_tiles, with_tiling
from .postprocess import numbers_objects
from .trial_inputs import blank, noise, part_of_image, trial_tile

# A network may take eight times the memory of a U-Net. If the budget allows that, nothing is measured.
_PLENTY = 8
# Pixels of the tile that the memory per pixel is measured with; it hardly depends on the tile.
_TRIAL_PIXELS = 1 << 15
# Growth of the process over the peak of the network's tensors. The allocator keeps freed buffers, so it is above 1:
# 2.0 to 2.9 for the nuclei U-Net (tiles of 256² to 1024²), 3.7 for a network of 512 channels, 4.6 for the 3-D demo
# U-Net (24×192×192), 1.2 for the nuclei U-Net in slabs (2048×512); 1 thread of an Intel Xeon, torch 2.13.
_OVERHEAD, _OVERHEAD_IN_SLABS = 4.5, 2.5
# The same for onnxruntime without its arena: 1.0 for a network of 512 channels, 1.0 to 1.1 for a 3-D U-Net, 1.3 to 1.7
# for 2-D U-Nets, 1.1 to 2.0 with instance normalisation (512² and 1024²); 2 threads of an AMD EPYC, onnxruntime 1.32.
_OVERHEAD_OF_ONNX = 2.5
# torch's allocator on a GPU keeps buffers too; without a measurement at hand, half as much again is assumed.
_OVERHEAD_ON_GPU = 1.5
# Bytes for each pixel and channel besides the network: four float32 tiles are read, computed, returned and written.
_BESIDE_NETWORK = 4 * 4
# Bytes for each pixel and channel of an average over copies: mean, squares and a difference in float32, and a copy.
_AVERAGE = 4 * 4
# Upper bounds of the time for a pixel in slabs over the time in whole tiles. A 3-D U-Net took 0.96
# (docs/benchmarks.md). In 2-D, U-Nets of 16 to 64 channels took 0.94 to 1.10, a residual network 0.68, and one with
# separable convolutions 0.6, since slabs stay in the cache (2 threads of an AMD EPYC, torch 2.13). Networks that
# normalise over the tile pass through it several times.
_SLOWDOWN_IN_SLABS, _SLOWDOWN_NORMALISED = 1.1, 1.4
# Pixels that the comparison of slabs with whole tiles computes, over the pixels of the trial tile: two tiles, both
# ways, and as much again for recording the network.
_COST_OF_CHECK = 8
# Slabs may take 1.3 times as long if a whole tile takes more than 1 GiB, and any time if it does not fit into memory.
_MODEST, _ACCEPTED_SLOWDOWN = 1 << 30, 1.3
# Tiles side by side take at most 2 GiB, 5 to 7 of them: many cores should not mean much memory. Then several threads
# compute each tile.
_SIDE_BY_SIDE = 2 << 30
# The memory of the program differs by some MiB from run to run. It is rounded up, so that tiles do not.
_ROUNDED = 32 << 20
# From so many times the computed pixels on, the user learns how much memory would save them.
_WORTH_A_REMARK = 1.25
_UNBOUNDED = 1 << 60


@dataclass(frozen=True)
class Calibration:
    """Images with the plan for a loaded network, and the network that computes this plan.

    ``needed`` is the memory of the process for the plan, in bytes.
    """

    prepared: PreparedImages
    loaded: LoadedNetwork
    needed: float

    def fits(self, budget: MemoryBudget) -> bool:
        """Return whether the plan stays within a budget, or the budget is no smaller than the plan was made for."""
        return budget.size >= min(self.needed, self.prepared.budget.size)

    def without_images(self) -> "Calibration":
        """Return the same without its images, to be kept: it must not keep the user's arrays and files in memory."""
        return replace(self, prepared=replace(self.prepared, matched={}))

    def for_image(self, prepared: PreparedImages) -> "Calibration":
        """Return the same plan for another image of the same shape."""
        kept = self.prepared
        image = replace(prepared, request=kept.request, plan=kept.plan, program=kept.program, over_tile=kept.over_tile)
        return replace(self, prepared=image)

    def with_smaller_tiles(self) -> "Calibration | None":
        """Return the same with tiles of at most half the pixels; ``None`` if the model allows none."""
        smaller = with_smaller_tiles(self.loaded.spec, self.prepared)
        if smaller is None:
            return None
        part = smaller.plan.pixels / self.prepared.plan.pixels
        return replace(self, prepared=smaller, needed=smaller.program + (self.needed - smaller.program) * part)


@dataclass(frozen=True)
class _Execution:
    """A way to compute the image: its tiles, chosen for ``request``, whole or in ``slabs``.

    ``slowdown`` is the time for a pixel over the time in whole tiles. ``size`` returns the memory of the process for a
    tile in bytes; ``None`` if memory is plenty, so that nothing was measured.
    """

    request: Request
    tiling: Tiling
    size: Callable[[Tiling], float] | None = None
    slowdown: float = 1.0
    slabs: bool = False

    @property
    def time(self) -> float:
        """Time for a pixel of the image, over the network's time for a pixel."""
        return self.tiling.computed * self.slowdown

    @cached_property
    def bytes(self) -> float:
        """Memory of the process for a tile, measured or else assumed."""
        return self.tiling.pixels * _assumed(self.tiling) if self.size is None else self.size(self.tiling)


def calibrated(prepared: PreparedImages, loaded: LoadedNetwork) -> Calibration:
    """Return the plan for a loaded network and its device.

    Tiles that the user asked for stay. Raises :class:`ModelError` if the network fails, :class:`OutOfMemoryError` if
    the budget is too small for the program with its network.
    """
    on_cpu = loaded.device.name == "cpu"
    if on_cpu:
        program = ceil((loaded.resident + beside_network(loaded.spec)) / _ROUNDED) * _ROUNDED
        if program > prepared.program:
            prepared = with_program(loaded.spec, prepared, program)
    trials = _Trials(loaded.spec, prepared, loaded, loaded.for_trials)
    way = trials.best(prepared.request)
    notes: list[str] = []
    if len(way.tiling) > 1:
        way, prepared, notes = _undivided(way, trials)
    if on_cpu and way.size is not None:
        notes += _advice(way, way.size, trials)
    if way.slabs and isinstance(loaded.network, TorchNetwork):
        network = loaded.network.slabwise()
        loaded = replace(loaded, network=network)
        if network.computes_in_slabs(blank(loaded.spec, prepared, way.tiling.tile_shape)):
            way = _side_by_side(way, loaded.threads)
    prepared = with_tiling(loaded.spec, prepared, way.request, way.tiling, notes)
    return Calibration(prepared, loaded, prepared.program + way.bytes * (way.tiling.batch if on_cpu else 1))


def memory_per_pixel(prepared: PreparedImages, loaded: LoadedNetwork) -> float | None:
    """Return the bytes of the process for each pixel of a whole tile, measured with a small tile.

    The result is ``None`` for a network of the caller. Raises :class:`ModelError` if the network fails.
    """
    request = replace(prepared.request, tile=None, whole=False, gpu=loaded.device.name != "cpu")
    return _Trials(loaded.spec, prepared, loaded, loaded.for_trials).bytes_per_pixel(request)


@dataclass(frozen=True)
class _Trials:
    """Trials of a network; ``network`` is the one that can be measured, ``None`` for a network of the caller."""

    spec: ModelSpec
    prepared: PreparedImages
    loaded: LoadedNetwork
    network: MeasuredNetwork | None

    def tiling(self, request: Request) -> Tiling:
        """Return the tiles for a request."""
        return tiling_for(self.spec, self.prepared, request)

    def best(self, request: Request) -> _Execution:
        """Return the fastest way within the memory."""
        if self.loaded.device.name != "cpu":
            room = min(request.room, free_memory(self.loaded.device))
            return self._whole(replace(request, gpu=True, room=room))
        whole = self._whole(request)
        return self._in_slabs(request, whole) or whole

    def _whole(self, request: Request) -> _Execution:
        """Return the execution in whole tiles."""
        tiling = self.tiling(request)
        by_pixel = self.bytes_per_pixel(request) if self._depends_on_memory(request, tiling) else None
        if by_pixel is None:
            return _Execution(request, tiling)
        request = replace(request, bytes_per_pixel=by_pixel)
        return _Execution(request, self.tiling(request), lambda one: by_pixel * one.pixels)

    def _depends_on_memory(self, request: Request, tiling: Tiling) -> bool:
        """Return whether the tiles depend on the memory for a pixel of a whole tile."""
        if request.tile is not None or tiling.pixels * _assumed(tiling) * _PLENTY <= request.room:
            return False
        shortest, longest = (self.tiling(replace(request, room=room)).tile_shape for room in (0, _UNBOUNDED))
        return shortest != longest or request.whole

    def bytes_per_pixel(self, request: Request) -> float | None:
        """Return the memory for each pixel of a whole tile, measured with a small one, if the network allows it."""
        if self.network is None:
            return None
        small = self.tiling(replace(request, whole=False, pixels=_TRIAL_PIXELS))
        tensors = self.network.tensor_memory(blank(self.spec, self.prepared, small.tile_shape)) / small.pixels
        if request.gpu:
            return _OVERHEAD_ON_GPU * tensors
        overhead = _OVERHEAD_OF_ONNX if isinstance(self.network, ONNXNetwork) else _OVERHEAD
        return overhead * tensors + self._bytes_beside_network()

    def _bytes_beside_network(self) -> int:
        tensors = (*self.spec.inputs, *self.spec.outputs)
        sizes = (axis.size for tensor in tensors if (axis := tensor.axis("c")) is not None)
        each = _BESIDE_NETWORK + (_AVERAGE if self.prepared.augmentation else 0)
        return each * sum(size.size if isinstance(size, FixedSize) else 1 for size in sizes)

    def _in_slabs(self, request: Request, whole: _Execution) -> _Execution | None:
        """Return the execution in slabs; ``None`` if the network does not allow slabs, or if whole tiles are better."""
        network = self.network if self.network is self.loaded.network else None
        slabs = network.slabs if isinstance(network, TorchNetwork) else None
        request = replace(request, slabs=True)
        roomy = self.tiling(replace(request, room=_UNBOUNDED))
        small = self.tiling(replace(request, tile=None, whole=False, pixels=_TRIAL_PIXELS))
        slowdown = _SLOWDOWN_IN_SLABS
        if whole.bytes > request.room:
            accepted = inf
        elif whole.bytes > _MODEST:
            accepted = whole.time * _ACCEPTED_SLOWDOWN
        else:
            accepted = whole.time - _COST_OF_CHECK * small.pixels / self._pixels_of_image(whole.tiling)
        if slabs is None or roomy.computed * slowdown >= accepted or not slabs.large(self._blank(roomy)):
            return None

        def size(tiling: Tiling) -> float:
            return _OVERHEAD_IN_SLABS * slabs.held(self._blank(tiling)) + self._bytes_beside_network() * tiling.pixels

        try:
            assert isinstance(network, TorchNetwork)
            network.check_slabs(self._small_tiles(small))
            request, tiling = self._shrunk(request, roomy, size)
            if slabs.normalises(self._blank(tiling)):
                slowdown *= _SLOWDOWN_NORMALISED
        except NotInSlabs:
            return None
        way = _Execution(request, tiling, size, slowdown, slabs=True)
        return way if way.time < accepted else None

    def _shrunk(self, request: Request, tiling: Tiling, size: Callable[[Tiling], float]) -> tuple[Request, Tiling]:
        """Return smaller tiles until a tile fits, with their request. A small tile may take more for each pixel."""
        while (needed := size(tiling)) > request.room:
            at_once = held_pixels(list(tiling.tile_shape.values()), request)
            request = replace(request, bytes_per_pixel=needed / at_once)
            smaller = self.tiling(request)
            if smaller.pixels >= tiling.pixels:
                break
            tiling = smaller
        return request, tiling

    def _pixels_of_image(self, tiling: Tiling) -> int:
        """Return the pixels of all samples of the image."""
        return prod(self.prepared.leading.samples) * prod(axis.size for axis in tiling.axes)

    def _blank(self, tiling: Tiling) -> Inputs:
        return blank(self.spec, self.prepared, tiling.tile_shape)

    def _small_tiles(self, tiling: Tiling) -> Iterator[Inputs]:
        """Yield a tile of noise, and a tile of the user's image: a clamp at 8, say, changes large values only."""
        yield noise(self.spec, self.prepared, tiling.tile_shape)
        part = part_of_image(self.spec, self.prepared, tiling)
        if part is not None:
            yield part


def _side_by_side(way: _Execution, threads: int) -> _Execution:
    """Return the same with several 2-D tiles at once: the more the better, if no thread is idle and memory allows.

    Tiles of stacks take too much memory for that, and each of their operations is long enough for all threads.
    """
    tiling = way.tiling
    if dimensions_of(list(tiling.tile_shape.values())) == 3:
        return way

    def time(at_once: int) -> float:
        """Return the time for all tiles, over the time of one thread for a tile."""
        rounds, left = divmod(len(tiling), at_once)
        return rounds / (threads // at_once) + (1 / (threads // left) if left else 0)

    most = max(1, min(threads, len(tiling), int(min(way.request.room, _SIDE_BY_SIDE) / way.bytes)))
    return replace(way, tiling=replace(tiling, batch=min(range(most, 0, -1), key=time)))


def _undivided(tiles: _Execution, trials: _Trials) -> tuple[_Execution, PreparedImages, list[str]]:
    """Return the image as one tile if tiles cannot be joined and it fits; else the tiles, with a remark.

    Labels are refused later, when the network returns them.
    """
    prepared, spec = trials.prepared, trials.spec
    if trials.network is None:
        return tiles, prepared, []
    found = tile_dependence(prepared, trials.loaded, tiles.tiling)
    if not found.operations and not any(map(numbers_objects, spec.outputs, found.dtypes)):
        return tiles, prepared, []
    prepared = replace(prepared, over_tile=found.operations)
    request = replace(prepared.request, tile=None, whole=True)
    advice = "The model takes tiles of a fixed size only."
    if len(trials.tiling(request)) == 1:
        one = trials.best(request)
        if prepared.request.tile is None and (one.size is None or one.bytes <= one.request.room):
            return one, prepared, []
        needed = ceil((prepared.program + one.bytes) / (1 << 20))
        advice = (
            f"--tile whole computes it as one tile, for which --memory {needed}MiB is enough (it is "
            f"{_budget(prepared)})."
        )
    notes = [f"{over_tile_in_words(found, tiles.tiling)} {advice}"] if found.operations else []
    return tiles, prepared, notes


def tile_dependence(prepared: PreparedImages, loaded: LoadedNetwork, tiling: Tiling | None = None) -> Dependence:
    """Return the operations whose result depends on the tile, found with noise in small tiles.

    If the network could run in slabs, its layers show it, and nothing is computed. A network that refuses these sizes
    computes a tile of the ``tiling`` (default: of the plan). Raises :class:`ModelError` if it fails.
    """
    network, spec = loaded.for_trials, loaded.spec
    assert network is not None
    small, large = (noise(spec, prepared, trial_tile(spec, prepared, times)) for times in (1, 2))
    if isinstance(network, TorchNetwork) and (found := network.independence(small, large)) is not None:
        return found
    try:
        return network.dependence(small, large)
    except ModelError:  # the network takes other sizes
        return network.dependence(noise(spec, prepared, (tiling or prepared.plan).tile_shape), None)


def over_tile_in_words(found: Dependence, tiling: Tiling) -> str:
    """Return for the user what it means that some operations depend on the whole tile."""
    return (
        f"The network looks at the tile as a whole ({', '.join(found.operations)}), so its result depends on the size "
        f"of the tiles, and the image is computed in {counted(len(tiling), 'tile')}."
    )


def _advice(way: _Execution, size: Callable[[Tiling], float], trials: _Trials) -> list[str]:
    """Return a remark if not even these tiles fit, or if more memory would save much computing."""
    prepared, tiling = trials.prepared, way.tiling
    if way.bytes > way.request.room:
        return [
            f"Memory is short: with the smallest tile that is possible here, the program takes about "
            f"{byte_size(int(prepared.program + way.bytes))}; it may use {_budget(prepared)}."
        ]
    roomy = trials.tiling(replace(way.request, room=_UNBOUNDED))
    if tiling.computed <= _WORTH_A_REMARK * roomy.computed:
        return []
    return [
        f"Memory bounds the tiles: {tiling.computed:.1f} pixels are computed for each one of the image. With about "
        f"{byte_size(int(prepared.program + size(roomy)))} (it is {_budget(prepared)}) it would be "
        f"{roomy.computed:.1f}."
    ]


def _budget(prepared: PreparedImages) -> str:
    return f"{byte_size(prepared.budget.size)}, {prepared.budget.reason}"


def _assumed(tiling: Tiling) -> float:
    """Return the memory of the process per pixel of a whole tile, until it is measured."""
    return BYTES_PER_PIXEL[dimensions_of(list(tiling.tile_shape.values()))]
