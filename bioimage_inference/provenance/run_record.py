"""The record as far as a stage of a run knows it: before anything is computed, and once all pixels are."""

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from ..inference.planning import Prepared
from ..machine.sandbox import walls
from ..model.spec import FixedSize, ModelSpec, TensorSpec
from ..options import Options
from .hashing import Hashed
from .processing_record import describe_processing
from .record import (
    describe_hash,
    describe_input,
    describe_model,
    describe_network,
    describe_options,
    describe_plan,
    describe_versions,
)

if TYPE_CHECKING:
    from ..inference.pipeline import Record
    from ..network.loading import LoadedNetwork


def describe_run(spec: ModelSpec, prepared: Prepared, options: Options) -> dict[str, Any]:
    """What is known before anything is computed, as ``--dry-run --json`` prints it."""
    return {
        "model": describe_model(spec),
        "inputs": [describe_input(tensor, one) for tensor, one in prepared.matched.items()],
        "plan": describe_plan(prepared.plan),
        "outputs": [_planned(output, prepared) for output in spec.outputs],
        "memory": {
            "bytes": prepared.budget.size,
            "reason": prepared.budget.reason,
            "program_bytes": prepared.program,
        },
        "options": describe_options(options),
        "notes": [*spec.notes, *prepared.notes],
    }


def describe_computed(
    loaded: "LoadedNetwork", prepared: Prepared, options: Options, found: "Record", hashes: Mapping[str, Hashed]
) -> dict[str, Any]:
    """What is known once all pixels are computed."""
    planned = describe_run(loaded.spec, prepared, options)
    return {
        **planned,
        "inputs": [one | describe_hash(hashes.get(one["tensor"])) for one in planned["inputs"]],
        **describe_network(loaded, options.precision),
        "processing": describe_processing(loaded.spec, tuple(prepared.matched), found.statistics, found.measured),
        "seconds": found.seconds,
        "notes": [*loaded.spec.notes, *loaded.notes, *prepared.notes, *found.notes],
        "versions": describe_versions(loaded.engine.name),
        "sandbox": describe_walls(),
    }


def describe_walls() -> dict[str, Any]:
    """The walls that stand around this process."""
    return {"landlock": walls().landlock, "seccomp": walls().seccomp}


def _planned(output: TensorSpec, prepared: Prepared) -> dict[str, Any]:
    """An output before it is computed; sizes that only the network tells are ``None``."""
    leading = prepared.leading
    planned = next(one.sizes for one in prepared.plan.outputs if one.id == output.id)
    sizes = {axis.letter: axis.size.size for axis in output.axes if isinstance(axis.size, FixedSize)}
    sizes |= {"b": prod(leading.samples), **planned}
    return {
        "id": output.id,
        "axes": output.letters,
        "shape": [sizes.get(letter) for letter in output.letters],
        "dtype": None,
    }
