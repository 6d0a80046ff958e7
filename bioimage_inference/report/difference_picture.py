"""A picture of an output that is not what was published: expected, got and difference, side by side."""

import io
from pathlib import Path

import numpy as np

from ..array_types import Array
from ..errors import cannot_write
from ..files.partial_file import write_whole
from ..files.shared_folders import make_folder


def write_difference_picture(path: Path, expected: Array, got: Array, letters: str, worst: tuple[int, ...]) -> None:
    """Write a PNG of the plane that holds the place ``worst``; the arrays have axes ``letters``.

    Raises :class:`OutputError` where it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    where, shown = _plane(letters, worst)
    planes = [_picture(array[where]) for array in (expected, got)]
    planes.append(np.abs(planes[1] - planes[0]))
    known = np.concatenate([plane[np.isfinite(plane)] for plane in planes[:2]])
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{path.stem}{f' ({shown})' if shown else ''}")
    for number, (title, plane) in enumerate(zip(("expected", "got", "difference"), planes, strict=True), 1):
        axes = figure.add_subplot(1, 3, number)
        limits = {"vmin": low, "vmax": high, "cmap": "gray"} if number < 3 else {"cmap": "magma"}
        image = axes.imshow(
            plane, interpolation="nearest", aspect="equal" if min(plane.shape) > 1 else "auto", **limits
        )
        axes.set_title(title)
        axes.set_axis_off()
        figure.colorbar(image, ax=axes, shrink=0.8)
    try:
        make_folder(path.parent)
    except OSError as error:
        raise cannot_write(f"The picture {path} cannot be written: {error.strerror or error}.", error) from error
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    write_whole(path, content.getvalue())


def _plane(letters: str, worst: tuple[int, ...]) -> tuple[tuple[slice | int, ...], str]:
    """The region that is shown, whole along y and x (else along the last axis), and its place in words."""
    whole = "yx" if "y" in letters or "x" in letters else letters[-1:]
    where = tuple(slice(None) if letter in whole else place for letter, place in zip(letters, worst, strict=True))
    shown = ", ".join(
        f"{letter} {place}" for letter, place in zip(letters, where, strict=True) if letter not in f"b{whole}"
    )
    return where, shown


def _picture(plane: Array) -> Array:
    """Rows and columns of 64-bit numbers."""
    return np.atleast_2d(plane.astype(np.float64))
