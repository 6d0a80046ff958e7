"""Sound files of every kind that the fuzzer damages, and the model and image that stand beside them."""

import io
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile
import yaml
import zarr
from PIL import Image as Pillow

from tests import dialect_files, models

Kind = Literal["tiff", "npy", "rdf", "zip", "zarr", "png"]
SMALL = np.arange(600, dtype="uint16").reshape(20, 30)
STACK = np.arange(3 * 2 * 20 * 24, dtype="uint8").reshape(3, 2, 20, 24)


@dataclass(frozen=True)
class Seeds:
    """``files`` are sound inputs by kind; ``model`` and ``image`` a sound model and image on the disk."""

    files: dict[Kind, list[bytes]]
    model: Path
    image: Path


def make_seeds(folder: Path) -> Seeds:
    """Write the sound model and image into ``folder``, and make the inputs to damage."""
    steps: list[dict[str, Any]] = [
        {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
        {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", "y", "x"]}},
    ]
    last: list[dict[str, Any]] = [{"id": "sigmoid"}]
    tensors = models.simple_tensors(halo=4, preprocessing=steps, postprocessing=last)
    model = models.write_model(folder / "model", models.Blur((2, 2)), *tensors)
    image = folder / "image.tif"
    tifffile.imwrite(image, SMALL)
    rdf = model.read_bytes()
    files: dict[Kind, list[bytes]] = {
        "tiff": _tiffs(),
        "npy": [_npy(SMALL), _npy(np.asfortranarray(SMALL.astype("float64"))), _npy(SMALL > 300)],
        "rdf": [rdf, _without_hash(rdf)],
        "zip": [_package(model.parent, rdf), _package(model.parent, _without_hash(rdf))],
        "zarr": [_zarr(2), _zarr(3)],
        "png": [_picture("PNG"), _picture("JPEG"), _picture("BMP")],
    }
    return Seeds(files, model, image)


def _tiffs() -> list[bytes]:
    dialects: list[tuple[Any, dict[str, Any]]] = [
        (SMALL, {}),
        (SMALL, {"bigtiff": True}),
        (SMALL, {"byteorder": ">", "rowsperstrip": 4, "compression": "zlib"}),
        (STACK, {"imagej": True, "metadata": {"axes": "TZYX"}}),
        (STACK, {"ome": True, "photometric": "minisblack", "metadata": {"axes": "TZYX"}}),
        (SMALL, {"tile": (16, 16), "compression": "lzw"}),
        (STACK[0, 0], {"compression": "jpeg"}),
    ]
    found = []
    for array, options in dialects:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, array, **options)
        found.append(buffer.getvalue())
    return found + _microscope_tiffs()


def _microscope_tiffs() -> list[bytes]:
    """Stacks of microscopes, whose metadata are structures in the file."""
    stack = STACK.reshape(6, 20, 24).astype("uint16")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "stack.tif"
        return [
            dialect_files.stk(path, stack, distances=[0.5] * 6, times=[0] * 6).read_bytes(),
            dialect_files.lsm(path, stack, scan=3, channels=["GFP"], stamps=range(6)).read_bytes(),
            dialect_files.micromanager(path, stack, {}, indices=[(0, z, 0, 0) for z in range(6)]).read_bytes(),
        ]


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _without_hash(rdf: bytes) -> bytes:
    content = yaml.safe_load(rdf)
    del content["weights"]["torchscript"]["sha256"]
    return yaml.safe_dump(content, sort_keys=False).encode()


def _package(folder: Path, rdf: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("rdf.yaml"), rdf, zipfile.ZIP_DEFLATED)
        for file in sorted(folder.iterdir()):
            if file.name != "rdf.yaml":
                archive.writestr(zipfile.ZipInfo(file.name), file.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _zarr(version: Literal[2, 3]) -> bytes:
    """A plain zarr array of two chunks in a zip."""
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory() as scratch:
        array = zarr.create_array(scratch, shape=SMALL.shape, chunks=(20, 16), dtype=SMALL.dtype, zarr_format=version)
        array[:] = SMALL
        with zipfile.ZipFile(buffer, "w") as archive:
            for file in sorted(path for path in Path(scratch).rglob("*") if path.is_file()):
                archive.writestr(zipfile.ZipInfo(file.relative_to(scratch).as_posix()), file.read_bytes())
    return buffer.getvalue()


def _picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(STACK[0, 0]).save(buffer, kind)
    return buffer.getvalue()
