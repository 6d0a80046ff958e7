"""Makes the models and images of the documentation that need no training, in test-data.

    python scripts/gallery_models.py

Each network is a published formula. `stain-model.zip` separates stains (Ruifrok and Johnston 2001),
`denoising-model.zip` is non-local means (Buades, Coll and Morel 2005), `threshold-model.zip` is a local threshold
(Bradley and Roth 2007), which the tutorial for Galaxy compares with the demo model.
"""

import tempfile
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import tifffile
import torch
import yaml
from evaluate_demo_model import TEST_DATA
from gallery_images import (
    CAMERA_GAIN,
    CAMERA_OFFSET,
    EOSIN,
    HEMATOXYLIN,
    render_dim_filaments,
    render_tissue,
)
from numpy.typing import NDArray
from package_demo_model import update_hashes, validate, write_torchscript, write_zip
from synthetic_nuclei import PIXEL_SIZE_2D
from torch import Tensor, nn
from torch.nn import functional

_TEST_SIZE = 64
"""Pixels of a test image along y and x."""
_THIRD_STAIN = (0.27, 0.57, 0.78)
"""Absorbance of the stain (DAB) that completes the matrix; skimage.color.rgb2hed uses the same three stains."""
_SEARCH, _PATCH = 5, 2
"""Radii in pixels of the neighbours that are compared, and of the patches around them."""
_SURROUNDINGS, _GRAIN = 30, 1
"""Radii in pixels of the mean around a pixel, wider than a nucleus, and of the mean that removes the camera's noise."""


class StainSeparation(nn.Module):
    """Amount of hematoxylin and of eosin in each pixel (BCYX, 2 channels) of an RGB picture (BCYX, values 0 to 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.darkest = 1e-6
        self.scale = float(np.log(self.darkest))
        inverse = np.linalg.inv(np.array([HEMATOXYLIN, EOSIN, _THIRD_STAIN]))
        separation = torch.tensor(inverse.T[:2, :, None, None].copy(), dtype=torch.float32)
        self.separation = nn.Parameter(separation, requires_grad=False)

    def forward(self, picture: Tensor) -> Tensor:
        """Apply the Beer-Lambert law: absorbances of stains add up, so a matrix separates them."""
        absorbance = picture.clamp(min=self.darkest).log() / self.scale
        return functional.conv2d(absorbance, self.separation).clamp(min=0.0)


class NonLocalMeans(nn.Module):
    """Each pixel becomes the mean of the neighbours with similar patches (BCYX, one channel, camera counts)."""

    def __init__(self, offset: float, gain: float, strength: float = 0.8) -> None:
        super().__init__()
        self.offset, self.gain, self.strength = offset, gain, strength
        self.search, self.patch = _SEARCH, _PATCH

    def forward(self, counts: Tensor) -> Tensor:
        """Average where the noise has variance 1: after Anscombe's transform of the photons."""
        photons = (counts - self.offset) / self.gain
        values = 2.0 * (photons + 0.375).clamp(min=0.0).sqrt()
        around = functional.pad(values, [self.search] * 4, mode="reflect")
        height, width = values.shape[2], values.shape[3]
        total, weights = torch.zeros_like(values), torch.zeros_like(values)
        for down in range(2 * self.search + 1):
            for right in range(2 * self.search + 1):
                shifted = around[:, :, down : down + height, right : right + width]
                edges = functional.pad((values - shifted) ** 2, [self.patch] * 4, mode="reflect")
                distance = functional.avg_pool2d(edges, 2 * self.patch + 1, stride=1)
                weight = (-(distance - 2.0).clamp(min=0.0) / self.strength**2).exp()
                total = total + weight * shifted
                weights = weights + weight
        mean = total / weights
        return self.offset + self.gain * (mean * mean / 4.0 - 0.375)


class LocalThreshold(nn.Module):
    """Probability that a pixel is brighter than its surroundings (BCYX, one channel), 0.5 at 5 % above their mean."""

    def __init__(self, threshold: float = 1.05, softness: float = 0.05) -> None:
        super().__init__()
        self.threshold, self.softness = threshold, softness
        self.surroundings, self.grain = _SURROUNDINGS, _GRAIN

    def forward(self, counts: Tensor) -> Tensor:
        """Divide by the mean of the surroundings. Pixels beyond the border of the image do not count."""
        around, here = self.surroundings, self.grain
        mean = functional.avg_pool2d(counts, 2 * around + 1, stride=1, padding=around, count_include_pad=False)
        value = functional.avg_pool2d(counts, 2 * here + 1, stride=1, padding=here, count_include_pad=False)
        return ((value / mean - self.threshold) / self.softness).sigmoid()


