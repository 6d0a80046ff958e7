"""The peers, each as somebody would run it: one process that reads a model and a TIFF and writes the prediction.

    python benchmarks/peers.py core|monai|loop|whole MODEL IMAGE OUT.npy [--tile 512x512]

Every one prints a line of JSON: seconds in the network, and pixels computed over pixels kept. A GPU is used where
torch sees one.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import yaml

Array = np.ndarray[Any, Any]


class Timed:
    """Wraps a network: seconds inside it, pixels that it computed."""

    def __init__(self, network: Any) -> None:
        import torch

        self.network, self.seconds, self.pixels = network, 0.0, 0
        # a GPU goes on computing when the call has returned
        self.wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None

    def __call__(self, *tensors: Any) -> Any:
        """Compute and count."""
        start = time.perf_counter()
        result = self.network(*tensors)
        self.wait()
        self.seconds += time.perf_counter() - start
        last = tensors[-1]  # the reference's adapter takes device, model and a list of arrays
        self.pixels += prod((last[0] if isinstance(last, list | tuple) else last).shape)
        return result


def core(model: Path, image: Array, tile: tuple[int, ...]) -> tuple[Array, float, float]:
    """bioimageio.core, with blocks of a given shape."""
    from bioimageio.core import create_prediction_pipeline
    from bioimageio.core.digest_spec import create_sample_for_model
    from bioimageio.spec import load_model_description

    description = load_model_description(model, perform_io_checks=False)
    tensor, output = description.inputs[0], description.outputs[0]
    with create_prediction_pipeline(description) as pipeline:
        adapter = pipeline._adapter
        timed = Timed(adapter._forward_impl)
        adapter._forward_impl = timed
        sample = create_sample_for_model(description, inputs={tensor.id: image[None, None]}, sample_id="image")
        axes = [axis.id for axis in tensor.axes[2:]]
        shape = {tensor.id: {axis.id: 1 for axis in tensor.axes[:2]} | dict(zip(axes, tile, strict=True))}
        result = pipeline.predict_sample_with_fixed_blocking(sample, shape)
    return result.members[output.id].data.to_numpy(), timed.seconds, timed.pixels / image.size


def _normalised(image: Array) -> Array:
    return ((image - image.mean()) / (image.std() + 1e-6)).astype("float32")


def monai(model: Path, image: Array, tile: tuple[int, ...]) -> tuple[Array, float, float]:
    """MONAI's sliding window with constant blending, tiles overlapping by twice the halo."""
    import torch
    from monai.inferers import sliding_window_inference

    network, device = _loaded(model)
    overlap = [2 * _halo(model) / size for size in tile]
    with torch.inference_mode():
        tensor = torch.from_numpy(_normalised(image))[None, None].to(device)
        result = torch.sigmoid(sliding_window_inference(tensor, tile, 1, network, overlap=overlap, mode="constant"))
    return result.cpu().numpy(), network.seconds, network.pixels / image.size


def loop(model: Path, image: Array, tile: tuple[int, ...]) -> tuple[Array, float, float]:
    """A plain loop over tiles with a halo, as people write it."""
    import torch

    network, device = _loaded(model)
    halo, normalised = _halo(model), _normalised(image)
    result = np.zeros((1, 1, *image.shape), "float32")
    starts = [_starts(size, length, halo) for size, length in zip(image.shape, tile, strict=True)]
    with torch.inference_mode():
        for corner in np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, len(tile)):
            outer = tuple(slice(start, start + length) for start, length in zip(corner, tile, strict=True))
            tensor = torch.from_numpy(normalised[outer].copy())[None, None].to(device)
            block = torch.sigmoid(network(tensor)).cpu().numpy()[0, 0]
            inner = [
                (halo if start else 0, length - (halo if start + length < size else 0))
                for start, length, size in zip(corner, tile, image.shape, strict=True)
            ]
            to = tuple(slice(start + a, start + b) for start, (a, b) in zip(corner, inner, strict=True))
            result[0, 0][to] = block[tuple(slice(*part) for part in inner)]
    return result, network.seconds, network.pixels / image.size


def _starts(size: int, length: int, halo: int) -> list[int]:
    return sorted({min(start, max(0, size - length)) for start in range(0, max(1, size - 2 * halo), length - 2 * halo)})


def whole(model: Path, image: Array, tile: tuple[int, ...]) -> tuple[Array, float, float]:
    """The whole image in one call."""
    import torch

    del tile
    network, device = _loaded(model)
    with torch.inference_mode():
        result = torch.sigmoid(network(torch.from_numpy(_normalised(image))[None, None].to(device)))
    return result.cpu().numpy(), network.seconds, network.pixels / image.size


def _loaded(model: Path) -> tuple[Timed, str]:
    """The network as it is shipped, and the device that it is on."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Timed(torch.jit.load(str(weights_of(model)), map_location=device).eval()), device


def weights_of(model: Path) -> Path:
    """Return the TorchScript weights that a description names."""
    return model.parent / str(yaml.safe_load(model.read_text())["weights"]["torchscript"]["source"])


def _halo(model: Path) -> int:
    return int(yaml.safe_load(model.read_text())["outputs"][0]["axes"][-1].get("halo", 0))


PEERS: dict[str, Callable[[Path, Array, tuple[int, ...]], tuple[Array, float, float]]] = {
    "core": core,
    "monai": monai,
    "loop": loop,
    "whole": whole,
}


def main() -> None:
    """Run one peer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("model", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tile", default="512x512")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    tile = tuple(map(int, arguments.tile.split("x")))
    result, seconds, computed = PEERS[arguments.peer](arguments.model, tifffile.imread(arguments.image), tile)
    tifffile.imwrite(arguments.out.with_suffix(".tif"), result[0], photometric="minisblack")
    np.save(arguments.out, result)
    print(json.dumps({"network": seconds, "computed": computed}))


if __name__ == "__main__":
    main()
