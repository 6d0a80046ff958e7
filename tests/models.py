"""Small models made on the spot: a network, its weights, and a description of format 0.5 or 0.4."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

FACTS: dict[str, Any] = {
    "type": "model",
    "name": "Small test model",
    "description": "A network for tests.",
    "authors": [{"name": "Somebody"}],
    "cite": [{"text": "A paper", "doi": "10.1234/abc"}],
    "license": "MIT",
    "documentation": "README.md",
    "tags": [],
    "timestamp": "2026-01-01T00:00:00+00:00",
}


class Blur(torch.nn.Module):
    """Each channel convolved with a fixed random kernel of this radius per axis, mirrored nowhere (zero padding)."""

    def __init__(self, radius: tuple[int, ...], outputs: int = 1, inputs: int = 1) -> None:
        super().__init__()
        conv = torch.nn.Conv2d if len(radius) == 2 else torch.nn.Conv3d
        generator = torch.Generator().manual_seed(0)
        self.conv = conv(inputs, outputs, [2 * r + 1 for r in radius], padding=list(radius))
        with torch.no_grad():
            for parameter in self.conv.parameters():
                parameter.copy_(torch.rand(parameter.shape, generator=generator) - 0.3)
                parameter /= parameter.numel()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class Pooled(torch.nn.Module):
    """Average pooling by 2 and back, then a blur: the grid of the pooling must not move from tile to tile."""

    def __init__(self, radius: tuple[int, ...]) -> None:
        super().__init__()
        self.blur = Blur(radius)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.nn.functional.avg_pool2d(x, 2)
        y = torch.nn.functional.interpolate(y, scale_factor=2.0, mode="nearest")
        return self.blur(y + 0.5 * x)


class Identity(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Scaled(torch.nn.Module):
    """Every pixel repeated (``up``) or every block averaged (``down``)."""

    def __init__(self, up: int = 1, down: int = 1) -> None:
        super().__init__()
        self.up, self.down = up, down

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.up > 1:
            return torch.nn.functional.interpolate(x, scale_factor=float(self.up), mode="nearest")
        return torch.nn.functional.avg_pool2d(x, self.down)


class Valid(torch.nn.Module):
    """A convolution without padding: the output is smaller by twice the radius."""

    def __init__(self, radius: int) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 1, 2 * radius + 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class Boxes(torch.nn.Module):
    """A box and a score for each pixel above a threshold."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        places = torch.nonzero(x[0] > 0.5)
        return torch.cat([places, places + 1], dim=1).float(), x[0][x[0] > 0.5]


def space(letter: str, size: Any, **more: Any) -> dict[str, Any]:
    return {"type": "space", "id": letter, "size": size, **more}


def channels(count: int, name: str = "channel") -> dict[str, Any]:
    return {"type": "channel", "channel_names": [f"{name}{number}" for number in range(count)]}


BATCH: dict[str, Any] = {"type": "batch"}


def reference(letter: str, tensor: str = "raw", offset: int = 0) -> dict[str, Any]:
    return {"tensor_id": tensor, "axis_id": letter, "offset": offset}


def simple_tensors(
    letters: str = "yx",
    size: Any = None,
    halo: int | dict[str, int] = 0,
    inputs: int = 1,
    outputs: int = 1,
    preprocessing: list[dict[str, Any]] | None = None,
    postprocessing: list[dict[str, Any]] | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """One input ``raw`` and one output ``out`` of the same size; ``size`` as in the description."""
    size = size or {"min": 16, "step": 4}
    halos = halo if isinstance(halo, dict) else dict.fromkeys(letters, halo)
    raw = {
        "id": "raw",
        "axes": [
            BATCH,
            channels(inputs),
            *(space(a, size[a] if "min" not in size and isinstance(size, dict) else size) for a in letters),
        ],
        "preprocessing": preprocessing or [],
    }
    out_axes = [space(a, reference(a), **({"halo": halos[a]} if halos.get(a) else {})) for a in letters]
    out = {"id": "out", "axes": [BATCH, channels(outputs, "out"), *out_axes], "postprocessing": postprocessing or []}
    return [raw], [out]


def write_model(
    folder: Path,
    network: torch.nn.Module,
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    test_shape: tuple[int, ...] | None = None,
    **more: Any,
) -> Path:
    """Write a package of format 0.5 with TorchScript weights and return its ``rdf.yaml``."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "weights.pt"
    torch.jit.script(network.eval()).save(str(weights))
    (folder / "README.md").write_text("# A model for tests\n\n## Validation\n\nNone.\n")
    for number, tensor in enumerate((*inputs, *outputs)):
        shape = test_shape or tuple(_smallest(axis) for axis in tensor["axes"])
        np.save(folder / f"test{number}.npy", np.zeros(shape, "float32"))
        tensor.setdefault("test_tensor", {"source": f"test{number}.npy"})
    content = {
        **FACTS,
        "format_version": "0.5.4",
        "inputs": inputs,
        "outputs": outputs,
        "weights": {
            "torchscript": {"source": weights.name, "sha256": sha256(weights), "pytorch_version": "2.6"},
        },
        **more,
    }
    path = folder / "rdf.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def _smallest(axis: dict[str, Any]) -> int:
    if axis["type"] == "channel":
        return len(axis["channel_names"])
    size = axis.get("size", 1)
    return size if isinstance(size, int) else size.get("min", 16)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def detector(folder: Path, steps: Sequence[dict[str, Any]] = ()) -> Path:
    """Write a model that returns boxes and scores of as many objects as it finds; ``steps`` are those of the scores."""
    objects = {"type": "index", "id": "object", "size": {}}
    sizes = [space(letter, {"min": 16, "step": 1}) for letter in "yx"]
    raw = {"id": "raw", "axes": [channels(1), *sizes]}
    boxes = {"id": "boxes", "axes": [objects, channels(4)]}
    scores = {"id": "scores", "axes": [objects], "postprocessing": list(steps)}
    return write_model(folder / "model", Boxes(), [raw], [boxes, scores])


def edit_description(rdf: Path, **values: Any) -> None:
    """Replace values at the top of a description."""
    rdf.write_text(yaml.safe_dump(yaml.safe_load(rdf.read_text()) | values, sort_keys=False))
