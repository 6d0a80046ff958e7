"""The findings of a validation: for each weights entry its outputs, tiles and halo beside what was promised."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import BioimageInferenceError, ModelError, ReproductionError
from ..inference.receptive_field import TOLERANCE, Field
from ..model.spec import WeightsEntry
from .comparison import Comparison
from .tile_advice import TileAdvice
from .tolerance import Tolerance

OutputVerdict = Literal["reproduced", "undecided", "differs"]
Verdict = Literal[OutputVerdict, "cannot run"]


@dataclass(frozen=True)
class OutputFinding:
    """An output beside the published output. ``comparison`` is ``None`` where their shapes differ.

    ``picture`` is a file that shows the difference, ``None`` where there is no difference.
    """

    id: str
    shape: tuple[int, ...]
    expected_shape: tuple[int, ...]
    tolerance: Tolerance
    comparison: Comparison | None
    picture: Path | None = None

    @property
    def verdict(self) -> OutputVerdict:
        """Whether the outputs agree within the tolerance; undecided where a part of the tolerance cannot be read."""
        found = self.comparison
        if found is None or found.mismatched_per_million > self.tolerance.per_million:
            return "differs"
        return "reproduced" if self.tolerance.certain else "undecided"


@dataclass(frozen=True)
class TileFinding:
    """The test image in ``count`` tiles beside the test image as a whole.

    ``tile`` and ``halo`` are in pixels of the image, by axis. ``declared`` is whether the description declares the
    halo. ``largest`` is the largest difference by output, ``agrees`` whether it is due to rounding alone.
    """

    tile: Mapping[str, int]
    count: int
    halo: Mapping[str, int]
    declared: bool
    largest: Mapping[str, float]
    agrees: Mapping[str, bool]


@dataclass(frozen=True)
class HaloFinding:
    """The halo along one axis beside the receptive field, in pixels of the image.

    ``declared`` is the halo of the description (0: none), ``used`` the halo between tiles in this program.
    """

    declared: int
    used: int
    field: Field

    @property
    def covers(self) -> bool:
        """Whether pixels beyond the used halo change the output by the tolerance at most."""
        beyond = self.field.beyond(self.used)
        return beyond is not None and beyond <= TOLERANCE


@dataclass(frozen=True)
class WeightsFinding:
    """The result of a weights entry: its outputs, or the ``error`` of an entry that cannot run.

    ``device`` says where they ran and why there, ``device_name`` is torch's name of it. ``tiles`` is ``None`` where the
    model's sizes allow one tile only. ``halo`` is ``None`` where the caller does not want it, or where ``halo_error``
    prevented the measurement. It is empty where images cannot be cut into tiles. ``advice`` is ``None`` where the
    caller does not want it, for a model that takes several images, and where a large image fails with ``advice_error``.
    """

    entry: WeightsEntry
    device: str | None = None
    device_name: str | None = None
    outputs: tuple[OutputFinding, ...] = ()
    tiles: TileFinding | None = None
    halo: tuple[HaloFinding, ...] | None = None
    halo_error: BioimageInferenceError | None = None
    advice: TileAdvice | None = None
    advice_error: BioimageInferenceError | None = None
    error: BioimageInferenceError | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the outputs, or ``cannot run``."""
        if self.error is not None:
            return "cannot run"
        found = {output.verdict for output in self.outputs}
        return "differs" if "differs" in found else "undecided" if "undecided" in found else "reproduced"

    @property
    def exit_code(self) -> int:
        """The exit code of the verdict, as in ``errors.py``."""
        if self.error is not None:
            return self.error.exit_code
        codes = {"reproduced": 0, "undecided": ModelError.exit_code, "differs": ReproductionError.exit_code}
        return codes[self.verdict]
