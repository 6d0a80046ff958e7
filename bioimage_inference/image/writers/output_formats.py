"""The list of output formats: their suffixes, their axes, and how they are opened.

A new format is a module with a writer and a line in :data:`FILE_FORMATS`. Its key names the field of ``Target``, the
option of the command line, and the entry in the record of a run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from .base import Layout, Writer
from .npy_writer import open_npy_writer
from .tiff_writer import TiffLayout, open_tiff_writer


@dataclass(frozen=True)
class OutputFormat:
    """A format in which outputs are written.

    ``key`` names it in code, options and records, ``title`` in messages. ``axes`` is ``tensor`` for files with the axes
    of the model's tensor, in which samples are stacked along the batch, and ``picture`` for files with the axes of the
    image. ``holds_empty``: the format stores arrays without entries.
    """

    key: str
    title: str
    suffix: str
    axes: Literal["tensor", "picture"]
    holds_empty: bool


@dataclass(frozen=True)
class FileFormat(OutputFormat):
    """A format of single files, which one process writes; ``media_type`` is its name in a RO-Crate."""

    open: Callable[[Path, Layout, TiffLayout], Writer]
    media_type: str


FILE_FORMATS: Mapping[str, FileFormat] = MappingProxyType(
    {
        form.key: form
        for form in (
            FileFormat("tiff", "TIFF", ".tif", "picture", False, open_tiff_writer, "image/tiff"),
            FileFormat("npy", ".npy", ".npy", "tensor", True, open_npy_writer, "application/x-npy"),
        )
    }
)
ZARR = OutputFormat("zarr", "OME-Zarr", ".ome.zarr", "picture", True)
"""Written chunk by chunk by the workers of a cluster, see :mod:`~bioimage_inference.image.writers.zarr_writer`."""
FORMATS: Mapping[str, OutputFormat] = MappingProxyType({**FILE_FORMATS, ZARR.key: ZARR})
"""All formats by their keys, which are the entries of an output in the record."""
