"""What users of Python do every day, and their mistakes, each with the words that they must read."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import torch
import xarray
from numpy.typing import NDArray

import bioimage_inference
from bioimage_inference import BioimageInferenceError, ImageError, Model, Options, Target, UsageError, load_model

IMAGE = np.random.default_rng(0).random((64, 72)).astype("float32")
COLOURS = np.zeros((64, 72, 3), np.uint8)


@pytest.fixture(scope="module")
def model(test_data: Path) -> Iterator[Model]:
    with load_model(test_data / "demo-model.zip") as opened:
        yield opened


def of_rows() -> xarray.DataArray:
    places = {
        name: (name, np.arange(size) * 0.5, {"units": "µm"}) for name, size in zip("yx", IMAGE.shape, strict=True)
    }
    return xarray.DataArray(IMAGE, dims=("y", "x"), coords=places)


ACTIONS: dict[str, tuple[Callable[[Model], object], str]] = {
    "ask what a model takes": (lambda model: model.inspect()["inputs"][0]["in_words"], "one channel (nuclei), 2-D"),
    "look at an open model": (repr, "<Model 'Demo U-Net for nuclei': raw and prediction>"),
    "look at a prediction": (lambda model: model.predict(IMAGE), "prediction bcyx 1×2×64×72 float32, channels"),
    "take the array": (lambda model: np.asarray(model.predict(IMAGE).outputs["prediction"]).shape, "(1, 2, 64, 72)"),
    "predict a list": (lambda model: model.predict(IMAGE.tolist(), axes="yx").record["inputs"][0]["shape"], "[64, 72]"),
    "predict a tensor": (lambda model: model.predict(torch.tensor(IMAGE)), "float32"),
    "predict a dask array": (lambda model: model.predict(dask.array.from_array(IMAGE, chunks=32)), "float32"),
    "predict a DataArray": (
        lambda model: model.predict(of_rows()).outputs["prediction"].pixel_size["x"],
        "0.5, unit='µm'",
    ),
    "choose the only channel": (
        lambda model: model.predict(COLOURS, channels=0).record["inputs"][0]["channels"],
        "[0]",
    ),
    "choose a tile": (lambda model: model.predict(IMAGE, tile=64).record["plan"]["tile"], "{'y': 64, 'x': 64}"),
    "leave the tile to the program": (lambda model: model.predict(IMAGE, tile="auto").record["plan"]["tiles"], "1"),
    "give memory in bytes": (lambda model: model.predict(IMAGE, memory=4e9).record["memory"]["bytes"], "4000000000"),
    "name a device of torch": (
        lambda model: model.predict(IMAGE, device=torch.device("cpu")).record["options"],
        "'cpu'",
    ),
    "reuse options": (
        lambda model: model.predict(IMAGE, options=Options(tile=(64, 72)), tile=64).record["options"],
        "[64, 64]",
    ),
    "predict many images": (lambda model: [*model.predict_many([IMAGE, IMAGE])], "<Prediction of array"),
    "find objects": (lambda model: model.segment(IMAGE), "<Segmentation: "),
    "check a model": (lambda model: model.validate(weights="torchscript")[0].verdict, "reproduced"),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_an_everyday_action_shows(action: str, model: Model) -> None:
    do, words = ACTIONS[action]
    found = do(model)
    assert words in (found if isinstance(found, str) else repr(found))


def predicting(image: Any = IMAGE, **words: Any) -> Callable[[Model], object]:
    return lambda model: model.predict(image, **words)


def segmenting(**words: Any) -> Callable[[Model], object]:
    maps: NDArray[np.float32] = np.zeros((2, 64, 72), np.float32)
    return lambda model: bioimage_inference.segment(maps, **{"axes": "cyx", **words})


MISTAKES: dict[str, tuple[Callable[[Model], object], type[BioimageInferenceError], str]] = {
    "a misspelled option": (predicting(tiel=64), UsageError, "There is no option 'tiel'. Did you mean 'tile'?"),
    "a misspelled argument": (predicting(target={}), UsageError, "Did you mean 'targets'?"),
    "an option of the command line": (
        predicting(json=True),
        UsageError,
        "There is no option 'json'. The options are axes, ",
    ),
    "a tile as the command line has it": (predicting(tile="64x64"), UsageError, "pixels above 0, such as tile=256"),
    "a tile for a stack": (predicting(tile=(8, 64, 64)), UsageError, "3 numbers, but the model's image axes are y x"),
    "half a channel": (predicting(channels=0.5), UsageError, "channels=0.5 is not understood: give numbers from 0"),
    "a channel that is not there": (predicting(channels=3), UsageError, "channel 3, but array has only channel 0"),
    "an unknown device": (predicting(device=0), UsageError, 'give "auto", "cpu", "cuda", "cuda:1" or "mps"'),
    "an unknown size of memory": (predicting(memory="lots"), UsageError, "Give a size such as 4GiB"),
    "a text for a switch": (predicting(trust_model_code="no"), UsageError, "give True or False"),
    "an unknown way to fit": (predicting(fit="stretch"), UsageError, "Give one of tile, resize, exact."),
    "options as a dictionary": (
        predicting(options={"tile": 64}),
        UsageError,
        "give Options(...), or keyword arguments",
    ),
    "a list of files": (predicting(["a.tif", "b.tif"]), UsageError, "a list of 2 images: give them to predict_many"),
    "rows of different length": (predicting([[1, 2], [3]]), UsageError, "rows differ in length"),
    "no image at all": (
        predicting(None),
        UsageError,
        "None is no image. Give a file, an array, or an xarray DataArray.",
    ),
    "a masked array": (
        predicting(np.ma.masked_less(IMAGE, 0.5)),
        UsageError,
        "choose their values with .filled(value)",
    ),
    "a whole Dataset": (predicting(of_rows().to_dataset(name="cells")), UsageError, "dataset[name]"),
    "a missing file": (predicting("cells.tif"), UsageError, "There is no file cells.tif."),
    "too many axes": (predicting(axes="zyx"), UsageError, "name 3 dimensions, but array has the shape 64×72"),
    "a colour image": (predicting(COLOURS), ImageError, "the image has 3 channels"),
    "complex numbers": (predicting(IMAGE * 1j), ImageError, "holds complex numbers"),
    "an empty array": (predicting(IMAGE[:0]), ImageError, "array holds no pixels"),
    "a file for an output": (predicting(targets={"prediction": "a.tif"}), UsageError, "Target(tiff=…, npy=…)"),
    "an unknown output": (
        predicting(targets={"mask": Target()}),
        UsageError,
        "the outputs of the model are prediction",
    ),
    "a further input": (predicting(inputs={"mask": IMAGE}), UsageError, "further inputs of the model are none"),
    "one image for many": (lambda model: model.predict_many("cells.tif"), UsageError, "give a list, such as [image]"),
    "no model": (lambda model: bioimage_inference.predict(None, IMAGE), UsageError, "is no model: give a package"),  # type: ignore[arg-type]
    "an unknown channel of objects": (segmenting(foreground="cells"), UsageError, "cells is no channel of array"),
    "a threshold in words": (segmenting(threshold="high"), UsageError, "give a number such as 0.6"),
    "another image for the objects": (
        segmenting(image=IMAGE[:9]),
        ImageError,
        "Give the image that the prediction was",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_with(mistake: str, model: Model) -> None:
    do, kind, words = MISTAKES[mistake]
    with pytest.raises(kind) as error:
        do(model)
    assert words in str(error.value)


def test_a_closed_model_says_how_to_open_it(test_data: Path) -> None:
    model = load_model(test_data / "demo-model.zip")
    model.close()
    with pytest.raises(UsageError, match=r"is closed\. Open it again with load_model"):
        model.predict(IMAGE)


def test_an_output_in_a_tiff_says_where_its_array_is(model: Model, tmp_path: Path) -> None:
    prediction = model.predict(IMAGE, targets={"prediction": Target(tiff=tmp_path / "a.tif")})
    with pytest.raises(UsageError, match=r"or give the output no target, or one with \.npy"):
        np.asarray(prediction.outputs["prediction"])
