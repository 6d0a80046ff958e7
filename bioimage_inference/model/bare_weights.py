"""Weights without any description: what the user says about them, as a :class:`ModelSpec`."""

from pathlib import Path

from ..errors import UsageError
from ..image.axes import axis_id
from .spec import Axis, FixedSize, FreeSize, ModelSpec, Operation, ReferencedSize, TensorSpec, WeightsEntry


def sizes_from_text(text: str) -> dict[str, int]:
    """Sizes in the order x,y,z,c, for instance ``256,256,1,1``. Raises :class:`UsageError` where it is no such list."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4 or not all(part.isdecimal() and int(part) for part in parts):
        raise UsageError(
            f"--model-size {text!r} is not understood. Give four whole numbers for x, y, z and channels, for instance "
            "256,256,1,1 for a 2-D model with one channel."
        )
    return dict(zip("xyzc", map(int, parts), strict=True))


def bare_spec(weights: Path, axes: str | None, size: str | None) -> ModelSpec:
    """Describe TorchScript weights by the axes and size of their input; nothing is normalised.

    Raises :class:`UsageError` where the user did not say enough.
    """
    if axes is None or size is None:
        raise UsageError(
            f"{weights.name} is a weights file without a description, so its axes, size and normalisation are unknown. "
            "Best give the model's complete package or, with --description, its rdf.yaml. Else say what the network "
            "takes, for instance --model-axes bcyx --model-size 256,256,1,1 (x, y, z, channels)."
        )
    letters, sizes = axes.lower(), sizes_from_text(size)
    if sorted(letters) not in (sorted("bcyx"), sorted("bczyx")):
        raise UsageError(f"--model-axes {axes!r} is not understood; use bcyx for 2-D or bczyx for 3-D networks.")
    if "z" not in letters and sizes["z"] != 1:
        raise UsageError(f"--model-size {size} gives {sizes['z']} planes in z, but --model-axes {axes} has no z axis.")
    inputs = tuple(
        Axis(
            axis_id(letter),
            letter,
            FreeSize() if letter == "b" else FixedSize(sizes[letter]),
        )
        for letter in letters
    )
    outputs = tuple(
        Axis(axis.id, axis.letter, FreeSize() if axis.letter in "bc" else ReferencedSize("input", axis.id))
        for axis in inputs
    )
    return ModelSpec(
        name=weights.name,
        inputs=(TensorSpec("input", inputs, operations=(Operation("ensure_dtype", {"dtype": "float32"}),)),),
        outputs=(TensorSpec("output", outputs),),
        weights=(WeightsEntry("torchscript", weights.name),),
        root=weights.parent,
        notes=(
            "The weights came without a description: values are handed to the network as they are, neither normalised "
            "nor postprocessed. With the model's package or rdf.yaml (--description) that is done as its authors did.",
        ),
    )
