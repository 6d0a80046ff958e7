"""What is measured: the models, the images, and the commands of this program and of its peers."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import tifffile
from networks import write_image, write_model

HERE = Path(__file__).parent
_PEERS = {"core": "bioimageio.core", "monai": "monai", "loop": "torch"}


@dataclass(frozen=True)
class Program:
    """A command, the ``.npy`` file that it writes, and the pixels of its image."""

    command: Sequence[str]
    result: Path
    pixels: int


@dataclass(frozen=True)
class Case:
    """One model of 2 or 3 dimensions, and the programs that run on it; the others are compared with the first."""

    name: str
    dimensions: int
    model: Path
    programs: Mapping[str, Program]


@dataclass(frozen=True)
class Setting:
    """Where files go, whether sizes are those of a quick check, and the 2-D model to take instead of our own."""

    folder: Path
    small: bool
    model_2d: Path | None


def has(package: str) -> bool:
    """Whether a library is installed."""
    return find_spec(package.partition(".")[0]) is not None


def two_d(setting: Setting) -> Case:
    """A large 2-D image against every peer, in the settings that suit each."""
    model = _model_2d(setting)
    image = _image(setting, "2d", (256, 256) if setting.small else (4096, 4096))
    tile, block = ("128x128", "144x144") if setting.small else ("512x512", "288x288")
    programs = {"ours": _ours(setting, "ours", model, image)}
    if has("openvino"):
        programs["ours, openvino"] = _ours(setting, "openvino", model, image, "--device", "cpu", "--engine", "openvino")
    programs["ours, bfloat16"] = _ours(setting, "bfloat16", model, image, "--precision", "bfloat16")
    programs |= {name: _peer(setting, name, model, image, tile) for name, package in _PEERS.items() if has(package)}
    if has("bioimageio.core"):
        programs["core, 288"] = _peer(setting, "core", model, image, block)
    return Case("2-D 4096×4096", 2, model, programs)


def three_d(setting: Setting) -> Case:
    """A stack against every peer."""
    model = write_model(setting.folder / "3d", 3, halo=16)
    image = _image(setting, "3d", (40, 64, 64) if setting.small else (64, 256, 256))
    tile = "40x48x48" if setting.small else "64x128x128"
    programs = {"ours": _ours(setting, "ours", model, image)}
    programs |= {name: _peer(setting, name, model, image, tile) for name, package in _PEERS.items() if has(package)}
    return Case("3-D 64×256×256", 3, model, programs)


def tiles(setting: Setting) -> Case:
    """The tile that is chosen against those that one could ask for."""
    model = write_model(setting.folder / "tiles", 3, halo=16)
    image = _image(setting, "tiles", (40, 64, 64) if setting.small else (128, 512, 512))
    asked = ["40x48x48"] if setting.small else ["64x128x128", "96x192x192", "128x152x272", "128x272x272", "128x272x512"]
    programs = {"ours": _ours(setting, "ours", model, image)}
    programs |= {tile: _ours(setting, tile, model, image, "--tile", tile) for tile in asked}
    return Case("3-D 128×512×512, tiles", 3, model, programs)


def stack(setting: Setting) -> Case:
    """A large stack, and with little memory."""
    model = write_model(setting.folder / "stack", 3, halo=16)
    image = _image(setting, "stack", (40, 64, 64) if setting.small else (256, 1024, 1024))
    less = {name: _ours(setting, name, model, image, "--memory", name) for name in ("1200MiB", "800MiB")}
    return Case("3-D 256×1024×1024", 3, model, {"ours": _ours(setting, "stack", model, image), **less})


def sizes(setting: Setting) -> Case:
    """Time per pixel and memory as images grow, and with little memory."""
    model = _model_2d(setting)
    small, large = ((256, 256), (512, 512)) if setting.small else ((4096, 4096), (16384, 16384))
    image, larger = _image(setting, "small", small), _image(setting, "large", large)
    return Case(
        "2-D, 4096×4096 and 16384×16384",
        2,
        model,
        {
            "ours, 16384": _ours(setting, "16384", model, larger),
            "ours, 16384, 800 MiB": _ours(setting, "16384-800", model, larger, "--memory", "800MiB"),
            "ours, 4096": _ours(setting, "4096", model, image),
        },
    )


def start(setting: Setting) -> Case:
    """A small image, for which starting is most of the work."""
    model = _model_2d(setting)
    image = _image(setting, "start", (128, 128) if setting.small else (512, 512))
    programs = {"ours": _ours(setting, "ours", model, image), "whole": _peer(setting, "whole", model, image, "512x512")}
    if has("bioimageio.core"):
        programs["bioimageio predict"] = _reference_command(setting, model, image)
    return Case("512×512", 2, model, programs)


def walls(setting: Setting) -> Case:
    """The cost of the checks of weights and of the sandbox."""
    model = _model_2d(setting)
    image = _image(setting, "walls", (128, 128) if setting.small else (512, 512))
    return Case("512×512, checks and sandbox", 2, model, _with_and_without_walls(setting, model, image))


def large_weights(setting: Setting) -> Case:
    """The same for weights of 500 MB, which take no longer to check than to read."""
    model = write_model(setting.folder / "large", 2, halo=32, features=16 if setting.small else 528)
    image = _image(setting, "large", (128, 128))
    return Case(
        "128×128, checks and sandbox, weights of 500 MB", 2, model, _with_and_without_walls(setting, model, image)
    )


def _with_and_without_walls(setting: Setting, model: Path, image: Path) -> Mapping[str, Program]:
    without = ("--trust-model-code", "--no-sandbox")
    return {
        "ours": _ours(setting, "walls", model, image),
        "ours, without": _ours(setting, "no-walls", model, image, *without),
        "ours, no sandbox": _ours(setting, "no-sandbox", model, image, without[1]),
    }


CASES: Mapping[str, Callable[[Setting], Case]] = {
    "2d": two_d,
    "3d": three_d,
    "tiles": tiles,
    "sizes": sizes,
    "stack": stack,
    "start": start,
    "walls": walls,
    "large-weights": large_weights,
}


def _model_2d(setting: Setting) -> Path:
    return setting.model_2d or write_model(setting.folder / "2d", 2, halo=32)


def _image(setting: Setting, name: str, shape: tuple[int, ...]) -> Path:
    return write_image(setting.folder / f"{name}.tif", shape)


def _ours(setting: Setting, name: str, model: Path, image: Path, *options: str) -> Program:
    """The command line of this program."""
    result = setting.folder / f"ours-{name}.npy"
    files = ["--tiff", str(result.with_suffix(".tif")), "--npy", str(result), "--overwrite"]
    program = [sys.executable, "-m", "bioimage_inference", "predict"]
    return Program([*program, str(model), str(image), *files, "--json", *options], result, _pixels(image))


def _peer(setting: Setting, name: str, model: Path, image: Path, tile: str) -> Program:
    """The command line of a peer."""
    result = setting.folder / f"{name}-{tile}.npy"
    command = [sys.executable, str(HERE / "peers.py"), name, str(model), str(image), str(result), "--tile", tile]
    return Program(command, result, _pixels(image))


def _reference_command(setting: Setting, model: Path, image: Path) -> Program:
    """The reference's own command line, which takes arrays with batch and channel."""
    tensor = setting.folder / "tensor.npy"
    np.save(tensor, tifffile.imread(image)[None, None])
    outputs = str(setting.folder / "reference_{output_id}.npy")
    program = str(Path(sys.executable).with_name("bioimageio"))
    files = ["--inputs", str(tensor), "--outputs", outputs, "--overwrite"]
    command = [program, "predict", str(model), *files, "--weight-format", "torchscript"]
    return Program(command, setting.folder / "reference_prediction.npy", _pixels(image))


def _pixels(image: Path) -> int:
    with tifffile.TiffFile(image) as file:
        return int(file.series[0].size)
