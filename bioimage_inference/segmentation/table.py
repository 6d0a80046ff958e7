"""The table of objects: one row each, with what was measured, as CSV or with tabs."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from ..text import for_cells
from .measuring import Objects

_TABS = (".tsv", ".tab", ".tabular")


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are about.

    ``spatial`` are the axes of a sample, ``samples`` those that count samples, of ``counts``; ``micrometres`` the
    extent of a pixel along ``spatial`` or None; ``channels`` the names of the measured channels.
    """

    spatial: str
    samples: str
    counts: tuple[int, ...]
    micrometres: tuple[float, ...] | None
    channels: tuple[str, ...]

    @property
    def size(self) -> str:
        """What the number of pixels of an object is."""
        return "volume" if len(self.spatial) == 3 else "area"

    @property
    def names(self) -> list[str]:
        """The header of the table."""
        axes = self.spatial
        known = self.micrometres is not None
        return [
            "label",
            *self.samples,
            f"{self.size}_px",
            *([f"{self.size}_um{len(axes)}"] if known else []),
            *(f"centroid_{axis}_px" for axis in axes),
            *(f"centroid_{axis}_um" for axis in axes if known),
            *(f"bbox_min_{axis}" for axis in axes),
            *(f"bbox_max_{axis}" for axis in axes),
            *(f"mean_intensity_{name}" if name else "mean_intensity" for name in self.channels),
        ]


def write_table(stream: IO[bytes], path: Path, objects: Objects, columns: Columns) -> None:
    """Write the table to ``stream``; ``path`` is its final name, whose ending says whether tabs separate columns."""
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    writer = csv.writer(text, delimiter="\t" if path.suffix.lower() in _TABS else ",", lineterminator="\n")
    writer.writerow(for_cells(columns.names))
    writer.writerows(_rows(objects, columns))
    text.flush()
    text.detach()


def _rows(objects: Objects, columns: Columns) -> Iterator[list[object]]:
    scale = columns.micrometres
    for row in range(len(objects)):
        place = np.unravel_index(objects.sample[row], columns.counts) if columns.counts else ()
        size, centre = int(objects.size[row]), objects.centre[row].tolist()
        yield [
            row + 1,
            *map(int, place),
            size,
            *([] if scale is None else _short([size * prod(scale)])),
            *_short(centre),
            *([] if scale is None else _short([one * by for one, by in zip(centre, scale, strict=True)])),
            *objects.low[row].tolist(),
            *objects.high[row].tolist(),
            *_short(objects.intensity[row].tolist()),
        ]


def _short(values: Sequence[float]) -> list[str]:
    """Numbers with as many digits as mean something."""
    return [f"{value:.7g}" for value in values]
