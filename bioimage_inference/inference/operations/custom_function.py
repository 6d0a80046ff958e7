"""Processing by the model's own Python function: ``custom``."""

from dataclasses import replace
from pathlib import Path

from ...array_types import Array
from ...model.spec import Operation
from ...model.trust import TrustPolicy
from .base import Context, ProcessingOperation, failures_of_model


def _load(step: Operation, root: Path, policy: TrustPolicy) -> Operation:
    """Return the step with its function, as the argument ``function``.

    Raises :class:`TrustError` or :class:`ModelError`.
    """
    from ...model.architecture import load_function

    return replace(step, kwargs={**step.kwargs, "function": load_function(step, root, policy)})


def _custom(array: Array, context: Context) -> Array:
    with failures_of_model("custom"):
        result: Array = context.kwargs["function"](array)
        if result.shape != array.shape:
            raise ValueError(f"it returned the shape {result.shape} for {array.shape}")
        return result


OPERATIONS = (
    ProcessingOperation(
        name="custom",
        apply=_custom,
        in_words=lambda kwargs: f"the model's own Python function {kwargs['callable']}",
        needs_sample=lambda *_: True,
        needs_floats=False,
        load=_load,
    ),
)
