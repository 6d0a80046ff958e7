"""The record of a run: what was computed, from what, how, and with which values. Printed by ``--json``.

What its keys mean is told in ``docs/reference/provenance.md``, and checked by ``provenance.schema.json``.
"""

import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OutputError
from ..files.partial_file import write_whole
from ..image.axis_mapping import AxisMapping
from ..image.image import PixelSize
from ..image.writers.output_formats import FORMATS
from ..machine.threads import thread_pool
from ..model.spec import ModelSpec, TensorSpec
from ..options import Options
from ..text import for_json
from ..tiling.plan import Plan
from ..zoo.names import ZooName
from .hashing import Hashed, path_hash

if TYPE_CHECKING:
    from ..inference.sample_layout import Stack
    from ..network.loading import Loaded

SCHEMA = "urn:bioimage_inference:provenance:1"

_LIBRARIES = ("torch", "numpy", "bioimageio.core", "bioimageio.spec", "tifffile")


def describe_model(spec: ModelSpec) -> dict[str, Any]:
    """The model, for the record."""
    return {
        "name": spec.name,
        "id": spec.id,
        "version": spec.version,
        "format_version": spec.format_version,
        "authors": list(spec.authors),
        "licence": spec.licence,
        "sha256": spec.sha256,
        "cite": [{key: value for key, value in vars(citation).items() if value} for citation in spec.citations],
    }


def describe_source(
    model: ZooName | Path | str, description: Path | str | None, model_axes: str | None, model_size: str | None
) -> dict[str, Any]:
    """What the user gave to have the model opened; paths are absolute, a model of the zoo has its name there."""
    return {
        "source": str(model if isinstance(model, ZooName) else Path(model).absolute()),
        "description_file": None if description is None else str(Path(description).absolute()),
        "model_axes": model_axes,
        "model_size": model_size,
    }


def describe_input(tensor: str, one: AxisMapping) -> dict[str, Any]:
    """An image and how it fills a tensor; its path is absolute, ``None`` for an array in memory."""
    image = one.resized_from or one.image
    return {
        "tensor": tensor,
        "name": image.name,
        "file": str(Path(image.path).absolute()) if image.path else None,
        "axes": one.axes,
        "axes_from": image.axes_source,
        "shape": list(image.shape),
        "dtype": image.dtype.name,
        "resized": {
            letter: size
            for letter, size, given in zip(one.axes, one.image.shape, image.shape, strict=True)
            if size != given
        },
        **describe_pixel_size(image.pixel_size),
        "tensor_axes": one.letters,
        "iterated_axes": one.iterated,
        "samples": int(np.prod(one.samples)),
        "channels": None if one.channels is None else list(one.channels),
    }


def describe_plan(plan: Plan) -> dict[str, Any]:
    """Tiles, halo and padding."""
    return {
        "tiles": len(plan),
        "grid": {axis.letter: len(axis.starts) for axis in plan.axes},
        "starts": {axis.letter: list(axis.starts) for axis in plan.axes},
        "tile": dict(plan.tile_shape),
        "halo": dict(plan.halo),
        "padding": {axis.letter: list(axis.padding) for axis in plan.axes if any(axis.padding)},
        "border": plan.border,
        "batch": plan.batch,
        "computed_per_pixel": round(plan.computed, 3),
    }


def describe_output(
    output: TensorSpec,
    stack: "Stack",
    dtype: "np.dtype[Any]",
    pixel_size: Mapping[str, PixelSize],
    files: Mapping[str, Path | None],
) -> dict[str, Any]:
    """An output that is complete; ``files`` are those of its values, by the keys :data:`FORMATS`."""
    axis = output.axis("c")
    return {
        "id": output.id,
        "axes": stack.tensor_axes,
        "shape": list(stack.shape(stack.tensor_axes)),
        "dtype": dtype.name,
        "channel_names": list(axis.channel_names) if axis is not None else [],
        **describe_pixel_size(pixel_size),
        **{key: None if file is None else str(file) for key, file in files.items()},
    }


def describe_pixel_size(sizes: Mapping[str, PixelSize]) -> dict[str, Any]:
    """Pixel sizes with their units; ``origin``, the position of the first pixel, only where it is not 0."""
    sizes_only = {letter: {"value": size.value, "unit": size.unit} for letter, size in sizes.items()}
    origin = {letter: size.origin for letter, size in sizes.items()}
    return {"pixel_size": sizes_only} | ({"origin": origin} if any(origin.values()) else {})


def describe_versions(*others: str) -> dict[str, str]:
    """This program, Python, and the libraries that results depend on; ``others`` are further ones."""
    from .._version import __version__

    return {
        "bioimage_inference": __version__,
        "python": platform.python_version(),
        **{library: version(library) for library in dict.fromkeys((*_LIBRARIES, *others))},
    }


def describe_hash(one: Hashed | None) -> dict[str, Any]:
    """The hash and size of an input, both ``None`` where it has no bytes of its own."""
    return {"sha256": None if one is None else one.sha256, "bytes": None if one is None else one.size}


def describe_network(loaded: "Loaded", precision: str) -> dict[str, Any]:
    """Weights, device and engine, as they were used."""
    return {
        "weights": {"format": loaded.entry.format, "file": loaded.entry.source, "sha256": loaded.sha256},
        "device": {
            "name": loaded.device.name,
            "reason": loaded.device.reason,
            "processor": _processor(),
            "threads": loaded.threads,
            "precision": precision,
        },
        "engine": {"name": loaded.engine.name, "reason": loaded.engine.reason},
    }


def with_output_hashes(outputs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The outputs with the SHA-256 of their files, which are complete; two files are read at a time.

    Raises :class:`OutputError` where one of them cannot be read.
    """
    described = [dict(output) for output in outputs]
    named = [(output, key) for output in described for key in FORMATS if output.get(key) is not None]
    with thread_pool(2) as pool:
        hashes = pool.map(path_hash, [Path(output[key]) for output, key in named])
        try:
            found = {(output["id"], key): one.sha256 for (output, key), one in zip(named, hashes, strict=True)}
        except OSError as error:
            raise OutputError(
                f"The outputs were written, but {error.filename} cannot be read again ({error.strerror or error}), so "
                "that they have no record. Check the disk."
            ) from error
    for output in described:
        output["sha256"] = {key: found.get((output["id"], key)) for key in FORMATS if key in output}
    return described


def now() -> str:
    """The time in UTC, e.g. ``2026-11-21T09:17:03.123+00:00``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _processor() -> str:
    """The processor's name; results depend on the instructions that it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def describe_options(options: Options) -> dict[str, Any]:
    """The options that the user gave."""
    return {key: value for key, value in vars(options).items() if value != getattr(Options(), key)}


def write_record(record: Mapping[str, Any], path: Path) -> None:
    """Write a record as JSON, under its final name only when complete. Raises :class:`OutputError`."""
    text = for_json(record, allow_nan=False)
    write_whole(path, f"{text}\n".encode())
