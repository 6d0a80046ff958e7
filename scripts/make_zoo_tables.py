"""Writes ``docs/zoo.md`` from the bundled index: what each model needs to run, and the tests of the zoo's features.

python scripts/make_zoo_tables.py
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from bioimage_inference.model.description import read_description
from bioimage_inference.model.spec import Axis, FixedSize, FreeSize, ModelSpec, ReferencedSize, StepSize
from bioimage_inference.report.describe_model import input_in_words
from bioimage_inference.zoo.index import BUNDLED, Entry, read_index

ROOT = Path(__file__).parents[1]
TUTORIAL = (
    "affable-shark",
    "ambitious-sloth",
    "conscientious-seashell",
    "emotional-cricket",
    "hiding-tiger",
    "impartial-shrimp",
    "kind-seashell",
    "loyal-parrot",
    "organized-badger",
    "powerful-chipmunk",
    "willing-hedgehog",
)
"""The models of the Galaxy tutorial "Using BioImage.IO models for image analysis in Galaxy"."""

ZOO_EXTRA = "the extra `zoo`"
PACKAGES = {
    "biapy": f"torchvision and timm: {ZOO_EXTRA}",
    "careamics": f"careamics: {ZOO_EXTRA}",
    "CellPoseWrapper": "cellpose before version 4: `pip install 'cellpose<4'`",
    "CellposeSAMWrapper": f"cellpose: {ZOO_EXTRA}",
    "PredictorAdaptor": f"segment-anything: {ZOO_EXTRA}",
    "plantseg": "plant-seg: `conda install -c conda-forge plant-seg`",
}
"""Packages that networks import, by library, tag or class of the network.

