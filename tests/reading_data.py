"""Images and small helpers that the tests of reading share."""

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image as Pillow

from bioimage_inference.errors import BioimageInferenceError
from bioimage_inference.image.image import Image
from bioimage_inference.image.readers.reading import open_image
from bioimage_inference.provenance.record_builder import pixel_sizes
from bioimage_inference.report.describe_run import image_line
from tests.records import input_record

Array = NDArray[Any]
MINISBLACK = {"photometric": "minisblack"}
RNG = np.random.default_rng(20)


def pixels(*shape: int, dtype: str = "uint16") -> Array:
    kind = np.dtype(dtype)
    if kind.kind in "fb":
        return (RNG.random(shape) > 0.5 if kind.kind == "b" else RNG.random(shape)).astype(kind)
    return RNG.integers(0, min(np.iinfo(kind).max, 9999), shape).astype(kind)


def whole(image: Image) -> Array:
    return image.read(tuple(slice(0, size) for size in image.shape))


def opened(path: Path, axes: str | None = None) -> tuple[Image, Array]:
    """The image, and all its pixels; closed again."""
    image = open_image(path, axes)
    try:
        return image, whole(image)
    finally:
        image.close()


def described(image: Image) -> str:
    """The line that users see first."""
    facts = {"name": image.name, "dtype": image.dtype.name, "pixel_size": pixel_sizes(image.pixel_size)}
    return image_line(input_record(image.axes, image.shape, **facts))


def tiff(folder: Path, array: Array, **options: Any) -> Path:
    path = folder / "dataset_1.dat"
    tifffile.imwrite(path, array, **options)
    return path


def failure(path: Path, axes: str | None = None) -> BioimageInferenceError:
    """The error of opening and reading that file, which must be a paragraph for the user."""
    with pytest.raises(BioimageInferenceError) as raised:
        opened(path, axes)
    text = str(raised.value)
    assert "\n" not in text
    assert text.endswith((".", ")"))
    return raised.value


def png(array: Array) -> bytes:
    return bytes(imagecodecs.png_encode(array))


def saved(picture: Pillow.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


GREY8, GREY16 = pixels(20, 30, dtype="uint8"), pixels(20, 30)
RGB8, RGB16, RGBA16 = pixels(20, 30, 3, dtype="uint8"), pixels(20, 30, 3), pixels(20, 30, 4)
