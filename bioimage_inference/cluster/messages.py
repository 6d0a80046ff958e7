"""Messages between a Dask worker and its computing process: the length of each message precedes it.

Requests are pickles, because the worker writes them. Answers come from a process that ran a stranger's network, and
unpickling them would run that stranger's code in the worker. So answers are JSON, and their fields are read one by one.
"""

import base64
import json
import math
import struct
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import IO, Any

import numpy as np

from .. import errors
from ..array_types import Array
from ..errors import BioimageInferenceError, ModelError, in_our_words
from ..inference.statistics import Measure, Moments, Quantile, Statistic, Statistics
from ..provenance.record import from_json, to_json
from ..provenance.record_parts import ComputedOutput, NetworkRecord, SandboxRecord
from .work import ComputedBlock, MeasuredSamples

_LENGTH = struct.Struct("<Q")
# The longest answer that a worker reads. The record of a series with 100,000 frames has about 50 MB.
_LONGEST = 256 << 20
_ERRORS: Mapping[str, type[BioimageInferenceError]] = {
    name: one for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, BioimageInferenceError)
}


class UnreadableAnswerError(ModelError):
    """The answer of a computing process is not one that this program writes."""


def write_message(stream: IO[bytes], message: bytes) -> None:
    """Write a message. Raises :class:`BrokenPipeError` if the reader is gone."""
    stream.write(_LENGTH.pack(len(message)))
    stream.write(message)
    stream.flush()


def read_message(stream: IO[bytes], longest: int | None = None) -> bytes:
    """Return the next message. Raises :class:`EOFError` at the end of the stream."""
    (length,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    if longest is not None and length > longest:
        raise unreadable_answer()
    return _exactly(stream, length)


def _exactly(stream: IO[bytes], length: int) -> bytes:
    found = stream.read(length)
    if len(found) < length:
        raise EOFError
    return found


def encoded(result: MeasuredSamples | ComputedBlock | Mapping[str, Any] | None) -> bytes:
    """Return the result of a task as an answer."""
    match result:
        case MeasuredSamples():
            content: Any = {"measured": vars(result) | {"statistics": _list_of(result.statistics)}}
        case ComputedBlock():
            measured = [[*key, _list_of(statistics)] for key, statistics in result.measured.items()]
            content = {"computed": vars(result) | {"measured": measured}}
        case _:
            content = {"record": result}
    return _json(content)


def encoded_error(error: BaseException) -> bytes:
    """Return the error of a task as an answer, with its traceback for ``--debug``."""
    ours = in_our_words(error)
    trace = "".join(traceback.format_exception(error))
    name = next(one.__name__ for one in type(ours).__mro__ if one.__name__ in _ERRORS)
    return _json({"error": [name, str(ours), trace]})


def read_answer(stream: IO[bytes]) -> Any:
    """Return the result of a task. Raises the error of the task, :class:`EOFError` at the end of the stream, and
    :class:`UnreadableAnswerError` for an answer that this program did not write.
    """
    message = read_message(stream, _LONGEST)
    try:
        found = _decoded(json.loads(message))
    except Exception as error:  # whatever a stranger's network wrote
        raise unreadable_answer() from error
    if isinstance(found, BioimageInferenceError):
        raise found
    return found


def _decoded(content: Any) -> Any:
    ((kind, facts),) = content.items()
    match kind:
        case "measured":
            return MeasuredSamples(
                _statistics_of(facts["statistics"]),
                _texts(facts["notes"]),
                _numbers(facts["seconds"]),
                float(facts["cpu"]),
            )
        case "computed":
            return _computed(facts)
        case "record":
            return None if facts is None else dict(facts)
        case "error":
            name, text, trace = map(str, facts)
            error = _ERRORS[name](text)
            error.add_note(trace)
            return error
    raise ValueError(kind)


def _computed(facts: Mapping[str, Any]) -> ComputedBlock:
    return ComputedBlock(
        tiles=int(facts["tiles"]),
        seconds=_numbers(facts["seconds"]),
        notes=_texts(facts["notes"]),
        network=from_json(NetworkRecord, facts["network"]),
        outputs={name: from_json(ComputedOutput, one) for name, one in facts["outputs"].items()},
        measured={(str(name), int(step)): _statistics_of(one) for name, step, one in facts["measured"]},
        peak=int(facts["peak"]),
        cpu=float(facts["cpu"]),
        read=int(facts["read"]),
        written=int(facts["written"]),
        sandbox=from_json(SandboxRecord, facts["sandbox"]),
    )


def _list_of(statistics: Statistics) -> list[Any]:
    return [
        [type(one).__name__, vars(one), found.letters, list(map(_array_facts, found.values))]
        for one, found in statistics.items()
    ]


def _array_facts(array: Array) -> list[Any]:
    array = np.asarray(array)
    return [array.dtype.str, array.shape, base64.b64encode(array.tobytes()).decode("ascii")]


def _statistics_of(content: Sequence[Any]) -> Statistics:
    found: dict[Measure, Statistic] = {}
    for name, fields, letters, arrays in content:
        kind: type[Measure] = {"Moments": Moments, "Quantile": Quantile}[name]
        found[kind(**fields)] = Statistic(str(letters), tuple(_array(*facts) for facts in arrays))
    return found


def _array(dtype: str, shape: Sequence[int], values: str) -> Array:
    kind = np.dtype(dtype)
    if kind.kind not in "biuf":
        raise ValueError(dtype)
    return np.frombuffer(base64.b64decode(values), kind, math.prod(shape)).reshape(shape).copy()


def _texts(content: Any) -> tuple[str, ...]:
    return tuple(map(str, content))


def _numbers(content: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in content.items()}


def _json(content: Any) -> bytes:
    return json.dumps(content, default=_plain).encode()


def _plain(value: Any) -> Any:
    """Return a part of the record as a dictionary, and a number of NumPy as Python's own."""
    return to_json(value) if is_dataclass(value) else value.item()


def unreadable_answer() -> UnreadableAnswerError:
    """Return the error for an answer that this program did not write."""
    return UnreadableAnswerError(
        "The process that computes gave an answer that cannot be read. The network may have disturbed the process. "
        "Predict without --dask to see more."
    )
