"""One processing operation as a value: what it measures, computes and needs, and how it is put in words."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...array_types import Array
from ...model.spec import Operation
from ...model.trust import TrustPolicy
from ..statistics import Measure

Kwargs = Mapping[str, Any]

EPS = 1e-6
"""Default of the argument ``eps``, which keeps divisors above 0 (formats 0.4 and 0.5)."""


@dataclass(frozen=True)
class Context:
    """Facts for one application of an operation to an array, which is a tile of ``tensor`` or all of it.

    Attributes
    ----------
    letters
        Axes of the array.
    kwargs
        Arguments in the description. Lists along ``axis`` hold the values for the pixels of the array only.
    values
        Values of the operation's measures, in the order of the measures. They broadcast with the array.
    is_last
        Whether no later step changes the values.
    """

    tensor: str
    letters: str
    kwargs: Kwargs
    values: Sequence[Sequence[Array]] = ()
    is_last: bool = False

    def along_axis(self, name: str, default: float = 0.0) -> Array:
        """Return an argument, a number or a list of numbers along ``axis``, in float64 and ready to broadcast."""
        array = np.atleast_1d(np.asarray(self.kwargs.get(name, default), dtype=np.float64))
        axis = self.kwargs.get("axis")
        if axis is None or array.size == 1:
            return array.reshape(())
        return array.reshape([-1 if letter == axis else 1 for letter in self.letters])


@dataclass(frozen=True)
class ProcessingOperation:
    """An operation that descriptions can name as a step of pre- or postprocessing.

    Attributes
    ----------
    name
        Its ``id`` in format 0.5. Names of other formats are translated when a description is read.
    apply
        Returns the processed array.
    in_words
        Given the arguments, returns a phrase for users on what happens to the values. Empty if users need not know.
    measures
        Given the arguments and the id of the step's tensor, returns the statistics that the operation needs.
    needs_sample
        Given the arguments and the letters of the axes that tiles cut, returns whether a tile alone is not enough.
    is_continuous
        Given the arguments, returns whether a small change of the values gives a small change of the result.
    scaling
        How it brings intensities to a common scale: by fixed numbers, by statistics of the image, or not at all.
    trap
        Given the arguments and the id of the input, warns of images that the step is not made for.
    needs_floats
        Whether integers become floating point before :attr:`apply`.
    package
        A package that the operation needs and that this program does not install.
    load
        Loads code that the model brings, under the rules of trust, and returns the step with it.
    """

    name: str
    apply: Callable[[Array, Context], Array]
    in_words: Callable[[Kwargs], str]
    measures: Callable[[Kwargs, str], tuple[Measure, ...]] = lambda *_: ()
    needs_sample: Callable[[Kwargs, Container[str]], bool] = lambda *_: False
    is_continuous: Callable[[Kwargs], bool] = lambda _: True
    scaling: Literal["fixed", "measured", "none"] = "none"
    trap: Callable[[Kwargs, str], str | None] = lambda *_: None
    needs_floats: bool = True
    package: str | None = None
    load: Callable[[Operation, Path, TrustPolicy], Operation] = lambda step, *_: step


def numbers_in_words(values: Any) -> str:
    """Return one number, or the numbers of all channels; equal numbers only once."""
    numbers: list[Any] = list(values) if isinstance(values, list | tuple) else [values]
    shown = [f"{float(number):.4g}" for number in numbers]
    return shown[0] if len(set(shown)) == 1 else ", ".join(shown)
