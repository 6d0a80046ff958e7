"""The record of a run: what was computed, from what, how, and with which values. Printed by ``--json``."""

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OutputError
from ..image.image import PixelSize
from ..image.matching import Matched
from ..model.spec import ModelSpec
from ..options import Options
from ..tiling.plan import Plan

_LIBRARIES = ("torch", "numpy", "bioimageio.core", "bioimageio.spec", "tifffile")


def describe_model(spec: ModelSpec) -> dict[str, Any]:
    """The model, for the record."""
    return {
        "name": spec.name,
        "id": spec.id,
        "version": spec.version,
        "format_version": spec.format_version,
        "licence": spec.licence,
        "sha256": spec.sha256,
        "cite": [{key: value for key, value in vars(citation).items() if value} for citation in spec.citations],
    }


def describe_input(tensor: str, one: Matched) -> dict[str, Any]:
    """An image and how it fills a tensor."""
    image = one.image
    return {
        "tensor": tensor,
        "name": image.name,
        "file": image.path,
        "axes": one.axes,
        "axes_from": image.axes_source,
        "shape": list(image.shape),
        "dtype": image.dtype.name,
        "pixel_size": describe_pixel_size(image.pixel_size),
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
        "tile": dict(plan.tile_shape),
        "halo": dict(plan.halo),
        "padding": {axis.letter: list(axis.padding) for axis in plan.axes if any(axis.padding)},
        "border": plan.border,
        "computed_per_pixel": round(plan.computed, 3),
    }


def describe_pixel_size(sizes: Mapping[str, PixelSize]) -> dict[str, Any]:
    """Pixel sizes with their units."""
    return {letter: {"value": size.value, "unit": size.unit} for letter, size in sizes.items()}


def describe_versions() -> dict[str, str]:
    """This program, Python, and the libraries that results depend on."""
    from .. import __version__

    return {
        "bioimage_inference": __version__,
        "python": platform.python_version(),
        **{library: version(library) for library in _LIBRARIES},
    }


def describe_options(options: Options) -> dict[str, Any]:
    """The options that the user gave."""
    return {key: value for key, value in vars(options).items() if value != getattr(Options(), key)}


def write_record(record: Mapping[str, Any], path: Path) -> None:
    """Write a record as JSON, under its final name only when complete. Raises :class:`OutputError`."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"The record {path} cannot be written: {error.strerror or error}.") from error
