"""The list of output formats: their suffixes, their axes, and how they are opened.

A new format is a module with a writer, a line in :data:`FORMATS`, a field in :class:`OutputPaths` and in
:class:`OutputTexts`, and a name in :data:`~bioimage_inference.options.FORMAT_TITLES`. Its key names these fields, the
option of the command line, and the entry in the record of a run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from ...options import FORMAT_TITLES, Options
from .base import Layout, Writer
from .npy_writer import open_npy_writer
from .ome_zarr_writer import open_zarr_writer
from .tiff_choice import open_tiff_writer


@dataclass(frozen=True)
class OutputFormat:
    """A format in which outputs are written.

    ``key`` names it in code, options and records. ``axes`` is ``tensor`` for files with the axes
    of the model's tensor, in which samples are stacked along the batch, and ``picture`` for files with the axes of the
    image. ``holds_empty``: the format stores arrays without entries. ``chunked``: it stores regions apart from each
    other, so that a region costs no more than its pixels. ``media_type`` is the format's name in a RO-Crate, empty for
    folders.
    """

    key: str
    suffix: str
    axes: Literal["tensor", "picture"]
    holds_empty: bool
    chunked: bool
    media_type: str
    open: Callable[[Path, Layout, Options], Writer]

    @property
    def title(self) -> str:
        """Its name in messages."""
        return FORMAT_TITLES[self.key]


FORMATS: Mapping[str, OutputFormat] = MappingProxyType(
    {
        form.key: form
        for form in (
            OutputFormat("tiff", ".tif", "picture", False, False, "image/tiff", open_tiff_writer),
            OutputFormat("npy", ".npy", "tensor", True, False, "application/x-npy", open_npy_writer),
            OutputFormat("zarr", ".ome.zarr", "picture", True, True, "", open_zarr_writer),
        )
    }
)
"""All formats by their keys."""
ZARR = FORMATS["zarr"]
"""The format that many processes can write at once."""


@dataclass(frozen=True)
class OutputPaths:
    """The files of one output by format; ``None`` for a format that is not wanted."""

    tiff: Path | None = None
    npy: Path | None = None
    zarr: Path | None = None

    @property
    def files(self) -> dict[str, Path]:
        """The wanted files by the keys of their formats."""
        named = ((key, getattr(self, key)) for key in FORMATS)
        return {key: path for key, path in named if path is not None}


@dataclass(frozen=True, kw_only=True)
class OutputTexts:
    """A text for each format in a record: the path or the SHA-256 of its file. TIFF and ``.npy`` are always there."""

    tiff: str | None
    npy: str | None
    zarr: str | None = None
