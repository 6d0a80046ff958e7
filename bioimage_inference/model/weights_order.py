"""Which weights of a model are tried, in which order, and why: the user's choice, or the order of preference.

The order is: a state dict whose network is known, ONNX, TorchScript, other state dicts. TorchScript is deprecated
upstream, and onnxruntime computes in half to three quarters of the time. But TorchScript comes before an ONNX network
that takes fewer sizes than the description, or that may look at the tile as a whole, because only PyTorch computes
large images in slabs (docs/explanation/choices.md has figures).
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..errors import ModelError, TrustError, UsageError
from .architecture import judge_library
from .onnx_limits import onnx_limit
from .package import file_sha256, package_file
from .spec import WEIGHTS_TITLES, Architecture, ModelSpec, WeightsEntry, WeightsFormat
from .trust import TrustPolicy

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class WeightsChoice:
    """The weights that a run may use. ``wanted`` is the user's format; ``None`` takes the order of preference.

    ``excluded`` are formats that other options rule out, and ``because`` is the reason, such as ``--engine torch``.
    """

    wanted: WeightsFormat | None = None
    excluded: Collection[WeightsFormat] = ()
    because: str = ""

    def __post_init__(self) -> None:
        if self.wanted in self.excluded:
            raise UsageError(
                f"--weights {self.wanted} and {self.because} exclude each other: the engine of the {self._titles} "
                "weights is another one, or has no such setting. Leave one of the two out."
            )

    @property
    def _titles(self) -> str:
        return " and ".join(WEIGHTS_TITLES[one] for one in self.excluded)

    def candidates(self, model: ModelSpec, policy: TrustPolicy) -> "list[RankedWeights]":
        """Return the weights that may be used, the first choice first. Raises :class:`UsageError` if there are none."""
        if self.wanted is not None:
            found = [entry for entry in model.weights if entry.format == self.wanted]
            if not found:
                offered = ", ".join(dict.fromkeys(entry.format for entry in model.weights))
                raise UsageError(
                    f"The model has no {self.wanted} weights; it offers {offered or 'none that run here'}. Leave "
                    "--weights out."
                )
            return [RankedWeights(entry) for entry in found]
        found = [entry for entry in model.weights if entry.format not in self.excluded]
        if model.weights and not found:
            raise UsageError(
                f"{self.because} does not apply to {self._titles} weights, and the model has no others. Leave "
                f"{self.because.split()[0]} out."
            )
        return in_order(found, model, policy)

    def reason(self, place: int, candidates: "Sequence[RankedWeights]") -> str:
        """Return in a few words why the candidate at a place is used."""
        if self.wanted is not None:
            return "as given with --weights"
        if place:
            return f"because {_formats(candidates[:place])} cannot be used (see the notes)"
        return f"preferred to {_formats(candidates[1:])}" if len(candidates) > 1 else "the only weights"


@dataclass(frozen=True)
class RankedWeights:
    """A weights entry. ``limit`` is a clause on why TorchScript comes before it, ``None`` where it does not."""

    entry: WeightsEntry
    limit: str | None = None


def in_order(entries: Sequence[WeightsEntry], model: ModelSpec, policy: TrustPolicy) -> list[RankedWeights]:
    """Return the entries in the order of preference."""
    has_torchscript = any(entry.format == "torchscript" for entry in entries)

    def rank(one: RankedWeights) -> int:
        order = ("pytorch_state_dict", "onnx", "torchscript") if one.limit is None else ("", "", "", "onnx")
        return order.index(one.entry.format) if one.entry.format in order else len(order)

    def limit(entry: WeightsEntry) -> str | None:
        if entry.format == "pytorch_state_dict":
            return None if _is_known(entry, model, policy) else "whose network is not known"
        return onnx_limit(entry, model) if entry.format == "onnx" and has_torchscript else None

    return sorted((RankedWeights(entry, limit(entry)) for entry in entries), key=rank)


def _formats(candidates: Sequence[RankedWeights]) -> str:
    found = {one.entry.format: one.limit for one in candidates}
    return " and ".join(f"{name}, {limit}" if limit else name for name, limit in found.items())


def _is_known(entry: WeightsEntry, model: ModelSpec, policy: TrustPolicy) -> bool:
    """Return whether somebody vouches for the network of a state dict, so that it can be built here."""
    architecture = entry.architecture
    if architecture is None:
        return False
    if architecture.source is None:
        return judge_library(architecture, policy).allowed
    sha256 = _code_sha256(architecture, model)
    return sha256 is not None and policy.may_run_code(sha256).allowed


def _code_sha256(architecture: Architecture, model: ModelSpec) -> str | None:
    """Return the hash of the code as declared, else of the file; ``None`` without a file."""
    declared = (architecture.sha256 or "").strip().lower()
    if _SHA256.fullmatch(declared):
        return declared
    try:
        return file_sha256(package_file(model.root, architecture.source or ""))
    except (ModelError, TrustError, OSError):
        return None
