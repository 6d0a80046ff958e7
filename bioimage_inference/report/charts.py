"""Charts of matplotlib: the histogram of an output, and two arrays side by side with their difference."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..array_types import Array
from ..errors import cannot_write
from ..files.partial_file import write_whole
from ..files.shared_folders import make_folder
from .colours import LINES, Kind, finite_of, kind_of
from .pictures import SAMPLED, Picture, channel_title, shown_channels
from .planes import Planes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_LINES = 6  # in a histogram
_LONGEST_TITLE = 40  # letters in a legend


def histogram(output: Planes, name: str) -> Picture:
    """Return how often each value comes: a line for each channel, or one line for all of many channels."""
    from matplotlib.figure import Figure

    channels = shown_channels(output)
    samples = [output.values(channel, SAMPLED // len(channels)) for channel in channels]
    titles = [channel_title(output, channel) for channel in channels]
    known = [finite_of(sample) for sample in samples]
    if len(known) > _MOST_LINES:
        known, titles = [np.concatenate(known)], [f"{len(channels)} channels together"]
    figure = Figure(figsize=(5.6, 2.7), layout="constrained")
    axes = figure.add_subplot()
    edges = _edges(known, kind_of(samples))
    for values, colour, title in zip(known, LINES, titles, strict=False):
        share = np.histogram(values, edges)[0] / max(1, values.size)
        axes.stairs(share, edges, color=[part / 255 for part in colour], linewidth=2, label=_legend(title))
    axes.set_yscale("symlog", linthresh=1e-4)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 1e-4, 1e-3, 1e-2, 1e-1, 1], ["0", "0.01 %", "0.1 %", "1 %", "10 %", "100 %"])
    axes.set_xlabel("value")
    axes.set_ylabel("share of the pixels")
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    sampled = sum(sample.size for sample in samples)
    is_complete = sampled == int(np.prod(list(output.sizes.values())))
    caption = "Of all values" if is_complete else f"Of {sampled:,} values, spread evenly"
    return Picture(
        name,
        output.name,
        f"{caption}; the axis of shares is logarithmic.",
        f"Histogram of {output.name}: {', '.join(titles)}",
        _png(figure, dpi=150),
        (int(figure.bbox.width * 1.5), int(figure.bbox.height * 1.5)),
    )


def write_difference_picture(path: Path, expected: Array, got: Array, letters: str, worst: tuple[int, ...]) -> None:
    """Write a PNG with two arrays and their difference, in the plane that holds the place ``worst``.

    The arrays have the axes ``letters``. Raises :class:`OutputError` where the picture cannot be written.
    """
    from matplotlib.figure import Figure

    whole = "yx" if "y" in letters or "x" in letters else letters[-1:]
    where = tuple(slice(None) if letter in whole else place for letter, place in zip(letters, worst, strict=True))
    place = ", ".join(
        f"{letter} {index}" for letter, index in zip(letters, worst, strict=True) if letter not in f"b{whole}"
    )
    planes = [np.atleast_2d(array[where].astype(np.float64)) for array in (expected, got)]
    planes.append(np.abs(planes[1] - planes[0]))
    known = np.concatenate([finite_of(plane) for plane in planes[:2]])
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    figure.suptitle(f"{path.stem} ({place})" if place else path.stem)
    for number, (title, plane) in enumerate(zip(("expected", "got", "difference"), planes, strict=True), 1):
        axes = figure.add_subplot(1, 3, number)
        style = {"vmin": low, "vmax": high, "cmap": "gray"} if number < 3 else {"cmap": "magma"}
        image = axes.imshow(plane, interpolation="nearest", aspect="equal" if min(plane.shape) > 1 else "auto", **style)
        axes.set_title(title)
        axes.set_axis_off()
        figure.colorbar(image, ax=axes, shrink=0.8)
    try:
        make_folder(path.parent)
    except OSError as error:
        raise cannot_write(f"The picture {path} cannot be written: {error.strerror or error}.", error) from error
    write_whole(path, _png(figure, dpi=120))


def _png(figure: "Figure", dpi: int) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def _legend(title: str) -> str:
    """Return a title for a legend: matplotlib reads mathematics between dollar signs, and hides a title with ``_``."""
    title = title if len(title) <= _LONGEST_TITLE else f"{title[: _LONGEST_TITLE - 1]}…"
    return title.replace("$", r"\$").lstrip("_")


def _edges(samples: Sequence[Array], kind: Kind) -> Array:
    """Return the edges of 64 bins: of 0 … 1 for probabilities, else of all values."""
    known = [sample for sample in samples if sample.size]
    low = 0.0 if kind == "probability" else min((float(sample.min()) for sample in known), default=0.0)
    high = 1.0 if kind == "probability" else max((float(sample.max()) for sample in known), default=1.0)
    return np.linspace(low, high, 65) if high > low else np.linspace(low - 0.5, high + 0.5, 65)
