"""The models and images that are measured: a 2-D and a 3-D U-Net with random weights, and images to run them on."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
import yaml


class UNet(torch.nn.Module):
    """Three levels of two convolutions; ``features`` channels at full resolution, in 2-D or 3-D."""

    def __init__(self, dimensions: int, features: int) -> None:
        super().__init__()
        conv = torch.nn.Conv2d if dimensions == 2 else torch.nn.Conv3d

        def double(inputs: int, outputs: int) -> torch.nn.Sequential:
            relu = torch.nn.ReLU(inplace=True)
            return torch.nn.Sequential(
                conv(inputs, outputs, 3, padding=1), relu, conv(outputs, outputs, 3, padding=1), relu
            )

        f = features
        self.down0, self.down1, self.bottom = double(1, f), double(f, 2 * f), double(2 * f, 4 * f)
        self.up1, self.up0, self.last = double(6 * f, 2 * f), double(3 * f, f), conv(f, 1, 1)
        self.pool: torch.nn.Module = torch.nn.MaxPool2d(2) if dimensions == 2 else torch.nn.MaxPool3d(2)
        self.grow = torch.nn.Upsample(scale_factor=2.0, mode="nearest")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From b1yx or b1zyx to the same shape."""
        a = self.down0(x)
        b = self.down1(self.pool(a))
        c = self.bottom(self.pool(b))
        b = self.up1(torch.cat([self.grow(c), b], 1))
        a = self.up0(torch.cat([self.grow(b), a], 1))
        return self.last(a)


def write_model(folder: Path, dimensions: int, halo: int = 16, features: int = 16) -> Path:
    """A package of format 0.5 with sizes in steps of 4, longer than both halos; returns its ``rdf.yaml``.

    Its weights take about ``1800 * features ** 2`` bytes in 2-D.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network = UNet(dimensions, features).eval()
    weights = folder / "weights.pt"
    torch.jit.script(network).save(str(weights))
    letters = "zyx"[3 - dimensions :]
    shortest = 2 * halo + 8
    size = [1, 1, *[shortest] * dimensions]
    test_input = torch.randn(size)
    normalised = (test_input - test_input.mean()) / (test_input.std(correction=0) + 1e-6)
    with torch.inference_mode():
        test_output = torch.sigmoid(network(normalised))
    for name, tensor in (("input", test_input), ("output", test_output)):
        np.save(folder / f"test_{name}.npy", tensor.numpy())
    (folder / "README.md").write_text(
        "# A network for measurements\n\n## Validation\n\nNone: its weights are random.\n"
    )
    axes: list[dict[str, Any]] = [{"type": "batch"}, {"type": "channel", "channel_names": ["intensity"]}]
    content = {
        "format_version": "0.5.4",
        "type": "model",
        "name": f"U-Net {dimensions}-D with random weights",
        "description": "For measurements of speed only.",
        "authors": [{"name": "bioimage_inference developers"}],
        "cite": [{"text": "U-Net", "doi": "10.1007/978-3-319-24574-4_28"}],
        "license": "MIT",
        "documentation": "README.md",
        "inputs": [
            {
                "id": "raw",
                "axes": axes + [{"type": "space", "id": a, "size": {"min": shortest, "step": 4}} for a in letters],
                "preprocessing": [{"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", *letters]}}],
                "test_tensor": {"source": "test_input.npy"},
            }
        ],
        "outputs": [
            {
                "id": "prediction",
                "axes": axes
                + [
                    {"type": "space", "id": a, "size": {"tensor_id": "raw", "axis_id": a}, "halo": halo}
                    for a in letters
                ],
                "postprocessing": [{"id": "sigmoid"}],
                "test_tensor": {"source": "test_output.npy"},
            }
        ],
        "weights": {
            "torchscript": {
                "source": weights.name,
                "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
                "pytorch_version": torch.__version__.split("+")[0],
            }
        },
    }
    path = folder / "rdf.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def write_image(path: Path, shape: tuple[int, ...], dtype: str = "uint8") -> Path:
    """Smooth random blobs with noise, written plane by plane as an uncompressed TIFF."""
    rng = np.random.default_rng(0)
    axes = "ZYX"[3 - len(shape) :]
    image = tifffile.memmap(path, shape=shape, dtype=dtype, metadata={"axes": axes}, bigtiff=True)
    coarse = rng.integers(0, 200, [-(-size // 16) for size in shape[-2:]])
    plane = np.kron(coarse, np.ones((16, 16), coarse.dtype))[: shape[-2], : shape[-1]]
    for index in np.ndindex(*shape[:-2]):
        image[index] = (plane + rng.integers(0, 50, plane.shape)).astype(dtype)
    image.flush()
    return path
