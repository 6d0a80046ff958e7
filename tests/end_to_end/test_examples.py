"""Real models: what they predict is what was published with them."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bioimage_inference.cli import main

NUCLEI = "examples/unet2d_nuclei_broad"
MULTI = "examples/unet2d_multi_tensor"


@pytest.mark.parametrize("description", ["bioimageio.yaml", "v0_4_9.bioimageio.yaml", "v0_4_0.bioimageio.yaml"])
def test_every_description_reproduces_the_test_output(shared: Path, tmp_path: Path, description: str) -> None:
    folder = shared / NUCLEI
    assert main(["predict", str(folder / description), str(folder / "test_input.npy"), "-o", str(tmp_path)]) == 0
    result = np.load(tmp_path / "test_input_probability.npy")
    np.testing.assert_allclose(result, np.load(folder / "test_output.npy"), atol=1e-4)


def test_a_zip_of_the_folder_reproduces_it(shared: Path, tmp_path: Path) -> None:
    folder = shared / NUCLEI
    package = tmp_path / "model.zip"
    with zipfile.ZipFile(package, "w") as archive:
        for name in ("bioimageio.yaml", "weights.pt", "test_input.npy", "test_output.npy"):
            archive.write(folder / name, name)
    assert main(["predict", str(package), str(folder / "test_input.npy"), "-o", str(tmp_path)]) == 0
    result = np.load(tmp_path / "test_input_probability.npy")
    np.testing.assert_allclose(result, np.load(folder / "test_output.npy"), atol=1e-4)


@pytest.mark.parametrize("name", ["weights.pt", "weights.zip", "dataset_1.dat"])
def test_bare_weights_of_any_name_with_their_description(shared: Path, tmp_path: Path, name: str) -> None:
    folder = shared / NUCLEI
    shutil.copy(folder / "weights.pt", tmp_path / name)
    arguments = ["--description", str(folder / "bioimageio.yaml"), "--npy", str(tmp_path / "out.npy")]
    assert main(["predict", str(tmp_path / name), str(folder / "test_input.npy"), *arguments]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), np.load(folder / "test_output.npy"), atol=1e-4)


def test_the_8_bit_picture_gives_the_same_mask(shared: Path, tmp_path: Path) -> None:
    folder = shared / NUCLEI
    assert main(["predict", str(folder / "bioimageio.yaml"), str(folder / "test_input.png"), "-o", str(tmp_path)]) == 0
    result, expected = np.load(tmp_path / "test_input_probability.npy"), np.load(folder / "test_output.npy")
    assert np.abs(result - expected).mean() < 1e-3
    assert ((result > 0.5) == (expected > 0.5)).mean() > 0.999


def test_a_larger_image_runs_in_tiles_of_the_fixed_size(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared / NUCLEI
    image = np.tile(np.asarray(Image.open(folder / "test_input.png")), (2, 2))
    np.save(tmp_path / "large.npy", image)
    options = ["-o", str(tmp_path), "--json"]
    assert main(["predict", str(folder / "bioimageio.yaml"), str(tmp_path / "large.npy"), *options]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["plan"]["tile"] == {"y": 512, "x": 512}
    assert record["plan"]["tiles"] == 9
    assert np.load(tmp_path / "large_probability.npy").shape == (1, 1, 1024, 1024)


def test_two_inputs_and_two_outputs(shared: Path, tmp_path: Path) -> None:
    folder = shared / MULTI
    images = [str(folder / f"test_input_{number}.npy") for number in (0, 1)]
    options = ["--input", f"input1={images[1]}", "-o", str(tmp_path)]
    assert main(["predict", str(folder / "bioimageio.yaml"), images[0], *options]) == 0
    for number in (0, 1):
        result = np.load(tmp_path / f"test_input_0_output{number}.npy")
        np.testing.assert_allclose(result, np.load(folder / f"test_output_{number}.npy"), atol=1e-4)


def test_an_output_with_one_more_axis(shared: Path, tmp_path: Path) -> None:
    folder = shared / NUCLEI
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        code = main(
            ["predict", str(folder / "expand_output_shape_v0_4.bioimageio.yaml"), str(folder / "test_input.npy")]
        )
    assert code == 4  # its architecture file is not in the package, and the weights return one axis less
