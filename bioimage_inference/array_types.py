"""Types of arrays, indices and regions that all rooms share."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
# Position of a sample along the iterated axes, in their order.
Index = tuple[int, ...]
# Half-open range (start, stop) in pixels for each axis letter.
Spans = Mapping[str, tuple[int, int]]
