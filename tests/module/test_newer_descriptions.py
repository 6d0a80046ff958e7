"""Descriptions of format 0.5.14, and of formats that do not exist yet: read as far as they can be, with a note."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from bioimage_inference import predict
from bioimage_inference.errors import ModelError
from bioimage_inference.model.description import read_description
from bioimage_inference.model.spec import FixedSize, ReferencedSize, StepSize

from ..models import write_model

Content = dict[str, Any]
SIZE = {"min": 16, "step": 4}
NORMALISE = {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["S", "Y", "x"]}}


def description(**changes: Any) -> Content:
    """A description with everything of format 0.5.14 that inference meets."""
    raw = {
        "id": "raw",
        "axes": [
            {"type": "batch"},
            {"type": "channel", "id": "s", "channel_names": ["only"]},
            {"type": "space", "id": "Y", "size": SIZE, "unit": "micrometer", "scale": 0.5},
            {"type": "space", "id": "x", "size": {"tensor_id": "raw", "axis_id": "y"}, "scale": 0.5},
        ],
        "data": {"type": "float32"},
        "preprocessing": [NORMALISE],
    }
    out = {
        "id": "out",
        "axes": [
            {"type": "batch"},
            {"type": "channel", "id": "S", "channel_names": ["a", "b"]},
            {"type": "space", "id": "y", "size": {"tensor_id": "raw", "axis_id": "Y"}, "halo": 2, "scale": 0.5},
            {"type": "space", "id": "X", "size": {"tensor_id": "raw", "axis_id": "X"}, "halo": 2, "scale": 0.5},
        ],
        "data": {"type": "float32"},
        "postprocessing": [{"id": "scale_linear", "kwargs": {"axis": "s", "gain": [2.0, 3.0]}}],
    }
    weights = {"torchscript": {"source": "weights.pt", "pytorch_version": "2.10"}}
    tolerance = [{"output_ids": "any_continuous_output", "relative_tolerance": 1e-3, "absolute_tolerance": 1e-3}]
    config = {"bioimageio": {"reproducibility_tolerance": tolerance}}
    facts = {"type": "model", "name": "New", "format_version": "0.5.14", "config": config}
    return {**facts, "inputs": [raw], "outputs": [out], "weights": weights, **changes}


class Twice(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, x], 1)


def written(folder: Path, content: Content) -> Path:
    """A model with this description, and a network that returns its input twice."""
    inputs, outputs = content["inputs"], content["outputs"]
    rdf = write_model(folder, Twice(), inputs, outputs, test_shape=(1, 1, 16, 16))
    np.save(folder / "test1.npy", np.zeros((1, 2, 16, 16), "float32"))
    rdf.write_text(yaml.safe_dump({**yaml.safe_load(rdf.read_text()), **content}))
    return rdf


def test_ids_of_axes_are_read_as_format_0_5_14_means_them() -> None:
    spec = read_description(description(), Path())
    (raw,), (out,) = spec.inputs, spec.outputs
    assert (raw.letters, out.letters) == ("bcyx", "bcyx")
    assert [axis.size for axis in raw.axes[1:3]] == [FixedSize(1), StepSize(16, 4)]
    for tensor, letter, axis in ((raw, "x", "y"), (out, "y", "y"), (out, "x", "x")):
        found = tensor.axis(letter)
        assert found is not None
        assert isinstance(found.size, ReferencedSize)
        assert (found.size.tensor, found.size.axis) == ("raw", axis)
    assert raw.operations[1].kwargs["axes"] == "cyx"
    assert out.operations[0].kwargs["axis"] == "c"
    assert spec.notes == ()


def test_a_model_of_format_0_5_14_runs_and_reproduces_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rdf = written(tmp_path / "model", description())
    image = np.random.default_rng(0).normal(5, 2, (32, 32)).astype("float32")
    found = predict(rdf, image, axes="yx").outputs["out"]
    normalised = (image - image.mean()) / (image.std() + 1e-6)
    np.testing.assert_allclose(found.array, [[2 * normalised, 3 * normalised]], atol=1e-5)


@pytest.mark.parametrize("version", ["0.5.99", "0.6.0", "0.10", "1.0.0"])
def test_a_description_from_the_future_is_read_and_the_note_names_the_rest(version: str, tmp_path: Path) -> None:
    content = description(format_version=version, mood="sunny")
    content["inputs"][0]["axes"][2]["curvature"] = 0.1
    content["outputs"][0]["meaning"] = "cells"
    content["weights"]["torchscript"]["signed_by"] = "somebody"
    content["weights"]["quantum"] = {"source": "weights.q", "qubits": 7}
    (note,) = read_description(content, Path()).notes
    assert note.startswith(f"The description is in format {version}, which is newer than 0.5.14. It is read as that ")
    unread = "mood, inputs.0.axes.2.curvature, outputs.0.meaning, weights.torchscript.signed_by"
    assert f"These parts are not read: {unread}." in note
    image = np.random.default_rng(0).normal(5, 2, (32, 32)).astype("float32")
    record = predict(written(tmp_path / "model", content), image, axes="yx").record
    assert note in record["notes"]


def test_a_description_from_the_future_without_anything_new_says_so() -> None:
    (note,) = read_description(description(format_version="0.6.0"), Path()).notes
    assert "No part of it is unknown." in note
    assert read_description(description(format_version="0.5.13"), Path()).notes == ()


def test_what_the_future_needs_and_cannot_be_computed_is_refused() -> None:
    content = description(format_version="0.6.0")
    content["inputs"][0]["preprocessing"] = [{"id": "dream", "kwargs": {}}]
    with pytest.raises(ModelError, match=r"format 0\.6\.0, which this program does not know yet\. A newer version"):
        read_description(content, Path())


@pytest.mark.parametrize("version", ["0.2.5", None, "new"])
def test_formats_that_nobody_knows_are_refused(version: str | None) -> None:
    with pytest.raises(ModelError, match=r"formats from 0\.3 are understood"):
        read_description(description(format_version=version), Path())
