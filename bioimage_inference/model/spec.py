"""The facts of a model as frozen dataclasses: tensors, axes, sizes, operations, weights.

``description.py`` makes them from descriptions of all formats. This module opens no file, and imports the standard
library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

WeightsFormat = Literal["torchscript", "pytorch_state_dict", "onnx"]

# Names of the weights that run here. weights_order.py has the order in which they are tried.
USABLE_FORMATS: Mapping[str, WeightsFormat] = {
    "torchscript": "torchscript",
    "pytorch_script": "torchscript",  # the name up to format 0.3
    "pytorch_state_dict": "pytorch_state_dict",
    "onnx": "onnx",
}
WEIGHTS_TITLES: Mapping[str, str] = {
    "torchscript": "TorchScript",
    "pytorch_state_dict": "PyTorch state dict",
    "onnx": "ONNX",
}
"""The names of the formats in messages."""


@dataclass(frozen=True)
class FixedSize:
    """The axis has exactly this many pixels."""

    size: int

    def describe(self) -> str:
        """Return the size in words."""
        return f"exactly {self.size}"


@dataclass(frozen=True)
class StepSize:
    """Legal sizes are ``minimum + n * step`` for n = 0, 1, 2, …"""

    minimum: int
    step: int

    def describe(self) -> str:
        """Return the size in words."""
        return f"at least {self.minimum}" + (f" in steps of {self.step}" if self.step > 1 else "")


@dataclass(frozen=True)
class ReferencedSize:
    """``size = floor(size of tensor's axis * scale) + offset``, in pixels of this axis.

    ``scale`` is below 1 where the output is coarser than its reference. Spec 0.5 (``SizeReference``) has the scales
    of both axes, the reference's is divided by this axis's. Spec 0.4 (``ImplicitOutputShape``) has half the offset.
    """

    tensor: str
    axis: str
    scale: Fraction = Fraction(1)
    offset: int = 0

    def describe(self) -> str:
        """Return the size in words."""
        factor = "" if self.scale == 1 else f"{self.scale} of "
        return f"{factor}{self.tensor}'s {self.axis}" + (f" {self.offset:+d}" if self.offset else "")


@dataclass(frozen=True)
class FreeSize:
    """Any size within limits: batch axes, and output axes whose size depends on the data."""

    minimum: int = 1
    maximum: int | None = None

    def describe(self) -> str:
        """Return the size in words."""
        return "any number"


Size = FixedSize | StepSize | ReferencedSize | FreeSize


@dataclass(frozen=True)
class Axis:
    """One axis of a tensor.

    ``letter`` is one of ``b`` batch, ``i`` index, ``p`` index within another, ``t`` time, ``c`` channel, ``z``, ``y``,
    ``x``. ``halo`` (outputs only) is a number of pixels on each side. ``scale`` is the extent of a pixel in ``unit``.
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
    """One pre- or postprocessing step.

    ``kwargs["axes"]`` and ``kwargs["axis"]`` are axis letters. ``ensure_dtype`` with ``keep_floats`` converts integers
    and booleans only.
    """

    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Padding:
    """The padding beyond the image's border: ``mode`` as in :func:`numpy.pad`, ``value`` for ``constant``."""

    mode: Literal["constant", "edge", "reflect", "symmetric"] = "symmetric"
    value: float = 0.0


@dataclass(frozen=True)
class TensorSpec:
    """One input or output tensor.

    ``dtype`` is the declared type of the tensor before preprocessing or after postprocessing. ``operations`` are the
    pre- or postprocessing steps, in order. ``data_range`` is the declared (minimum, maximum), with ``None`` for an
    undeclared limit. ``listed`` is true where the description lists all possible values, as for classes.
    ``test_tensor`` names the file of the test tensor.
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
        """Return the letters of the axes, e.g. ``bcyx``."""
        return "".join(axis.letter for axis in self.axes)

    def axis(self, letter: str) -> Axis | None:
        """Return the axis with a letter, or ``None``."""
        return next((axis for axis in self.axes if axis.letter == letter), None)


@dataclass(frozen=True)
class Architecture:
    """The class or function that builds the network of a state dict when it is called with ``kwargs``.

    ``callable`` is its name in ``source`` (a Python file, with ``sha256`` where declared) or in ``import_from`` (a
    module of an installed library, e.g. ``monai.networks.nets``). One of the two is ``None``.
    """

    callable: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None
    sha256: str | None = None
    import_from: str | None = None


@dataclass(frozen=True)
class ExternalData:
    """The file with the tensors of an ONNX network, which the ONNX file names."""

    source: str
    sha256: str | None = None


@dataclass(frozen=True)
class WeightsEntry:
    """One entry of the weights that run here.

    ``source`` is a path in the package or an address. ``strict`` is true where the names in a state dict must be
    exactly the names of the network.
    """

    format: WeightsFormat
    source: str
    sha256: str | None = None
    architecture: Architecture | None = None
    pytorch_version: str | None = None
    strict: bool = True
    external_data: ExternalData | None = None


@dataclass(frozen=True)
class Citation:
    """One reference that the authors ask to cite."""

    text: str
    doi: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class ModelSpec:
    """The facts of a model that inference needs, and those that users should know.

    ``root`` is the folder that file names of the description are relative to. ``other_weights`` names the entries
    that do not run here (tensorflow, keras …). ``notes`` are remarks for the user on the description.
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
        """Return the input or output with an id. Raises :class:`KeyError` where there is none."""
        for tensor in (*self.inputs, *self.outputs):
            if tensor.id == tensor_id:
                return tensor
        raise KeyError(tensor_id)
