"""A generator of hostile files: weights that would run code, archives that escape or explode, images that lie.

The builders of single files are those of the tests of each room; here they become what a user could be sent.
"""

import io
import json
import pickle
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
import zarr
from PIL import Image as Pillow

from tests import models
from tests.module.test_package import HOSTILE, appended, write_zip
from tests.module.test_reading_hostile import BOMBS, tiff_claiming
from tests.module.test_weights import CODE, PICKLES, POLYGLOTS, Bomb, old_tar, rubbish, sha256

Build = Callable[[Path], None]
PICKLED_WEIGHTS = (*PICKLES, *POLYGLOTS, old_tar, rubbish)


def sound_model(folder: Path) -> Path:
    """A small model without any fault; the path of its description."""
    return models.write_model(folder, models.Identity(), *models.simple_tensors())


def with_weights(folder: Path, build: Callable[[Path, Bomb], None], marker: Path, kind: str) -> Path:
    """A package that declares hostile weights as ``kind``, with their true hash; the path of its description."""
    description = sound_model(folder)
    content = yaml.safe_load(description.read_text())
    build(folder / "bomb.pt", Bomb(marker))
    (folder / "net.py").write_text(CODE)
    entry: dict[str, Any] = {"source": "bomb.pt", "sha256": sha256(folder / "bomb.pt"), "pytorch_version": "2.6"}
    if kind == "pytorch_state_dict":
        entry["architecture"] = {"source": "net.py", "sha256": sha256(folder / "net.py"), "callable": "Net"}
    description.write_text(yaml.safe_dump({**content, "weights": {kind: entry}}))
    return description


def zipped(folder: Path, path: Path) -> Path:
    """The package in ``folder`` as a zip."""
    return write_zip(path, {file.name: file.read_bytes() for file in folder.iterdir()})


def object_array(marker: Path) -> bytes:
    """An ``.npy`` whose pickled objects would make the folder ``marker``."""
    buffer = io.BytesIO()
    np.save(buffer, np.array([Bomb(marker), None], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def pickle_named_npy(marker: Path) -> bytes:
    """A bare pickle, which ``numpy.load`` would run where pickles are allowed."""
    return pickle.dumps(Bomb(marker), protocol=2)


def archive_of_arrays(marker: Path) -> bytes:
    """An ``.npz`` of pickled objects."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("image.npy", object_array(marker))
    return buffer.getvalue()


def npy_before_zip(marker: Path) -> bytes:
    """An array to one reader and a zip to another."""
    return object_array(marker) + archive_of_arrays(marker)


PICKLED_IMAGES = (object_array, pickle_named_npy, archive_of_arrays, npy_before_zip)


def nested_bomb(path: Path) -> None:
    """A zip in a zip, each within the limits, that would be half a terabyte if both were unpacked."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(16):
            archive.writestr(f"net/data/{number}", bytes(8 << 20))
    write_zip(path, {f"{number}.zip": inner.getvalue() for number in range(60)} | {"weights.pt": inner.getvalue()})


def recursive_description(path: Path) -> None:
    """A description that is itself a zip bomb of one letter."""
    write_zip(path, {"rdf.yaml": b"a" * (64 << 20)})


_HOSTILE: dict[str, list[Build]] = HOSTILE  # type: ignore[assignment]
ARCHIVES: dict[str, Build] = {
    f"{found} {number}": build for found, builds in _HOSTILE.items() for number, build in enumerate(builds)
} | {"a zip in a zip": nested_bomb, "a description of 64 MiB": recursive_description, "appended": appended}


def picture_bomb(path: Path) -> None:
    """A valid PNG of 50 KB that is 48 MiB when it is decoded, and as much again while it is handed over."""
    Pillow.new("RGB", (4096, 4096)).save(path, "PNG")


def strip_bomb(path: Path) -> None:
    """A TIFF of 125 KB whose only strip, of zeros, is 128 MiB when it is unpacked."""
    data = zlib.compress(bytes(128 << 20))
    content = bytearray(tiff_claiming(1 << 14, 1 << 13, 8, 1 << 13)[:200])
    place = content.index((279).to_bytes(2, "little")) + 8
    content[place : place + 4] = len(data).to_bytes(4, "little")
    path.write_bytes(bytes(content) + data)


def chunk_bomb(path: Path) -> None:
    """A zarr of a few KB whose only chunk is 128 MiB when it is decoded."""
    shape = (1 << 14, 1 << 13)
    made = zarr.create_array(path, shape=shape, chunks=shape, dtype="uint8", fill_value=1)
    made[...] = np.zeros(shape, "uint8")


def absurd_chunks(path: Path) -> None:
    """A zarr that names chunks of a terabyte."""
    made = zarr.create_array(path, shape=(8, 8), chunks=(8, 8), dtype="uint8", fill_value=1)
    made[...] = 0
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["shape"] = [10**6, 10**6]
    metadata["chunk_grid"]["configuration"]["chunk_shape"] = [10**6, 10**6]
    (path / "zarr.json").write_text(json.dumps(metadata))


def _bytes_of(name: str) -> Build:
    def build(path: Path) -> None:
        path.write_bytes(BOMBS[name])

    return build


ROOM = 64 << 20
"""Bytes that reading an image may take beside the program itself; each image would take more, were it believed."""
# What each image ends in: 5 where it lies, 6 where a larger budget could read it.
IMAGES: dict[str, tuple[Build, Literal[5, 6]]] = {
    **{name: (_bytes_of(name), 5) for name in BOMBS},
    "PNG bomb": (picture_bomb, 6),
    "deflated strip of 128 MiB": (strip_bomb, 6),
    "chunk of 128 MiB": (chunk_bomb, 6),
    "chunks of 1 TB": (absurd_chunks, 5),
}


@contextmanager
def one_bit_flipped(path: Path) -> Iterator[None]:
    """The file with one bit in its middle changed, for as long as the block lasts."""
    content = path.read_bytes()
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)
    yield
    path.write_bytes(content)


# What a model, an image or a table may say, and what would happen where a program takes it for more than text.
TEXTS = {
    "HTML": "<script>alert(1)</script>",
    "HTML attribute": "\"'><img src=x onerror=alert(1)>",
    "template": "${content}$title {task} %s [bold]",
    "formula": "=1+1",
    "formula that starts a program": "=cmd|' /C calc'!A0",
    "formula that begins with @": "@SUM(1)",
    "formula that begins with +": "+1+1",
    "formula that begins with -": "-2+3",
    "formula behind a space": " =1+1",
    "forged line": "cells\n  note    all is well",
    "carriage return": "cells\rforged",
    "line separator": "cells\u2028forged",
    "title of the terminal": "\x1b]0;owned\x07",
    "cleared screen": "\x1b[2J",
    "C1": "\x9b31m",
    "bidirectional override": "cells\u202efit.exe",
    "bidirectional isolate": "\u2066cells",
    "path that leads out": "../../escaped",
    "absolute path": "/tmp/escaped",
    "byte that is not UTF-8": "caf\udce9",
}