def main() -> None:
    """Write the images and the packages of the models."""
    tissue, (filaments, _) = render_tissue(), render_dim_filaments()
    imageio.imwrite(TEST_DATA / "tissue.png", tissue, optimize=True)
    tifffile.imwrite(
        TEST_DATA / "dim_filaments.tif",
        filaments,
        imagej=True,
        resolution=(1 / PIXEL_SIZE_2D[1], 1 / PIXEL_SIZE_2D[0]),
        metadata={"axes": "YX", "unit": "um"},
        compression="zlib",
    )
    write_package(
        "stain-model",
        StainSeparation(),
        tissue[:_TEST_SIZE, :_TEST_SIZE].transpose(2, 0, 1),
        _description(
            name="Stain separation",
            description="Amounts of hematoxylin and eosin in a stained section. A formula, not a trained network.",
            cite={"text": "Ruifrok, Johnston. Quantification of histochemical staining by color deconvolution. 2001."}
            | {"doi": "10.1097/00129039-200108000-00017"},
            tags=["histology", "stain-separation", "2d"],
            inputs=("picture of a section, values 0 to 255", ["red", "green", "blue"]),
            outputs=("stains", "amount of each stain", ["hematoxylin", "eosin"], {}),
            preprocessing=[{"id": "scale_linear", "kwargs": {"gain": 1 / 255}}],
        ),
    )
    write_package(
        "denoising-model",
        NonLocalMeans(CAMERA_OFFSET, CAMERA_GAIN),
        filaments[None, :_TEST_SIZE, :_TEST_SIZE],
        _description(
            name="Non-local means",
            description=f"Removes the noise of a camera with offset {CAMERA_OFFSET:g} and {CAMERA_GAIN:g} counts per "
            "photon. A formula, not a trained network.",
            cite={"text": "Buades, Coll, Morel. A non-local algorithm for image denoising. CVPR 2005."}
            | {"doi": "10.1109/CVPR.2005.38"},
            tags=["denoising", "image-restoration", "fluorescence-light-microscopy", "2d"],
            inputs=("camera counts of one channel", ["counts"]),
            outputs=("denoised", "camera counts without noise", ["counts"], {"halo": _SEARCH + _PATCH}),
            preprocessing=[],
        ),
    )
    write_package(
        "threshold-model",
        LocalThreshold(),
        tifffile.imread(TEST_DATA / "nuclei.tif")[None, :_TEST_SIZE, :_TEST_SIZE],
        _description(
            name="Local threshold",
            description="Finds the pixels that are brighter than their surroundings. A formula, not a trained network.",
            cite={"text": "Bradley, Roth. Adaptive thresholding using the integral image. 2007."}
            | {"doi": "10.1080/2151237X.2007.10129236"},
            tags=["nuclei", "fluorescence-light-microscopy", "semantic-segmentation", "2d"],
            inputs=("bright objects on a dark background, about 0.3 µm per pixel", ["intensity"]),
            outputs=("objects", "probability to be brighter", ["foreground"], {"halo": _SURROUNDINGS + _GRAIN}),
            preprocessing=[],
        ),
    )


def write_package(name: str, network: nn.Module, image: NDArray[Any], description: dict[str, Any]) -> None:
    """Write the zip file of a model. `image` (CYX) is its test image, before preprocessing."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, name)
        folder.mkdir()
        write_torchscript(network.eval(), folder / "weights.pt")
        raw = torch.from_numpy(image.astype(np.float32))[None]
        gain = sum(step["kwargs"]["gain"] for step in description["inputs"][0]["preprocessing"]) or 1.0
        with torch.no_grad():
            output = network(raw * gain)
        np.save(folder / "test_input.npy", raw.numpy())
        np.save(folder / "test_output.npy", output.numpy())
        shown = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        imageio.imwrite(folder / "cover.png", (shown * (255.0 / shown.max())).astype(np.uint8).repeat(2, axis=1))
        (folder / "README.md").write_text(f"# {description['name']}\n\n{description['description']}\n")
        path = folder / "rdf.yaml"
        path.write_text(yaml.safe_dump(description, sort_keys=False, allow_unicode=True, width=120))
        update_hashes(path)
        validate(path)
        write_zip(folder, TEST_DATA / f"{name}.zip")


def _description(
    *,
    name: str,
    description: str,
    cite: dict[str, str],
    tags: list[str],
    inputs: tuple[str, list[str]],
    outputs: tuple[str, str, list[str], dict[str, int]],
    preprocessing: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return a description of format 0.5; `update_hashes` fills in the SHA-256 of the files."""
    meaning, channels = inputs
    output, output_meaning, output_channels, halo = outputs
    shortest = max(32, 2 * halo.get("halo", 0) + 2)  # the format asks for more than both halos

    def file(path: str) -> dict[str, str]:
        return {"source": path, "sha256": "0" * 64}

    return {
        "format_version": "0.5.12",
        "type": "model",
        "name": name,
        "description": description,
        "version": "1.0.0",
        "timestamp": "2026-11-29T00:00:00+00:00",
        "authors": [{"name": "bioimage_inference developers"}],
        "license": "MIT",
        "cite": [cite],
        "tags": tags,
        "documentation": file("README.md"),
        "covers": [file("cover.png")],
        "inputs": [
            {
                "id": "raw",
                "description": meaning,
                "data": {"type": "float32"},
                "axes": [
                    {"type": "batch"},
                    {"type": "channel", "channel_names": channels},
                    *({"type": "space", "id": letter, "size": {"min": shortest, "step": 1}} for letter in "yx"),
                ],
                "preprocessing": preprocessing,
                "test_tensor": file("test_input.npy"),
            }
        ],
        "outputs": [
            {
                "id": output,
                "description": output_meaning,
                "data": {"type": "float32"},
                "axes": [
                    {"type": "batch"},
                    {"type": "channel", "channel_names": output_channels},
                    *(
                        {"type": "space", "id": letter, "size": {"tensor_id": "raw", "axis_id": letter}} | halo
                        for letter in "yx"
                    ),
                ],
                "test_tensor": file("test_output.npy"),
            }
        ],
        "weights": {"torchscript": file("weights.pt") | {"pytorch_version": torch.__version__.partition("+")[0]}},
    }


if __name__ == "__main__":
    main()