Read in the sources of BiaPy, of the zoo's wrappers of Cellpose, and of micro-sam; cellpose 4.0.7 has no resnet_torch.
"""


def _image_axes(model: ModelSpec) -> list[Axis]:
    return [axis for tensor in model.inputs for axis in tensor.axes if axis.letter in "tzyx"]


def _output_axes(model: ModelSpec) -> list[Axis]:
    return [axis for tensor in model.outputs for axis in tensor.axes if axis.letter in "tzyx"]


def _has(name: str) -> Callable[[ModelSpec], bool]:
    return lambda model: any(
        step.name == name for tensor in (*model.inputs, *model.outputs) for step in tensor.operations
    )


def _halos(model: ModelSpec) -> set[int]:
    return {axis.halo for axis in _output_axes(model)}


Feature = tuple[str, Callable[[ModelSpec], bool], str]

FEATURES: tuple[Feature, ...] = (
    ("TorchScript weights", lambda m: any(w.format == "torchscript" for w in m.weights), "test_zoo, test_weights"),
    ("ONNX weights", lambda m: any(w.format == "onnx" for w in m.weights), "test_onnx"),
    (
        "state dict, code of its own",
        lambda m: any(w.architecture and w.architecture.source for w in m.weights),
        "test_zoo, test_trust",
    ),
    (
        "state dict, network of a library",
        lambda m: any(w.architecture and w.architecture.import_from for w in m.weights),
        "test_weights",
    ),
    ("format 0.5", lambda m: m.format_version.startswith("0.5"), "test_zoo, test_description"),
    ("format 0.4 or older", lambda m: not m.format_version.startswith("0.5"), "test_zoo, test_description"),
    ("3-D image", lambda m: any(axis.letter == "z" for axis in _image_axes(m)), "test_zoo, test_tiled_equals_whole"),
    (
        "fixed size",
        lambda m: any(isinstance(axis.size, FixedSize) for axis in _image_axes(m)),
        "test_zoo, test_tiled_equals_whole",
    ),
    (
        "sizes in steps",
        lambda m: any(isinstance(axis.size, StepSize) for axis in _image_axes(m)),
        "test_zoo, test_tiling",
    ),
    (
        "steps above 32",
        lambda m: any(isinstance(axis.size, StepSize) and axis.size.step > 32 for axis in _image_axes(m)),
        "test_zoo, test_tiling",
    ),
    ("no halo declared", lambda m: _halos(m) <= {0}, "test_tiled_equals_whole"),
    ("halo that differs between axes", lambda m: len(_halos(m)) > 1, "test_tiled_equals_whole, test_against_reference"),
    (
        "output of another resolution",
        lambda m: any(isinstance(a.size, ReferencedSize) and a.size.scale != 1 for a in _output_axes(m)),
        "test_tiled_equals_whole",
    ),
    (
        "output cropped by the network",
        lambda m: any(isinstance(a.size, ReferencedSize) and a.size.offset for a in _output_axes(m)),
        "test_tiled_equals_whole",
    ),
    ("several inputs", lambda m: len(m.inputs) > 1, "test_examples, test_unusual_models"),
    ("several outputs", lambda m: len(m.outputs) > 1, "test_examples, test_zoo"),
    ("optional inputs", lambda m: any(tensor.optional for tensor in m.inputs), "test_unusual_models"),
    (
        "several input channels",
        lambda m: any(
            isinstance(a.size, FixedSize) and a.size.size > 1 for t in m.inputs for a in t.axes if a.letter == "c"
        ),
        "test_matching, test_zoo",
    ),
    (
        "no batch or no channel axis",
        lambda m: any(not {"b", "c"} <= set(t.letters) for t in (*m.inputs, *m.outputs)),
        "test_zoo, test_unusual_models",
    ),
    (
        "lists of unknown length",
        lambda m: any(isinstance(a.size, FreeSize) and a.letter != "b" for t in m.outputs for a in t.axes),
        "test_unusual_models",
    ),
    (
        "output without image axes",
        lambda m: any(not set(t.letters) & set("zyx") for t in m.outputs),
        "test_unusual_models",
    ),
    (
        "statistics of all samples together",
        lambda m: any(
            step.kwargs.get("axes", "") is None or "b" in (step.kwargs.get("axes") or "")
            for t in m.inputs
            for step in t.operations
        ),
        "test_engine, test_against_reference",
    ),
    *(
        (f"`{name}`", _has(name), "test_against_reference")
        for name in (
            "zero_mean_unit_variance",
            "fixed_zero_mean_unit_variance",
            "scale_range",
            "scale_linear",
            "clip",
            "sigmoid",
        )
    ),
)


def tables() -> str:
    """The page."""
    index = read_index(BUNDLED)
    return "\n".join(_lines(list(index.current().values()), index.date)) + "\n"


def _how_it_runs(entry: Entry) -> tuple[str, str]:
    """Return whether a model runs, and the packages that its network needs beside this program."""
    if "torchscript" in entry.weights:
        return "yes", "—"
    if "pytorch_state_dict" not in entry.weights:
        return "yes, with ONNX weights", "onnxruntime: the extra `onnx`"
    architecture = entry.weights["pytorch_state_dict"]["architecture"]
    tags = [tag.lower() for tag in entry.description.get("tags", ())]
    library = architecture.get("import_from", "").partition(".")[0]
    packages = PACKAGES.get(library or architecture["callable"]) or (PACKAGES["biapy"] if "biapy" in tags else "—")
    if library:
        return "yes", packages
    code = architecture["source"]
    if not code.endswith(".py"):
        return "no: its description names no file with the network", "—"
    if "sha256" not in architecture:
        return f"with `--trust-model-code`: nobody states the hash of its code {code}", packages
    return f"yes, with its own code {code}", packages


def _all_models(entries: list[Entry]) -> Iterator[str]:
    yield "\n## All models, and what they need\n"
    yield "`bioimage-inference models` prints this list for your installation, with the tasks and tags of each model. A"
    yield "model whose network is code of its own may import more packages: `bioimage-inference inspect ID` names each"
    yield 'package that is missing. `pip install "bioimage_inference[zoo]"` installs the packages of the extra `zoo`.\n'
    yield "| id | name | axes | runs here | its network needs |"
    yield "| --- | --- | --- | --- | --- |"
    for entry in entries:
        runs, packages = _how_it_runs(entry)
        axes = f"{', '.join(entry.inputs)} → {', '.join(entry.outputs)}"
        yield f"| `{entry.id}` | {entry.name.replace('|', '/')} | {axes} | {runs} | {packages} |"


def _lines(entries: list[Entry], date: str) -> Iterator[str]:
    models = {entry.id: read_description(entry.description, Path()) for entry in entries}
    yield "# The models of the zoo\n"
    yield "`scripts/make_zoo_tables.py` makes this page from the list of the BioImage.IO zoo in this program. The list"
    yield f"is of {date} and has {len(models)} models with weights that run here. `bioimage-inference models --update`"
    yield "fetches the list of today. Only the list in the program vouches for code and weights.\n"
    yield "## The models of the Galaxy tutorial\n"
    yield "Run any of them with `bioimage-inference predict ID IMAGE -o results`, with the downloaded package instead"
    yield "of the id, or with the bare weights file, which is recognised by its SHA-256.\n"
    yield "| id | name | the image that it takes |"
    yield "| --- | --- | --- |"
    for model_id in TUTORIAL:
        model = models[model_id]
        yield f"| `{model_id}` | {model.name} | {input_in_words(model.inputs[0])} |"
    yield from _all_models(entries)
    yield "\n## Features of the zoo, and the tests that cover them\n"
    yield f"Of the {len(models)} models in the index:\n"
    yield "| feature | models | covered by |"
    yield "| --- | --- | --- |"
    for name, found, tests in FEATURES:
        covered = ", ".join(f"`{test}`" for test in tests.split(", "))
        yield f"| {name} | {sum(map(found, models.values()))} | {covered} |"


if __name__ == "__main__":
    (ROOT / "docs" / "zoo.md").write_text(tables(), encoding="utf-8")
