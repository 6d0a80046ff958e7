"""On a real GPU; left out where torch sees none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bioimage_inference import predict
from bioimage_inference.errors import OutOfMemoryError
from tests.models import Blur, Pooled, simple_tensors, write_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")

IMAGE = np.random.default_rng(0).normal(size=(300, 420)).astype("float32")


def predicted(model: Path, device: str, image: "np.ndarray[Any, Any]" = IMAGE, **words: Any) -> Any:
    return predict(model, image, axes="yx", device=device, **words)


@pytest.fixture
def pooled(tmp_path: Path) -> Path:
    return write_model(tmp_path, Pooled((2, 2)), *simple_tensors(size={"min": 16, "step": 4}, halo=4))


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 5e-2), ("float16", 1e-2)])
def test_a_gpu_gives_what_a_cpu_gives(pooled: Path, precision: str, tolerance: float) -> None:
    found = predicted(pooled, "cuda", precision=precision, tile=(128, 128))
    expected = predicted(pooled, "cpu").outputs["out"].array
    np.testing.assert_allclose(found.outputs["out"].array, expected, rtol=0, atol=tolerance)
    assert found.record["device"]["name"] == "cuda:0"
    assert found.outputs["out"].dtype == np.float32


def test_a_tensor_on_a_gpu_is_an_image(pooled: Path) -> None:
    tensor = torch.tensor(IMAGE)
    found, expected = (predict(pooled, one, axes="yx", device="cpu").outputs["out"] for one in (tensor.cuda(), tensor))
    np.testing.assert_array_equal(found.array, expected.array)


def test_small_tiles_are_computed_in_batches(tmp_path: Path) -> None:
    model = write_model(tmp_path, Blur((2, 2)), *simple_tensors(size={"y": 64, "x": 64}, halo=2))
    found, expected = (predicted(model, device).outputs["out"].array for device in ("cuda", "cpu"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


class Hungry(torch.nn.Module):
    """Takes 4 KiB per pixel for a moment."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat(1, 1024, 1, 1).mean(1, keepdim=True)


def test_tiles_shrink_until_they_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing says before how much memory a network takes that somebody else's program takes away meanwhile."""
    from bioimage_inference.inference import calibration

    model = write_model(tmp_path, Hungry(), *simple_tensors(size={"min": 16, "step": 4}, halo=4))
    image = np.random.default_rng(0).normal(size=(1024, 1024)).astype("float32")
    monkeypatch.setattr(calibration, "free_memory", lambda _: 1 << 50)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    try:
        torch.cuda.set_per_process_memory_fraction(float(1 << 30) / total)
        prediction = predicted(model, "cuda", image)
        torch.cuda.set_per_process_memory_fraction(float(1 << 21) / total)
        torch.cuda.empty_cache()
        with pytest.raises(OutOfMemoryError):
            predicted(model, "cuda", image)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert any("did not fit into memory" in note for note in prediction.record["notes"])
    np.testing.assert_allclose(prediction.outputs["out"].array[0, 0], image, rtol=1e-5, atol=1e-6)
