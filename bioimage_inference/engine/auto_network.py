"""Torch, until another engine has shown on tiles of the run that it gives the same in less time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import BioimageInferenceError
from ..memory import peak_memory
from .allocator import give_back_buffers
from .network import Engine, Network
from .statistics import Array
from .tile_tensors import TOLERANCE, Inputs, difference, same

# Converting takes about 1 s and the trial four tiles, to save a fifth of the time: fewer tiles do not pay for it.
_FEWEST_TILES = 64
_FEWEST_SECONDS = 10.0
_TRIALS = 3


@dataclass
class _Trial:
    """Tiles of one shape: how many there were, the fastest with torch, and the seconds of those tried with OpenVINO."""

    tiles: int = 0
    fastest: float = np.inf
    seconds: list[float] = field(default_factory=list)


class AutoNetwork:
    """Computes with ``torch``; where there is much to compute, tries OpenVINO, which ``convert`` makes.

    Tiles of a shape are computed with OpenVINO once it agreed with torch to :data:`TOLERANCE` on every tile of the
    trial and was faster. Whatever goes wrong in a trial ends all trials, and is said in ``engine``.
    """

    def __init__(self, torch: Network, convert: Callable[[], Network]) -> None:
        self._torch, self._convert = torch, convert
        self._rejected = False
        self._openvino: Network | None = None
        self._chosen: dict[Any, Network] = {}
        self._trials: dict[Any, _Trial] = {}
        self._ahead, self._memory, self._whole = 0, 0, True
        self._memory_before = peak_memory()
        self.engine = Engine("torch", "there was too little to compute for a trial of OpenVINO to pay")

    def expect(self, tiles: int, memory: int, whole: bool = True) -> None:
        """How many tiles come next, whether each is computed whole, and how many bytes the process may use."""
        self._ahead, self._memory, self._whole = tiles, memory, whole

    def __call__(self, inputs: Inputs) -> list[Array]:
        """Compute one tile."""
        self._ahead -= 1
        shapes = tuple(None if array is None else (array.shape, array.dtype) for array in inputs)
        if shapes in self._chosen:
            return self._chosen[shapes](inputs)
        trial = self._trials.setdefault(shapes, _Trial())
        outputs, seconds = _timed(self._torch, inputs)
        trial.tiles, trial.fastest = trial.tiles + 1, min(trial.fastest, seconds)
        if trial.seconds or self._worthwhile(trial):
            chosen = self._try(trial, inputs, outputs)
            if chosen is not None:
                self._chosen[shapes] = chosen
        return outputs

    def _worthwhile(self, trial: _Trial) -> bool:
        tiles = trial.tiles + self._ahead
        if self._rejected or trial.tiles < 2 or tiles < _FEWEST_TILES or tiles * trial.fastest < _FEWEST_SECONDS:
            return False
        if not self._whole:
            self.engine = Engine("torch", "OpenVINO computes whole tiles only")
            return False
        peak = peak_memory()
        if peak + (peak - self._memory_before) > self._memory:
            self.engine = Engine("torch", "there was too little memory for a trial of OpenVINO")
            return False
        return True

    def _try(self, trial: _Trial, inputs: Inputs, expected: Sequence[Array]) -> Network | None:
        """Compute a tile with OpenVINO as well; returns the engine to use from now on, once that is clear."""
        try:
            if self._openvino is None:
                self._openvino = self._convert()
            outputs, seconds = _timed(self._openvino, inputs)
        except BioimageInferenceError as error:
            return self._stay(f"the trial of OpenVINO failed: {error}")
        if not all(np.issubdtype(array.dtype, np.floating) for array in expected):
            return self._stay("the network gives whole numbers, which another engine's rounding could change")
        if not same(outputs, expected):
            apart = difference(outputs, expected)
            return self._stay(f"the results of OpenVINO differ by {apart:.1g} of the range of values")
        trial.seconds.append(seconds)
        if len(trial.seconds) <= _TRIALS:
            return None
        fastest = min(trial.seconds[1:])  # the first includes the conversion
        if fastest >= trial.fastest:
            return self._stay(f"a tile takes OpenVINO {fastest:.3f} s, torch {trial.fastest:.3f} s")
        self.engine = Engine(
            "openvino",
            f"a tile takes {fastest:.3f} s, with torch {trial.fastest:.3f} s; tiles computed with both agree to "
            f"{TOLERANCE:g} of the range of values",
        )
        give_back_buffers()  # those of torch
        return self._openvino

    def _stay(self, reason: str) -> Network:
        self._rejected, self._openvino = True, None
        self.engine = Engine("torch", reason)
        return self._torch


def _timed(network: Network, inputs: Inputs) -> tuple[list[Array], float]:
    start = time.perf_counter()
    outputs = network(inputs)
    return outputs, time.perf_counter() - start
