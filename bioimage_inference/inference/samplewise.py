"""Operations that need a whole sample at once: star-convex objects, Cellpose's flows, a model's own function.

The first two are bioimageio.core's; the packages that they need are not installed with this program.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..array_types import Array
from ..errors import ModelError
from ..model.spec import Operation

if TYPE_CHECKING:
    from bioimageio.core.axis import AxisId

_AXIS_IDS = {"b": "batch", "i": "index", "t": "time", "c": "channel"}


def apply_samplewise(operation: Operation, array: Array, letters: str) -> Array:
    """Apply one of these operations to a whole sample with axes ``letters``; the result has the same axes.

    ``operation.kwargs["function"]`` is the model's own function for ``custom``, loaded under the rules of trust.
    Raises :class:`ModelError` where the operation fails.
    """
    try:
        if operation.name == "custom":
            result: Array = operation.kwargs["function"](array)
            if result.shape != array.shape:
                raise ValueError(f"it returned the shape {result.shape} for {array.shape}")
            return result
        return _by_reference(operation, array, letters)
    except Exception as error:  # code of others: whatever it raises is a fault of the model, not of this program
        raise ModelError(f"The step {operation.name} of the model failed: {type(error).__name__}: {error}") from error


def _by_reference(operation: Operation, array: Array, letters: str) -> Array:
    from bioimageio.core import Sample, Tensor
    from bioimageio.core.axis import AxisId
    from bioimageio.core.common import MemberId

    dims = [AxisId(_AXIS_IDS.get(letter, letter)) for letter in letters]
    member = MemberId("output")
    sample = Sample(members={member: Tensor(array, dims=dims)}, stat={}, id="sample")
    _operator(operation, member)(sample)
    result = sample.members[member]
    return _transposed(result, dims)


def _operator(operation: Operation, member: Any) -> Any:
    """bioimageio.core's operator, made from its own description class."""
    from bioimageio.core._ops_cellpose import CellposeFlowDynamics
    from bioimageio.core._ops_stardist import StardistPostprocessing2D, StardistPostprocessing3D
    from bioimageio.spec.model import v0_5

    content = {"id": operation.name, "kwargs": dict(operation.kwargs)}
    if operation.name == "cellpose_flow_dynamics":
        return CellposeFlowDynamics.from_proc_descr(v0_5.CellposeFlowDynamicsDescr.model_validate(content), member)
    described = v0_5.StardistPostprocessingDescr.model_validate(content)
    if isinstance(described.kwargs, v0_5.StardistPostprocessingKwargs2D):
        return StardistPostprocessing2D.from_proc_descr(described, member)
    return StardistPostprocessing3D.from_proc_descr(described, member)


def _transposed(tensor: Any, dims: "Sequence[AxisId]") -> Array:
    array: Array = tensor.transpose(tuple(dims)).to_numpy()
    return array
