"""Images as users of Python have them: lists, zarr, dask, tensors, and what is no image."""

from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import torch
import xarray
import zarr
from zarr.storage import MemoryStore

from bioimage_inference import ImageError, UsageError
from bioimage_inference.image.array_likes import image_like
from bioimage_inference.image.image import Image

NUMBERS = np.random.default_rng(0).integers(0, 999, (6, 40, 50)).astype("uint16")


class CountingStore(MemoryStore):
    """Counts how often each chunk is read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    async def get(self, key: str, *arguments: Any, **words: Any) -> Any:
        if "/" in key and "zarr.json" not in key:
            self.read.append(key)
        return await super().get(key, *arguments, **words)


def test_a_nested_list_is_an_image() -> None:
    found = image_like(NUMBERS.tolist())
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, NUMBERS)


@pytest.mark.parametrize("images", [["a.tif", "b.tif"], [NUMBERS, NUMBERS], (Path("a.tif"),), [torch.zeros(2, 2)]])
def test_a_list_of_images_is_no_image(images: Any) -> None:
    with pytest.raises(UsageError, match=f"a list of {len(images)} images: give them to predict_many"):
        image_like(images)


def test_a_zarr_array_is_read_by_region() -> None:
    store = CountingStore()
    array = zarr.create_array(store, data=NUMBERS, chunks=(1, 20, 25), dimension_names=("t", "y", "x"))
    image = image_like(array)
    assert isinstance(image, Image)
    assert (image.axes, image.axes_source, image.shape, image.dtype) == ("tyx", "file", NUMBERS.shape, np.uint16)
    assert image.piece == 20 * 25 * 2
    assert store.read == []
    region = (slice(2, 3), slice(0, 20), slice(0, 10))
    np.testing.assert_array_equal(image.read(region), NUMBERS[region])
    assert store.read == ["c/2/0/0"]


def test_the_names_of_a_zarr_array_give_way_to_the_axes_of_the_user() -> None:
    array = zarr.create_array(MemoryStore(), data=NUMBERS, dimension_names=("well", "y", "x"))
    named, renamed = image_like(array), image_like(array, "zyx")
    assert isinstance(named, Image)
    assert isinstance(renamed, Image)
    assert named.notes == ("The dimension 'well' is treated like a series of positions.",)
    assert (renamed.axes, renamed.axes_source, renamed.notes) == ("zyx", "user", ())


def test_a_dask_array_is_read_by_region() -> None:
    computed: list[Any] = []

    def block(block_info: Any = None) -> Any:
        place = block_info[None]["array-location"]
        computed.append(place[0][0])
        return NUMBERS[tuple(slice(*span) for span in place)]

    array = dask.array.map_blocks(block, chunks=((1,) * 6, (40,), (50,)), dtype="uint16", meta=NUMBERS[:0])
    image = image_like(array)
    assert isinstance(image, Image)
    assert (image.axes, image.axes_source, image.piece) == ("?yx", "guess", 40 * 50 * 2)
    region = (slice(3, 4), slice(5, 10), slice(0, 50))
    np.testing.assert_array_equal(image.read(region), NUMBERS[region])
    assert computed == [3]


def test_a_dask_array_of_unknown_shape_is_refused() -> None:
    array = dask.array.from_array(NUMBERS)
    with pytest.raises(UsageError, match="call its compute_chunk_sizes"):
        image_like(array[array > 500])


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int16, torch.float16, torch.float32, torch.float64, torch.bfloat16]
)
def test_a_tensor_keeps_its_values(dtype: torch.dtype) -> None:
    tensor = torch.arange(12).reshape(3, 4).to(dtype)
    found = image_like(tensor)
    assert isinstance(found, np.ndarray)
    assert found.dtype == (np.float32 if dtype == torch.bfloat16 else tensor.numpy().dtype)
    np.testing.assert_array_equal(found, np.arange(12).reshape(3, 4))


def test_a_tensor_with_a_gradient_is_an_image() -> None:
    found = image_like(torch.ones((3, 4), requires_grad=True))
    assert isinstance(found, np.ndarray)
    assert found.sum() == 12


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "None is no image. Give a file, an array"),
        (b"cells.tif", "is no image"),
        (5, "5 is no image"),
        ({"image": NUMBERS}, "is no image"),
        (zarr.group(), "is no image"),
        ([[1, 2], [3]], "rows differ in length"),
        (np.ma.masked_less(NUMBERS, 500), "masked pixels"),
        (xarray.Dataset({"cells": (("y", "x"), NUMBERS[0])}), r"arrays cells: give one, such as dataset\[name\]"),
        (torch.eye(3).to_sparse(), "does not become a NumPy array"),
        ("", "empty text"),
    ],
    ids=["None", "bytes", "number", "dict", "group", "ragged", "masked", "Dataset", "sparse", "empty text"],
)
def test_what_is_no_image_is_refused_in_words(given: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        image_like(given)


def test_a_mask_without_masked_pixels_does_no_harm() -> None:
    assert image_like(np.ma.asarray(NUMBERS)) is not None


def test_an_array_of_complex_numbers_in_zarr_is_no_image() -> None:
    with pytest.raises(ImageError, match="holds complex numbers"):
        image_like(zarr.create_array(MemoryStore(), shape=(2, 3), dtype="complex64"))
