"""Objects from the output of StarDist and Cellpose networks: ``stardist_postprocessing``, ``cellpose_flow_dynamics``.

The operators are those of bioimageio.core. They need the packages stardist and cellpose.
"""

from functools import partial

from ...array_types import Array
from ...image.axes import axis_id
from .base import Context, ProcessingOperation, failures_of_model


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
    with failures_of_model(name):
        step: v0_5.PostprocessingDescr = TypeAdapter(v0_5.PostprocessingDescr).validate_python(
            {"id": name, "kwargs": dict(context.kwargs)}
        )
        # get_proc reads the id of the tensor only
        operator = get_proc(step, v0_5.OutputTensorDescr.model_construct(id=v0_5.TensorId("output")))
        sample = Sample(members={member: Tensor(array, dims=dims)}, stat={}, id="sample")
        operator(sample)
        result: Array = sample.members[member].transpose(tuple(dims)).to_numpy()
        return result


def _operation(name: str, package: str, words: str) -> ProcessingOperation:
    return ProcessingOperation(
        name=name,
        apply=partial(_by_reference, name),
        in_words=lambda _: words,
        needs_sample=lambda *_: True,
        needs_floats=False,
        package=package,
    )


OPERATIONS = (
    _operation("stardist_postprocessing", "stardist", "objects, assembled from StarDist's star-convex shapes"),
    _operation("cellpose_flow_dynamics", "cellpose", "objects, found along Cellpose's flows"),
)
