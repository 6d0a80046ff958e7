"""Same in, same out: on a CPU, outputs are the same bytes from run to run and for any number of threads."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bioimage_inference.cli import main

CASES = {
    "plane": ("demo-model", "nuclei.tif", []),
    "plane in tiles": ("demo-model", "nuclei.tif", ["--tile", "128x128"]),
    "volume in tiles": ("demo-model-3d", "nuclei_3d.tif", ["--tile", "16x48x48"]),
}


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def outputs(test_data: Path, folder: Path, case: str, threads: int) -> tuple[bytes, bytes]:
    """What is in the ``.npy`` and the TIFF file."""
    model, image, more = CASES[case]
    arguments = [*("predict", test_data / model, test_data / image, "-o", folder), *more, "--engine", "torch"]
    assert main([str(argument) for argument in (*arguments, "--threads", threads)]) == 0
    (array,), (picture,) = folder.glob("*.npy"), folder.glob("*.tif")
    return array.read_bytes(), picture.read_bytes()


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_the_same_for_any_number_of_threads(test_data: Path, tmp_path: Path, case: str) -> None:
    found = {outputs(test_data, tmp_path / str(run), case, threads) for run, threads in enumerate((1, 2, 3, 4, 2))}
    assert len(found) == 1
