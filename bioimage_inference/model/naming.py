"""From the axes of format 0.5, which have a type and any name, to letters."""

from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import ModelError
from ..image.axes import SPACE, letter_of
from .spec import TensorSpec


def axis_letters(described: Sequence[Any], tensor_id: str, inputs: Sequence[TensorSpec] = ()) -> dict[str, str]:
    """From axis ids to letters; ``inputs`` are given for outputs only.

    Entries of a list are ``i``, those of a list of lists ``p``. A space axis has the letter of its name, else of the
    input axis that it follows. Where both say nothing, the axes of an input are z, y, x counted from the last, and
    those of an output are lists: a detector's boxes, say. Raises :class:`ModelError` where letters run out.
    """
    letters: dict[str, str] = {}
    for axis in described:
        own = str(axis.id)
        letter = letter_of(axis.type, "bct")
        if axis.type == "space":
            letter = letter_of(own, SPACE) or _followed(axis, inputs)
        if letter is not None and letter not in letters.values():
            letters[own] = letter
    unnamed = [axis for axis in described if str(axis.id) not in letters]
    directions = [axis for axis in unnamed if axis.type == "space" and not inputs]
    _give([axis for axis in unnamed if axis.type == "index"], "ip", letters, tensor_id)
    _give(reversed(directions), SPACE[::-1], letters, tensor_id)
    _give([axis for axis in unnamed if axis.type == "space" and inputs], "icp", letters, tensor_id)
    twice = next((axis for axis in described if str(axis.id) not in letters), None)
    if twice is not None:
        raise ModelError(f"Tensor {tensor_id!r} has more than one axis of type {twice.type}; that is not supported.")
    return letters


def is_list(axis: Any, letter: str) -> bool:
    """Whether an axis that is declared as a direction in space is a list."""
    return axis.type == "space" and letter not in SPACE


def _followed(axis: Any, inputs: Sequence[TensorSpec]) -> str | None:
    """The letter of the input axis whose size, or else whose name, an output axis has."""
    tensor_id, axis_id = getattr(axis.size, "tensor_id", None), getattr(axis.size, "axis_id", axis.id)
    for tensor in inputs:
        for other in tensor.axes:
            if other.id == str(axis_id) and tensor_id in (None, tensor.id) and other.letter in SPACE:
                return other.letter
    return None


def _give(axes: Iterable[Any], spare: str, letters: dict[str, str], tensor_id: str) -> None:
    left = [letter for letter in spare if letter not in letters.values()]
    for axis in axes:
        if not left:
            raise ModelError(f"Tensor {tensor_id!r} has too many axes of type {axis.type}; that is not supported.")
        letters[str(axis.id)] = left.pop(0)
