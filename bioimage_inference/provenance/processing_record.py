"""The pre- and postprocessing of a run for the record: every step in order, with the statistic values it used."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import PurePath
from typing import Any

import numpy as np

from ..inference.operations.registry import measures_of
from ..inference.statistics import Measure, Statistics
from ..model.spec import ModelSpec, Operation


def describe_processing(
    spec: ModelSpec,
    present: Sequence[str],
    statistics: Sequence[Statistics],
    measured: Sequence[Mapping[tuple[str, int], Statistics]],
) -> list[dict[str, Any]]:
    """Every step of the inputs that are ``present``, then of the outputs.

    ``statistics`` are those of the inputs, one entry per sample; ``measured`` those of the outputs, by output and
    number of the step that used them.
    """
    tensors = [*(one for one in spec.inputs if one.id in present), *spec.outputs]
    described = []
    for tensor in tensors:
        for number, step in enumerate(tensor.operations):
            used = [
                {**common, **own.get((tensor.id, number), {})} for common, own in zip(statistics, measured, strict=True)
            ]
            entries = [
                # outputs are measured sample by sample, whatever their axes
                _entries(one, used, pooled=one.pooled and one.tensor in present)
                for one in measures_of(step, tensor.id)
            ]
            described.append(
                {
                    "tensor": tensor.id,
                    "step": step.name,
                    "arguments": _arguments(step),
                    "statistics": list(chain.from_iterable(entries)),
                }
            )
    return described


def _entries(measure: Measure, samples: Sequence[Statistics], pooled: bool) -> list[dict[str, Any]]:
    """One entry per statistic; its values are lists, of one sample each, or a single one where samples are pooled."""
    return [
        {
            "statistic": name,
            "tensor": measure.tensor,
            "axes": measure.axes,
            "pooled": pooled,
            "values": [
                json_ready(np.ravel(sample[measure][number]).tolist())
                for sample in (samples[:1] if pooled else samples)
            ],
        }
        for number, name in enumerate(measure.names)
    ]


def _arguments(step: Operation) -> dict[str, Any]:
    # the loaded function of a custom step is no fact; its source and hash are
    return {key: json_ready(value) for key, value in step.kwargs.items() if key != "function"}


def json_ready(value: Any) -> Any:
    """A value as JSON can hold it; numbers that are none, or infinite, become ``None``."""
    if isinstance(value, Mapping):
        return {str(key): json_ready(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [json_ready(one) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        return json_ready(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value) if isinstance(value, PurePath) else repr(value)
