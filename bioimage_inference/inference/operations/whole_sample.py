"""Operations that need a whole sample and run code that is not part of this program.

``custom`` is the model's own Python function. ``stardist_postprocessing`` and ``cellpose_flow_dynamics`` assemble
objects with the operators of bioimageio.core, which need the packages stardist and cellpose.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from ...array_types import Array
from ...errors import ModelError
from ...image.axes import axis_id
from ...model.spec import Operation
from ...model.trust import TrustPolicy
from .processing_operation import Context, ProcessingOperation


@contextmanager
def _failures_of_model(name: str) -> Iterator[None]:
    """Turn any error of code that is not part of this program into a :class:`ModelError` that names the step."""
    try:
        yield
    except Exception as error:
        raise ModelError(f"The step {name} of the model failed: {type(error).__name__}: {error}") from error


def _load(step: Operation, root: Path, policy: TrustPolicy) -> Operation:
    """Return the step with its function, as the argument ``function``.

    Raises :class:`TrustError` or :class:`ModelError`.
    """
    from ...model.architecture import load_function

    return replace(step, kwargs={**step.kwargs, "function": load_function(step, root, policy)})


def _custom(array: Array, context: Context) -> Array:
    with _failures_of_model("custom"):
        result: Array = context.kwargs["function"](array)
        if result.shape != array.shape:
            raise ValueError(f"it returned the shape {result.shape} for {array.shape}")
        return result


def _by_reference(name: str, array: Array, context: Context) -> Array:
    """Apply bioimageio.core's operator ``name`` to a whole sample and return the result with the same axes."""
    from bioimageio.core import Sample, Tensor
    from bioimageio.core.axis import AxisId
    from bioimageio.core.common import MemberId
    from bioimageio.core.proc_ops import get_proc
    from bioimageio.spec.model import v0_5
    from pydantic import TypeAdapter

    dims = [AxisId(axis_id(letter)) for letter in context.letters]
    member = MemberId("output")
    with _failures_of_model(name):
        step: v0_5.PostprocessingDescr = TypeAdapter(v0_5.PostprocessingDescr).validate_python(
            {"id": name, "kwargs": dict(context.kwargs)}
        )
        # get_proc of bioimageio.core 0.11 reads nothing but the id of the tensor
        operator = get_proc(step, v0_5.OutputTensorDescr.model_construct(id=v0_5.TensorId("output")))
        sample = Sample(members={member: Tensor(array, dims=dims)}, stat={}, id="sample")
        operator(sample)
        result: Array = sample.members[member].transpose(tuple(dims)).to_numpy()
        return result


_operation = partial(ProcessingOperation, needs_sample=lambda *_: True, needs_floats=False)

OPERATIONS = (
    _operation(
        name="custom",
        apply=_custom,
        in_words=lambda kwargs: f"the model's own Python function {kwargs['callable']}",
        load=_load,
    ),
    _operation(
        name="stardist_postprocessing",
        apply=partial(_by_reference, "stardist_postprocessing"),
        in_words=lambda _: "objects, assembled from StarDist's star-convex shapes",
        package="stardist",
    ),
    _operation(
        name="cellpose_flow_dynamics",
        apply=partial(_by_reference, "cellpose_flow_dynamics"),
        in_words=lambda _: "objects, found along Cellpose's flows",
        package="cellpose",
    ),
)
