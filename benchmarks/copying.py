"""Measures reading and writing: this program with a network that does nothing, beside the libraries alone.

    python benchmarks/copying.py [--size 8192] [--runs 3]

Both read an image of 8 bit and write it as float32, in one process, in turn. The libraries read and write the whole
image at once. The program reads and writes tiles, and hashes the image. Its OME-Zarr also has smaller levels. A rate
counts the bytes that are read and the bytes of the full size that are written.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import yaml
import zarr
from networks import write_image, write_model

from bioimage_inference import Model, Target, load_model
from bioimage_inference.network.network import Engine

Array = np.ndarray[Any, Any]


class Nothing:
    """A network whose output is its input."""

    engine = Engine("torch", "it does nothing")

    def __call__(self, inputs: Any) -> list[Array]:
        """Return the tile."""
        return list(inputs)


def write_inputs(folder: Path, size: int) -> dict[str, Path]:
    """Write one image in every format that is read."""
    plain = write_image(folder / "plain.tif", (size, size))
    image = tifffile.imread(plain)
    tiled, npy, store = folder / "tiled.tif", folder / "image.npy", folder / "image.ome.zarr"
    tifffile.imwrite(tiled, image, tile=(512, 512), compression="zlib", metadata={"axes": "YX"})
    np.save(npy, image)
    group = zarr.open_group(store, mode="w")
    group.create_array("0", shape=image.shape, dtype=image.dtype, chunks=(1024, 1024))[:] = image
    axes = [{"name": name, "type": "space"} for name in "yx"]
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0]}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [level]}]}
    return {"TIFF": plain, "TIFF, tiles of 512², zlib": tiled, "npy": npy, "OME-Zarr": store}


def write_description(folder: Path) -> Path:
    """Write a model of 2-D images without pre- and postprocessing."""
    path = write_model(folder / "model", 2)
    content = yaml.safe_load(path.read_text())
    content["inputs"][0]["preprocessing"], content["outputs"][0]["postprocessing"] = [], []
    path.write_text(yaml.safe_dump(content))
    return path


READERS: Mapping[str, Callable[[Path], Array]] = {
    ".tif": tifffile.imread,
    ".npy": np.load,
    ".zarr": lambda path: np.asarray(zarr.open_group(path, mode="r")["0"]),
}


def write_alone(format_name: str, path: Path, image: Array, like: Path) -> None:
    """Write a float32 image by the library alone, with the chunks and the compression of ``like``, and flush it."""
    if format_name == "zarr":
        model = zarr.open_group(like, mode="r")["0"]
        kept = {"chunks": model.chunks, "compressors": model.compressors}
        zarr.create_array(path, shape=model.shape, dtype=image.dtype, **kept)[:] = image.reshape(model.shape)
        os.sync()
        return
    with path.open("wb") as stream:
        if format_name == "tiff":
            tifffile.imwrite(stream, image, photometric="minisblack")
        else:
            np.save(stream, image)
        stream.flush()
        os.fsync(stream.fileno())


def rates(model: Model, image: Path, written: str, folder: Path, runs: int) -> tuple[float, float]:
    """Return the median seconds of the program and of the libraries alone. A first run of each does not count."""
    ours, alone = folder / f"ours.{written}", folder / f"alone.{written}"
    targets = {"prediction": Target(**{written: ours})}
    times: list[tuple[float, float]] = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        model.predict(image, targets=targets, overwrite=True, tile=1024)
        middle = time.perf_counter()
        write_alone(written, alone, READERS[image.suffix](image).astype("float32"), ours)
        times.append((middle - start, time.perf_counter() - middle))
        if alone.is_dir():
            shutil.rmtree(alone)
    first, second = zip(*times[1:], strict=True)
    return statistics.median(first), statistics.median(second)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    megabytes = 5 * arguments.size**2 / 1e6  # one byte a pixel read, four written
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = write_inputs(folder, arguments.size)
        cases = [*((title, "tiff") for title in images), ("TIFF", "npy"), ("TIFF", "zarr")]
        with load_model(write_description(folder), network=Nothing()) as model:
            print(f"{'read':28}{'written':10}{'ours MB/s':>12}{'alone MB/s':>12}{'ratio':>8}")
            for title, written in cases:
                ours, alone = rates(model, images[title], written, folder, arguments.runs)
                figures = f"{megabytes / ours:12.0f}{megabytes / alone:12.0f}{alone / ours:8.2f}"
                print(f"{title:28}{written:10}{figures}", flush=True)


if __name__ == "__main__":
    main()
