"""All operations that descriptions can name, and what a step of pre- or postprocessing does, needs and is in words."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec

from ...errors import ModelError
from ...image.axes import AXES
from ...model.spec import FixedSize, ModelSpec, Operation, TensorSpec
from ...model.trust import TrustPolicy
from ..statistics import Measure
from . import dtype_conversion, normalisation, pointwise, whole_sample
from .processing_operation import ProcessingOperation

_FAMILIES = (pointwise, normalisation, dtype_conversion, whole_sample)

OPERATIONS: Mapping[str, ProcessingOperation] = {
    operation.name: operation for family in _FAMILIES for operation in family.OPERATIONS
}


def operation_of(step: Operation) -> ProcessingOperation:
    """Return the operation of a step. Raises :class:`ModelError` if this program does not know it."""
    if step.name not in OPERATIONS:
        raise ModelError(
            f"The description's step {step.name!r} is not supported. A newer version of this program may know it."
        )
    return OPERATIONS[step.name]


def measures_of(step: Operation, tensor: str) -> tuple[Measure, ...]:
    """Return the statistics that a step on ``tensor`` needs, in the order in which it uses them."""
    return operation_of(step).measures(step.kwargs, tensor)


def needs_sample(step: Operation, cut: Container[str]) -> bool:
    """Return whether a step cannot be applied to a tile alone, if tiles are ``cut`` along axes with these letters."""
    return operation_of(step).needs_sample(step.kwargs, cut)


def check_packages(steps: Sequence[Operation]) -> None:
    """Raise :class:`ModelError` if a package that a step needs is missing, or the step is not supported."""
    for step in steps:
        package = operation_of(step).package
        if package is not None and find_spec(package) is None:
            raise ModelError(
                f"The model's postprocessing {step.name} needs the package {package}, which is not installed. "
                f"Install it with: pip install {package}"
            )


def with_loaded_code(spec: ModelSpec, policy: TrustPolicy) -> ModelSpec:
    """Return the model with the code of its own operations loaded.

    Raises :class:`ModelError` if an operation cannot be applied here, :class:`TrustError` if its code is not trusted.
    """

    def loaded(tensor: TensorSpec) -> TensorSpec:
        check_packages(tensor.operations)
        steps = (operation_of(step).load(step, spec.root, policy) for step in tensor.operations)
        return replace(tensor, operations=tuple(steps))

    return replace(spec, inputs=tuple(map(loaded, spec.inputs)), outputs=tuple(map(loaded, spec.outputs)))


def step_in_words(step: Operation, tensor: TensorSpec) -> str:
    """Return in words what a step does to the values of a tensor; empty if users need not know."""
    words = operation_of(step).in_words(step.kwargs)
    return words + _statistics_in_words(step, tensor) if words else ""


def _statistics_in_words(step: Operation, tensor: TensorSpec) -> str:
    """Return what the statistics cover, if that is not simply the whole image."""
    if not measures_of(step, tensor.id):
        return ""
    axes: str | None = step.kwargs.get("axes")
    if axes is None or "b" in axes:
        return ", of all samples together"
    apart = [
        AXES[axis.letter].entry
        for axis in tensor.axes
        if axis.letter not in axes and axis.letter != "b" and axis.size != FixedSize(1)
    ]
    return f", each {' and '.join(apart)} on its own" if apart else ""
