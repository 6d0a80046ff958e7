"""Complete the packages of the demo models: weights, test tensors, pictures, hashes in the descriptions, zip files.

    python scripts/package_demo_model.py

after editing a text of a package (description, README) brings its hashes and its zip file up to date.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import torch
from bioimageio.spec import InvalidDescr, load_description
from evaluate_demo_model import TEST_DATA, predict
from numpy.typing import NDArray

ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can state; always the same, so that the same files give the same bytes."""


def write_torchscript(network: torch.nn.Module, path: Path) -> None:
    """Save the network as TorchScript, without the debugging records (they hold the paths of this machine)."""
    saved = io.BytesIO()
    torch.jit.save(torch.jit.script(network), saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                _write_entry(target, entry.filename, source.read(entry), entry.compress_type)


def write_test_tensors(network: torch.nn.Module, image: NDArray[Any], folder: Path) -> None:
    """Save `image` (YX or ZYX) and its prediction as float32 tensors with batch and channel axis."""
    np.save(folder / "test_input.npy", image.astype(np.float32)[None, None])
    np.save(folder / "test_output.npy", predict(network, image)[None])


def write_cover(network: torch.nn.Module, image: NDArray[Any], path: Path) -> None:
    """Save a picture (RGB, twice as wide as high): the image, and the prediction over it; stacks as projections."""
    probabilities = predict(network, image)
    raw = image.astype(np.float32)
    if raw.ndim == 3:
        raw, probabilities = raw.max(axis=0), probabilities.max(axis=1)
    low, high = np.percentile(raw, (1, 99.8))
    grey = np.repeat(np.clip((raw - low) / (high - low), 0, 1)[..., None], 3, axis=-1)
    overlay = grey
    for probability, opacity, colour in zip(
        probabilities, (0.5, 0.9), ((0.0, 0.55, 0.75), (1.0, 0.75, 0.1)), strict=False
    ):
        cover = opacity * probability[..., None]
        overlay = overlay * (1 - cover) + cover * np.asarray(colour)
    enlarged = max(1, 256 // len(raw))
    picture = np.concatenate([grey, overlay], axis=1).repeat(enlarged, axis=0).repeat(enlarged, axis=1)
    imageio.imwrite(path, (255 * picture).astype(np.uint8), quality=88)


def finish_package(folder: Path) -> None:
    """Bring the descriptions in a package folder up to date, check them, and zip the folder."""
    for description in sorted(folder.glob("rdf*.yaml")):
        update_hashes(description)
        validate(description)
    write_zip(folder, folder.with_suffix(".zip"))


def update_hashes(description: Path) -> None:
    """Rewrite every `sha256` of the description to that of the file named on the line before it."""

    def updated(match: re.Match[str]) -> str:
        digest = hashlib.sha256((description.parent / match["file"]).read_bytes()).hexdigest()
        return f"{match['before']}{digest}"

    pattern = r"(?P<before>(?:source|architecture): (?P<file>[^\s:]+)(?::\w+)?\n *(?:architecture_)?sha256: )\S+"
    description.write_text(re.sub(pattern, updated, description.read_text()))


def validate(description: Path) -> None:
    """Check the description and its files with bioimageio.spec; ValueError with its report if it is not valid."""
    loaded = load_description(description)
    if isinstance(loaded, InvalidDescr):
        raise ValueError(loaded.validation_summary.format())


def write_zip(folder: Path, path: Path) -> None:
    """Zip the files of a package folder; the same files always give the same bytes."""
    with zipfile.ZipFile(path, "w") as package:
        for file in sorted(entry for entry in folder.iterdir() if entry.is_file()):
            _write_entry(package, file.name, file.read_bytes(), zipfile.ZIP_DEFLATED)


def _write_entry(archive: zipfile.ZipFile, name: str, content: bytes, compression: int) -> None:
    entry = zipfile.ZipInfo(name, ZIP_TIME)
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content, compression, compresslevel=9)


if __name__ == "__main__":
    finish_package(TEST_DATA / "demo-model")
    finish_package(TEST_DATA / "demo-model-3d")
