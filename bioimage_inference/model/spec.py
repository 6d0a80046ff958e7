"""What a model description says, as frozen facts: tensors, axes, sizes, operations, weights.

Formats 0.4 and 0.5 are both brought into this one form (see ``description.py``). Nothing in here opens a file
or imports more than the standard library.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

WeightsFormat = Literal["torchscript", "pytorch_state_dict"]

# Names of weights that PyTorch loads, in the order in which they are tried: TorchScript brings no code of its own.
PYTORCH_FORMATS: Mapping[str, WeightsFormat] = {
    "torchscript": "torchscript",
    "pytorch_script": "torchscript",  # the name up to format 0.3
    "pytorch_state_dict": "pytorch_state_dict",
}


@dataclass(frozen=True)
class FixedSize:
    """The axis has exactly this many pixels."""

    size: int

    def describe(self) -> str:
        """In words, for the user."""
        return f"exactly {self.size}"


@dataclass(frozen=True)
class StepSize:
    """Legal sizes are ``minimum + n * step`` for n = 0, 1, 2, …"""

    minimum: int
    step: int

    def describe(self) -> str:
        """In words, for the user."""
        return f"at least {self.minimum}" + (f" in steps of {self.step}" if self.step > 1 else "")


@dataclass(frozen=True)
class ReferencedSize:
    """``size = floor(size of tensor's axis * scale) + offset``, in pixels of this axis.

    ``scale`` is below 1 where the output is coarser than its reference (spec 0.5, ``SizeReference``:
    scale of the reference's pixels over this axis's; 0.4, ``ImplicitOutputShape``: offset is doubled there).
    """

    tensor: str
    axis: str
    scale: Fraction = Fraction(1)
    offset: int = 0

    def describe(self) -> str:
        """In words, for the user."""
        factor = "" if self.scale == 1 else f"{self.scale} of "
        return f"{factor}{self.tensor}'s {self.axis}" + (f" {self.offset:+d}" if self.offset else "")


@dataclass(frozen=True)
class FreeSize:
    """Any size: batch axes, and output axes whose size only the data tell."""

    minimum: int = 1
    maximum: int | None = None

    def describe(self) -> str:
        """In words, for the user."""
        return "any number"


Size = FixedSize | StepSize | ReferencedSize | FreeSize


@dataclass(frozen=True)
class Axis:
    """One axis of a tensor.

    ``letter`` is one of ``b`` batch, ``i`` index, ``p`` index within another, ``t`` time, ``c`` channel, ``z``, ``y``,
    ``x``; ``halo`` (outputs only) counts pixels of this axis on each side; ``scale`` is the extent of a pixel in
    ``unit``.
    """

    id: str
    letter: str
    size: Size
    halo: int = 0
    scale: float = 1.0
    unit: str | None = None
    channel_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Operation:
    """One pre- or postprocessing step; ``kwargs["axes"]`` and ``kwargs["axis"]``, where present, are axis letters.

    ``ensure_dtype`` with ``keep_floats`` converts whole numbers and booleans only.
    """

    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Padding:
    """What fills pixels beyond the image's border: ``mode`` as in :func:`numpy.pad`, ``value`` for ``constant``."""

    mode: Literal["constant", "edge", "reflect", "symmetric"] = "symmetric"
    value: float = 0.0


@dataclass(frozen=True)
class TensorSpec:
    """One input or output tensor; ``operations`` are its pre- or postprocessing, in order.

    ``dtype`` is what the description declares for the tensor outside of the processing; ``data_range`` the
    declared (minimum, maximum), ``None`` where it says nothing; ``listed`` is whether it lists all values that there
    are, as for classes. ``test_tensor`` names the file of the test tensor.
    """

    id: str
    axes: tuple[Axis, ...]
    dtype: str = "float32"
    operations: tuple[Operation, ...] = ()
    optional: bool = False
    padding: Padding = Padding()
    data_range: tuple[float | None, float | None] = (None, None)
    listed: bool = False
    test_tensor: str | None = None
    description: str = ""

    @property
    def letters(self) -> str:
        """The axes as one string, e.g. ``bcyx``."""
        return "".join(axis.letter for axis in self.axes)

    def axis(self, letter: str) -> Axis | None:
        """The axis of that letter, or ``None``."""
        return next((axis for axis in self.axes if axis.letter == letter), None)


@dataclass(frozen=True)
class Architecture:
    """Where the class or function that builds a state dict's network comes from.

    Either ``source`` (a Python file, with ``sha256`` where declared) or ``import_from`` (a dotted module of an
    installed library) is set; ``callable`` is called with ``kwargs``.
    """

    callable: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None
    sha256: str | None = None
    import_from: str | None = None


@dataclass(frozen=True)
class WeightsEntry:
    """One entry of the weights that PyTorch can load; ``source`` is a path in the package or an address.

    ``strict`` is whether the names in a state dict must be exactly those of the network.
    """

    format: WeightsFormat
    source: str
    sha256: str | None = None
    architecture: Architecture | None = None
    pytorch_version: str | None = None
    strict: bool = True


@dataclass(frozen=True)
class Citation:
    """One reference that the authors ask to cite."""

    text: str
    doi: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class ModelSpec:
    """All that inference needs to know of a model, and what its users should know.

    ``root`` is the folder that file names of the description are relative to. ``other_weights`` names the entries
    that PyTorch cannot load (onnx, tensorflow …). ``notes`` are remarks for the user that arose while reading.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weights: tuple[WeightsEntry, ...]
    root: Path
    id: str | None = None
    version: str | None = None
    format_version: str = ""
    description: str = ""
    licence: str | None = None
    authors: tuple[str, ...] = ()
    citations: tuple[Citation, ...] = ()
    tags: tuple[str, ...] = ()
    documentation: str | None = None
    other_weights: tuple[str, ...] = ()
    sha256: str | None = None
    notes: tuple[str, ...] = ()

    def tensor(self, tensor_id: str) -> TensorSpec:
        """The input or output of that id; raises :class:`KeyError` where there is none."""
        for tensor in (*self.inputs, *self.outputs):
            if tensor.id == tensor_id:
                return tensor
        raise KeyError(tensor_id)
