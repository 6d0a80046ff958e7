"""Work that happens once: the plan, the trials of a network, the preprocessors, the outputs."""

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bioimage_inference import Model, Options, open_model
from bioimage_inference.errors import OutOfMemoryError
from bioimage_inference.inference.outputs import Outputs
from bioimage_inference.inference.pipeline import Job, run
from bioimage_inference.inference.planning import PreparedImages, close, prepare, sources_of
from bioimage_inference.machine.memory import PROGRAM_BYTES
from bioimage_inference.network.device import Device
from bioimage_inference.network.network import Engine
from bioimage_inference.network.torch_network import TorchNetwork
from tests.models import Identity, simple_tensors, write_model

Array = np.ndarray[Any, Any]
IMAGE = np.random.default_rng(0).normal(size=(100, 120)).astype("float32")


class Counting:
    """Returns its input, and counts the tiles."""

    engine = Engine("torch", "as asked")

    def __init__(self, largest: int = 1 << 30) -> None:
        self.calls, self.largest = 0, largest

    def __call__(self, inputs: Sequence[Array | None]) -> list[Array]:
        assert inputs[0] is not None
        if inputs[0].size > self.largest:
            raise OutOfMemoryError("too large")
        self.calls += 1
        return [inputs[0]]


class CountingModule(torch.nn.Module):
    """Holds 512 copies of each pixel, returns their mean, and counts its forwards."""

    def __init__(self) -> None:
        super().__init__()
        self.forwards = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.forwards += 1
        return x.repeat(1, 512, 1, 1).mean(1, keepdim=True)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_model(tmp_path, Identity(), *simple_tensors(size={"min": 16, "step": 4}, halo=4))


def planned(model: Model, options: Options, image: Array = IMAGE) -> PreparedImages:
    prepared = prepare(model.spec, image, {}, options)
    close(prepared)
    return model.calibration(prepared, options).prepared


def test_a_model_keeps_the_plan_and_not_the_image(package: Path) -> None:
    image = IMAGE.copy()
    image_reference = weakref.ref(image)
    with open_model(package, network=Counting()) as model:
        model.predict(image, axes="yx")
        del image
        gc.collect()
        assert image_reference() is None


def test_the_network_computes_the_tiles_and_nothing_else(package: Path) -> None:
    network, seen = Counting(), []
    with open_model(package, network=network) as model:
        for number in (1, 2):
            prediction = model.predict(IMAGE, axes="yx", tile=(32, 40), planned=seen.append)
            assert network.calls == number * prediction.record["plan"]["tiles"]
            assert len(seen) == number  # the plan of the description is the plan of the run


def test_a_network_is_tried_once_for_each_shape_of_images(package: Path) -> None:
    module = CountingModule()
    options = Options(axes="yx", memory=str(PROGRAM_BYTES + (100 << 20)))
    with open_model(package, network=TorchNetwork(module, Device("cpu", ""))) as model:
        trials = []
        for shape in ((700, 600), (700, 600), (600, 700)):
            before = module.forwards
            record = model.predict(np.ones(shape, "float32"), options=options).record
            assert record["plan"]["tiles"] > 1
            trials.append(module.forwards - before - record["plan"]["tiles"])
    assert trials[0] == trials[2] > 0
    assert trials[1] == 0


def test_images_of_a_shape_share_a_plan_that_fits(package: Path) -> None:
    options = Options(axes="yx")
    with open_model(package, network=Counting()) as model:
        first = planned(model, options)
        assert planned(model, options).plan is first.plan
        assert planned(model, options, IMAGE[:, :116]).plan != first.plan
        assert planned(model, Options(axes="yx", tile=(32, 32))).plan != first.plan


def test_smaller_tiles_are_kept_for_the_next_image(package: Path) -> None:
    network = Counting(largest=4000)
    with open_model(package, network=network) as model:
        first = model.predict(IMAGE, axes="yx").record["plan"]["tiles"]
        assert network.calls == first > 1
        assert model.predict(IMAGE, axes="yx").record["plan"]["tiles"] == first
    assert network.calls == 2 * first


class CountingSources(dict[str, Any]):
    """The readers of the inputs, and how often one is asked for."""

    asked = 0

    def __getitem__(self, tensor: str) -> Any:
        self.asked += 1
        return super().__getitem__(tensor)


@pytest.fixture
def outputs(package: Path, tmp_path: Path) -> Iterator[tuple[CountingSources, list[str]]]:
    """Compute a series of three images in tiles; yield the readers, and the outputs in the order of their opening."""
    options, opened = Options(axes="tyx", tile=(32, 40)), []
    with open_model(package, network=Counting()) as model, ExitStack() as stack:
        prepared = prepare(model.spec, np.stack([IMAGE] * 3), {}, options)
        sources = CountingSources(sources_of(model.spec, prepared))
        made = Outputs(prepared, None, options, stack, tmp_path)

        def make_writer(output: Any, sizes: Any, dtype: Any) -> Any:
            opened.append(output.id)
            return made.open(output, sizes, dtype)

        network = model.load(options).network
        run(Job(model.spec, network, prepared.plan, sources, (3,), make_writer, tmp_path, lambda *_: None))
        yield sources, opened


def test_preprocessors_are_made_once_for_all_samples(outputs: tuple[CountingSources, list[str]]) -> None:
    assert outputs[0].asked == 2  # for the preprocessor, and for remarks on the image's values


def test_outputs_are_opened_once_for_all_samples(outputs: tuple[CountingSources, list[str]]) -> None:
    assert outputs[1] == ["out"]


COUNT_OPENINGS = """
import sys
opened = []
sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)
import bioimage_inference
with bioimage_inference.open_model(sys.argv[1]):
    print(opened.count(sys.argv[1]))
"""


def test_the_archive_of_a_model_is_opened_once(test_data: Path) -> None:
    """The other three times, its first bytes are read twice, and it is hashed."""
    command = [sys.executable, "-c", COUNT_OPENINGS, str(test_data / "demo-model.zip")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) == 4
