"""The Python interface."""

import doctest
import shutil
from pathlib import Path

import numpy as np
import pytest

import bioimage_inference
from bioimage_inference import api, python_functions


def test_public_names_are_sorted_and_exist() -> None:
    assert bioimage_inference.__all__ == sorted(bioimage_inference.__all__)
    for name in bioimage_inference.__all__:
        assert getattr(bioimage_inference, name) is not None


def test_one_open_model_predicts_many_arrays(test_data: Path) -> None:
    rng = np.random.default_rng(0)
    with bioimage_inference.open_model(test_data / "demo-model.zip") as model:
        assert model.spec.outputs[0].id == "prediction"
        for shape in ((80, 90), (64, 128)):
            prediction = bioimage_inference.predict(model, rng.integers(0, 99, shape, "uint16"), axes="yx")
            output = prediction.outputs["prediction"]
            assert output.axes == "bcyx"
            assert output.shape == (1, 2, *shape)
            assert output.channel_names == ("foreground", "boundary")


@pytest.mark.parametrize("name", ["fit", "border", "precision", "engine", "tiff_layout"])
def test_a_word_that_no_option_knows_is_told(name: str) -> None:
    with pytest.raises(bioimage_inference.UsageError, match=f"{name}='bogus' is not known. Give one of "):
        bioimage_inference.Options(**{name: "bogus"})


def test_the_examples_of_the_interface_run(test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("demo-model.zip", "nuclei.tif"):
        shutil.copy(test_data / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    for module in (api, python_functions):
        found = doctest.testmod(module, extraglobs={"numpy": np})
        assert (found.attempted > 5, found.failed) == (True, 0)
