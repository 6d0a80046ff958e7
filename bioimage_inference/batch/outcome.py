"""What became of each image of a run: the facts that the summary table and the index page show."""

from dataclasses import dataclass
from typing import Literal

from ..provenance.record import RunRecord
from .output_files import ImageFiles
from .sample_sheet import Sample
from .thumbnails import Picture

Status = Literal["done", "failed", "skipped"]


@dataclass(frozen=True)
class Facts:
    """What a record says of an image in a few words; empty for one that failed.

    ``shape`` and ``axes`` are those of the image file, ``seconds`` the time of the prediction, ``objects`` how many the
    segmentation found, ``None`` where none was asked for.
    """

    axes: str = ""
    shape: tuple[int, ...] = ()
    dtype: str = ""
    tiles: int | None = None
    seconds: float | None = None
    objects: int | None = None


@dataclass(frozen=True)
class Outcome:
    """One image after its turn. ``exit_code`` is 0 for one that is done or skipped, being complete already.

    ``message`` says why an image failed.
    """

    sample: Sample
    files: ImageFiles
    status: Status
    exit_code: int = 0
    message: str = ""
    facts: Facts = Facts()
    pictures: tuple[Picture, ...] = ()


def facts_of(record: RunRecord) -> Facts:
    """Return the facts of a complete record."""
    image = record.inputs[0]
    return Facts(
        axes=image.axes,
        shape=image.shape,
        dtype=image.dtype,
        tiles=record.plan.tiles,
        seconds=record.seconds["total"],
        objects=record.objects.count if record.objects is not None else None,
    )
