"""The options of a prediction: their words in Python, the forms of their values, misspelled words."""

import inspect
from dataclasses import fields
from typing import Any, Unpack

import numpy as np
import pytest
import torch

import bioimage_inference
from bioimage_inference import Model, Options, OptionWords, UsageError
from bioimage_inference.options import options_of
from bioimage_inference.python_functions import IterationArguments, PredictionArguments


def test_the_words_are_the_options() -> None:
    assert [*OptionWords.__annotations__] == [field.name for field in fields(Options)]
    assert OptionWords.__total__ is False


@pytest.mark.parametrize("name", ["predict", "predict_many", "validate"])
def test_functions_declare_the_words(name: str) -> None:
    function = getattr(bioimage_inference, name)
    assert inspect.signature(function).parameters["words"].annotation == Unpack[OptionWords]


@pytest.mark.parametrize(
    ("function", "declared"), [("predict", PredictionArguments), ("predict_many", IterationArguments)]
)
def test_methods_declare_the_arguments_of_functions(function: str, declared: type) -> None:
    parameters = inspect.signature(getattr(bioimage_inference, function)).parameters.values()
    named = {one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY}
    assert {*declared.__annotations__} - {*OptionWords.__annotations__} == named
    method = inspect.signature(getattr(Model, function)).parameters["arguments"]
    assert method.annotation == Unpack[declared]  # type: ignore[valid-type]


def test_choices_have_the_same_type_in_both() -> None:
    words, options = OptionWords.__annotations__, Options.__annotations__
    for name in ("fit", "border", "precision", "engine", "tiff_layout", "threads", "axes", "trust_model_code"):
        assert words[name] == options[name], name


def test_words_win_over_options_and_nothing_is_dropped() -> None:
    options = Options(tile=(64, 64), border="mirror")
    assert options_of(options, {"tile": (32, 32), "threads": 1}) == Options(tile=(32, 32), border="mirror", threads=1)
    assert options_of(None, {}) == Options()


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("tile", 256, 256),
        ("tile", np.int64(256), 256),
        ("tile", "auto", None),
        ("tile", [64, 32], (64, 32)),
        ("tile", np.array([8, 64, 32]), (8, 64, 32)),
        ("tile", torch.Size([64, 32]), (64, 32)),
        ("channels", 0, (0,)),
        ("channels", [0, "GFP"], (0, "GFP")),
        ("channels", "2,DAPI", (2, "DAPI")),
        ("channels", range(3), (0, 1, 2)),
        ("channels", np.array([2, 0]), (2, 0)),
        ("memory", 4e9, "4000000000"),
        ("memory", np.float32(2**30), "1073741824"),
        ("memory", "4GiB", "4GiB"),
        ("device", torch.device("cuda", 1), "cuda:1"),
        ("device", torch.device("cpu"), "cpu"),
        ("threads", np.int8(2), 2),
    ],
)
def test_usual_forms_are_understood(name: str, given: Any, expected: Any) -> None:
    assert getattr(Options(**{name: given}), name) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("tile", value)
            for value in (0, -1, 2.5, "256x256", "", (), (0, 64), {64, 32}, True, np.array(3), [[1], [2]])
        ),
        *(("channels", value) for value in (-1, 0.5, True, [], [None], {0: 1}, slice(2), [0, -1])),
        *(("memory", value) for value in (0, -4, float("nan"), float("inf"), True, [1], b"4GiB")),
        *(("device", value) for value in (0, None, b"cpu", ["cpu"])),
        *(("threads", value) for value in (0, 1.5, "2", True)),
        *(("axes", value) for value in (["y", "x"], 2)),
        *(("trust_model_code", value) for value in ("no", 1, None)),
        *(("fit", value) for value in ("stretch", None, ["tile"], np.zeros(2))),
    ],
)
def test_other_forms_are_refused_with_their_name(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"^{name}=") as error:
        Options(**{name: value})
    assert "give" in str(error.value).lower()


@pytest.mark.parametrize(
    ("word", "words"),
    [("tiel", "Did you mean 'tile'"), ("target", "Did you mean 'targets'"), ("zoom", "The options are axes, series")],
)
def test_an_unknown_word_names_the_nearest_one(word: str, words: str) -> None:
    with pytest.raises(UsageError, match=f"no option '{word}'. {words}"):
        options_of(None, {word: 1}, ["targets"])


def test_options_are_no_dictionary() -> None:
    with pytest.raises(UsageError, match=r"options=\{'tile': 256\} is not understood: give Options"):
        options_of({"tile": 256}, {})  # type: ignore[arg-type]
