"""Makes the small files of the Galaxy tests: images, models, and the predictions that are expected of them.

    python tools/make_test_data.py

Large files are links to ../test-data. What is expected is computed here by PyTorch and NumPy alone, so that the tests
compare the program with something else than itself.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image

from bioimage_inference.api import Target, predict, segment

HERE = Path(__file__).parent
SOURCE = HERE.parent / "test-data"
TARGET = HERE / "bioimage_inference" / "test-data"
LINKS = (
    "demo-model.zip",
    "demo-model-3d.zip",
    "demo-model/rdf.yaml",
    "demo-model/sample_input.png",
    "demo-model/weights.pt",
    "threshold-model.zip",
    "nuclei.tif",
    "nuclei.png",
    "nuclei_3d.tif",
    "nuclei_timeseries.tif",
)
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
COMPRESSED: dict[str, Any] = {"compression": "zlib", "photometric": "minisblack"}

Array = NDArray[np.float32]


class TwoOutputs(torch.nn.Module):
    """The image and its negative, as two outputs."""

    def forward(self, raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the shape of the input."""
        return raw, -raw


class Masked(torch.nn.Module):
    """Two inputs: the image where the mask is."""

    def forward(self, raw: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Of the shape of the inputs."""
        return raw * mask


class Spots(torch.nn.Module):
    """The place and the value of every pixel that is brighter than any of an 8-bit image."""

    def forward(self, raw: torch.Tensor) -> torch.Tensor:
        """Of the shape (number of spots, 3)."""
        bright = raw[0, 0] > 255.0
        return torch.cat([torch.nonzero(bright).float(), raw[0, 0][bright].unsqueeze(1)], dim=1)


def main() -> None:
    """Write everything."""
    TARGET.mkdir(exist_ok=True)
    for name in LINKS:
        link = TARGET / Path(name).name
        link.unlink(missing_ok=True)
        link.symlink_to(Path("../../../test-data") / name)
    write_images()
    write_models()
    write_expected()
    write_predictions()


def write_images() -> None:
    """Small images of further kinds, and what is no image."""
    sample = np.asarray(Image.open(SOURCE / "demo-model" / "sample_input.png"))
    whole = np.asarray(Image.open(SOURCE / "nuclei.png"))
    Image.fromarray(whole[:256, :256]).save(TARGET / "nuclei_256.png")
    Image.fromarray(sample).save(TARGET / "sample.jpg", quality=95)
    Image.fromarray(np.stack([sample // 2, sample // 3, sample], axis=-1)).save(TARGET / "colour.png")
    np.save(TARGET / "sample.npy", sample)
    np.save(TARGET / "mask.npy", np.ones_like(sample))
    channels = np.stack([np.zeros_like(sample), sample])
    metadata: dict[str, Any] = {
        "axes": "CYX",
        "PhysicalSizeX": 0.5,
        "PhysicalSizeY": 0.5,
        "Channel": {"Name": ["empty", "DNA"]},
    }
    tifffile.imwrite(TARGET / "channels.ome.tif", channels, ome=True, metadata=metadata, compression="zlib")
    write_zarr("sample.ome.zarr", sample.shape, {"0/c/0/0": sample.tobytes()})
    # A single piece that takes more memory than a job has; its pixels are never read.
    write_zarr("huge_chunk.ome.zarr", (45_000, 45_000), {"0/c/0/0": b"\0"})
    write_plate("plate.ome.zarr", {"A/1": sample[::-1], "B/3": sample})
    with tifffile.TiffWriter(TARGET / "series.ome.tif", ome=True) as series:
        for name, pixels in {"left": sample[:, ::-1], "right": sample}.items():
            series.write(pixels, metadata={"axes": "YX", "Name": name}, compression="zlib", subifds=1)
            series.write(pixels[::2, ::2], compression="zlib", subfiletype=1)
    (TARGET / "no_image.tif").write_text("Plate 7, well B3: the file was lost.\n")


def write_zarr(name: str, shape: tuple[int, ...], chunks: Mapping[str, bytes]) -> None:
    """An image of a single chunk as OME-Zarr (0.5) in a zip file."""
    files = zarr_image([shape]) | chunks
    write_zip(TARGET / f"{name}.zip", {f"{name}/{file}": content for file, content in files.items()})


def write_plate(name: str, wells: Mapping[str, NDArray[np.uint8]]) -> None:
    """A plate as OME-Zarr (0.5) in a zip file. Each well has one field, in two levels."""
    rows, columns = (list(dict.fromkeys(part)) for part in zip(*(well.split("/") for well in wells), strict=True))
    places = [
        {"path": well, "rowIndex": rows.index(well.split("/")[0]), "columnIndex": columns.index(well.split("/")[1])}
        for well in wells
    ]
    named = {"rows": [{"name": one} for one in rows], "columns": [{"name": one} for one in columns], "wells": places}
    files = zarr_group({"plate": {"name": "plate", "field_count": 1, **named}})
    for well, pixels in wells.items():
        levels = [pixels, pixels[::2, ::2]]
        parts = zarr_group({"well": {"images": [{"path": "0"}]}})
        parts |= {f"0/{file}": content for file, content in zarr_image([one.shape for one in levels]).items()}
        parts |= {f"0/{level}/c/0/0": one.tobytes() for level, one in enumerate(levels)}
        files |= {f"{well}/{file}": content for file, content in parts.items()}
    write_zip(TARGET / f"{name}.zip", {f"{name}/{file}": content for file, content in files.items()})


def zarr_group(ome: Mapping[str, Any]) -> dict[str, bytes]:
    """The file of a group of zarr 3 with metadata of OME-Zarr 0.5."""
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5", **ome}}}
    return {"zarr.json": json.dumps(group).encode()}


def zarr_image(shapes: Sequence[tuple[int, ...]]) -> dict[str, bytes]:
    """The metadata of an image whose levels have these shapes and a single chunk each."""
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    scales = [[{"type": "scale", "scale": [0.5 * 2**level] * 2}] for level in range(len(shapes))]
    datasets = [{"path": str(level), "coordinateTransformations": scale} for level, scale in enumerate(scales)]
    files = zarr_group({"multiscales": [{"axes": axes, "datasets": datasets}]})
    for level, shape in enumerate(shapes):
        array = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": shape,
            "data_type": "uint8",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
            "chunk_key_encoding": {"name": "default"},
            "codecs": [{"name": "bytes"}],
            "fill_value": 0,
        }
        files[f"{level}/zarr.json"] = json.dumps(array).encode()
    return files


def write_models() -> None:
    """Packages with several outputs, several inputs, a table of objects, code, and without PyTorch weights."""
    raw = tensor("raw")
    same, negative, masked = (tensor(name, like="raw") for name in ("same", "negative", "masked"))
    write_package("two_outputs.zip", TwoOutputs(), [raw], [same, negative])
    write_package("two_inputs.zip", Masked(), [raw, tensor("mask", like="raw")], [masked])
    columns = {"type": "channel", "channel_names": ["y", "x", "value"]}
    spots = {"id": "spots", "axes": [{"type": "index", "id": "object", "size": {}}, columns]}
    write_package("spots.zip", Spots(), [raw], [spots])
    write_package("tensorflow.zip", None, [raw], [same])
    write_package("with_code.zip", torch.nn.Identity(), [raw], [same], code=b"from torch.nn import Identity as Net\n")


def tensor(name: str, like: str | None = None) -> dict[str, Any]:
    """A tensor of one channel: as large as another one, or of any size."""
    sizes = {axis: {"tensor_id": like, "axis_id": axis} if like else {"min": 16, "step": 1} for axis in "yx"}
    axes = [{"type": "batch"}, {"type": "channel", "channel_names": ["intensity"]}]
    return {"id": name, "axes": axes + [{"type": "space", "id": axis, "size": sizes[axis]} for axis in "yx"]}


def write_package(
    name: str, network: torch.nn.Module | None, inputs: list[Any], outputs: list[Any], code: bytes | None = None
) -> None:
    """A package of format 0.5; without a network with TensorFlow weights only, with code with a state dict."""
    files: dict[str, bytes] = {"README.md": b"# A model for tests\n\n## Validation\n\nNone.\n"}
    test = io.BytesIO()
    np.save(test, np.zeros((1, 1, 16, 16), "float32"))
    files["test.npy"] = test.getvalue()
    if network is None:
        files["weights.zip"] = b"PK\x05\x06" + bytes(18)
        weights = {"tensorflow_saved_model_bundle": entry("weights.zip", files) | {"tensorflow_version": "2.15"}}
    elif code is not None:
        state = io.BytesIO()
        torch.save(network.state_dict(), state)
        files |= {"weights.pt": state.getvalue(), "network.py": code}
        architecture = entry("network.py", files) | {"callable": "Net", "kwargs": {}}
        versions = {"pytorch_version": "2.13.0", "architecture": architecture}
        weights = {"pytorch_state_dict": entry("weights.pt", files) | versions}
    else:
        files["weights.pt"] = torchscript(network)
        weights = {"torchscript": entry("weights.pt", files) | {"pytorch_version": "2.13.0"}}
    description = {
        "format_version": "0.5.4",
        "type": "model",
        "name": f"Test model {Path(name).stem.replace('_', ' ')}",
        "description": "A model for tests.",
        "authors": [{"name": "bioimage_inference developers"}],
        "cite": [{"text": "A paper", "url": "https://bioimage.io"}],
        "license": "MIT",
        "documentation": "README.md",
        "timestamp": "2026-11-21T00:00:00+00:00",
        "inputs": [one | {"test_tensor": entry("test.npy", files)} for one in inputs],
        "outputs": [one | {"test_tensor": entry("test.npy", files)} for one in outputs],
        "weights": weights,
    }
    write_zip(TARGET / name, {"rdf.yaml": yaml.safe_dump(description, sort_keys=False).encode()} | files)


def entry(name: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    """A file of the package with its checksum."""
    return {"source": name, "sha256": hashlib.sha256(files[name]).hexdigest()}


def torchscript(network: torch.nn.Module) -> bytes:
    """The network as TorchScript, the same bytes on every machine."""
    saved, stripped = io.BytesIO(), io.BytesIO()
    torch.jit.save(torch.jit.script(network), saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(stripped, "w") as target:
        for one in source.infolist():
            if not one.filename.endswith(".debug_pkl"):
                target.writestr(zipfile.ZipInfo(one.filename, ZIP_TIME), source.read(one))
    return stripped.getvalue()


def write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    """A zip file that is the same whenever it is made."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, ZIP_TIME), content)


def write_expected() -> None:
    """What the demo model must give: with normalisation and sigmoid as described, and its bare network."""
    network = torch.jit.load(SOURCE / "demo-model" / "weights.pt")
    sample = np.asarray(Image.open(SOURCE / "demo-model" / "sample_input.png"), "float32")
    normalised = (sample - sample.mean(dtype="float64")) / (sample.std(dtype="float64") + 1e-6)
    predicted = sigmoid(run(network, normalised.astype("float32")))
    tifffile.imwrite(TARGET / "expected_sample.tiff", predicted, metadata={"axes": "QYX"}, **COMPRESSED)
    whole = np.asarray(Image.open(SOURCE / "nuclei.png"), "float32")
    bare = run(network, whole[:256, :256])
    tifffile.imwrite(TARGET / "expected_bare.tiff", bare, metadata={"axes": "QYX"}, **COMPRESSED)


def write_predictions() -> None:
    """What the tool gives, for the tools that follow: a tensor, its objects, and a time series with axes and names."""
    predicted = tifffile.imread(TARGET / "expected_sample.tiff")
    np.save(TARGET / "prediction.npy", predicted[np.newaxis])
    objects = segment(predicted, axes="cyx").labels.astype("uint16")
    tifffile.imwrite(TARGET / "sample_labels.tiff", objects, metadata={"axes": "YX"}, **COMPRESSED)
    series = {"prediction": Target(tiff=TARGET / "prediction_timeseries.tiff")}
    predict(
        SOURCE / "demo-model.zip",
        SOURCE / "nuclei_timeseries.tif",
        targets=series,
        overwrite=True,
        tiff_layout="labelled",
    )


def run(network: torch.nn.Module, image: Array) -> Array:
    """The network's output (CYX) of an image (YX)."""
    with torch.inference_mode():
        output: Array = network(torch.from_numpy(image.copy())[None, None])[0].numpy()
    return output


def sigmoid(values: Array) -> Array:
    """Between 0 and 1."""
    probabilities: Array = (1 / (1 + np.exp(-values.astype("float64")))).astype("float32")
    return probabilities


if __name__ == "__main__":
    main()
