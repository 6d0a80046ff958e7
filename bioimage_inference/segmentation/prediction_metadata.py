"""What is told of a prediction besides its array: by the description in TIFF pages, and by the record of the run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType

from ..errors import ImageError
from ..image.image import PixelSize
from ..provenance.record import InputRecord, OutputRecord, read_record

RECORD_ENDING = "_provenance.json"


@dataclass(frozen=True)
class Told:
    """Axes of a prediction, one of which is made of several.

    ``axes`` has a letter per dimension of the array; the dimension ``folded`` is made of the axes ``letters`` of
    ``sizes``, the last one fastest. ``by_plane``: the model saw each plane of a stack by itself.
    """

    axes: str
    folded: str
    letters: str
    sizes: tuple[int, ...]
    channel_names: tuple[str, ...]
    pixel_size: Mapping[str, PixelSize]
    by_plane: bool


def is_tiff(path: Path) -> bool:
    """Whether this is a TIFF file, by its first bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(2) in (b"II", b"MM")


def told_by_pages(path: Path) -> Told | None:
    """What a TIFF that ``predict`` wrote in the layout ``pages`` says of its pages; None for every other file.

    Raises ImageError where it holds no image.
    """
    import tifffile

    if not is_tiff(path):
        return None
    with tifffile.TiffFile(path) as tiff:
        text = tiff.pages.first.description
    if '"original_axes"' not in text:
        return None
    found = json.loads(text)
    axes, shape = str(found["original_axes"]), tuple(map(int, found["original_shape"]))
    if "y" not in axes or "x" not in axes:
        raise ImageError(
            f"{path.name} has the axes {axes.upper()} and is no image: objects cannot be found in it. Give an output "
            "of the model that has the axes y and x."
        )
    stacked = "".join(letter for letter in axes if letter not in "zyx")
    return Told(
        axes="q" + ("zyx" if "z" in axes else "yx"),
        folded="q",
        letters=stacked,
        sizes=tuple(shape[axes.index(letter)] for letter in stacked),
        channel_names=tuple(map(str, found.get("channel_names", ()))),
        pixel_size=MappingProxyType({}),
        by_plane=-1 < axes.find("z") < axes.find("c"),  # planes are stacked in front of what the model gives
    )


def told_by_record(prediction: Path) -> Told | None:
    """What the record that lies beside an ``.npy`` file of ``predict`` says of it; None where there is no record.

    The batch is made of the axes of the image that the model lacks: of time, or of planes for a 2-D model.
    Raises ImageError where the record is damaged.
    """
    from ..inference.sample_layout import Stack

    found = _sibling(prediction)
    if found is None:
        return None
    image, output = found
    axes, sizes = output.axes, dict(zip(output.axes, output.shape, strict=True))
    extents = dict(zip(image.axes, image.shape, strict=True))
    samples = tuple(extents[letter] for letter in image.iterated_axes)
    stack = Stack(axes, sizes, image.iterated_axes, samples)
    folded = "b" in axes and sizes["b"] == prod(samples)
    return Told(
        axes=axes,
        folded="b" if folded else "",
        letters=stack.picture_axes[: len(samples)] if folded else "",
        sizes=samples if folded else (),
        channel_names=output.channel_names,
        pixel_size=MappingProxyType(
            {
                letter: PixelSize(size.value, size.unit, origin=output.origin.get(letter, 0.0))
                for letter, size in output.pixel_size.items()
            }
        ),
        by_plane="z" in image.iterated_axes,
    )


def _sibling(prediction: Path) -> tuple[InputRecord, OutputRecord] | None:
    """The image and the output ``prediction`` in the record of the run that wrote it, in the same folder."""
    folder = prediction.absolute().parent
    for path in sorted(folder.glob(f"*{RECORD_ENDING}")):
        if not prediction.name.startswith(path.name.removesuffix(RECORD_ENDING)) or not path.is_file():
            continue
        try:
            record = read_record(path)
        except (OSError, ValueError) as error:
            raise ImageError(
                f"The record {path.name} beside {prediction.name} cannot be read ({error}). Predict again, move the "
                "record away, or name the axes with --axes."
            ) from error
        for output in record.outputs:
            if output.npy is not None and Path(output.npy).name == prediction.name:
                return record.inputs[0], output
    return None
