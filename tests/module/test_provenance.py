"""The record of a run: strict, complete, and with the values that were used; the same facts in a labelled TIFF."""

import dataclasses
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import ome_types
import pytest
import tifffile
import zarr
from jsonschema import Draft202012Validator
from numpy.typing import NDArray

import bioimage_inference
from bioimage_inference import ImageError, Options, Target, UsageError
from bioimage_inference.cli import main
from bioimage_inference.image.writers.base import Layout
from bioimage_inference.image.writers.ome_zarr_writer import OmeZarrWriter
from bioimage_inference.provenance.hashing import array_hash, path_hash
from bioimage_inference.provenance.record import RunRecord, read_record, record_from_json, to_json
from bioimage_inference.provenance.record_parts import OBJECT_FILES
from tests.machine import ROOT, resident_bytes
from tests.models import Blur, simple_tensors, write_model

SCHEMA = json.loads((files("bioimage_inference") / "provenance" / "provenance.schema.json").read_text())


def predicted(tmp_path: Path, *arguments: str | Path) -> dict[str, Any]:
    """The record that the command line writes for an image; it keeps to the schema."""
    assert main(["predict", *map(str, arguments), "-o", str(tmp_path / "out")]) == 0
    (path,) = (tmp_path / "out").glob("*_provenance.json")
    record: dict[str, Any] = json.loads(path.read_text(), parse_constant=pytest.fail)
    Draft202012Validator(SCHEMA).validate(record)
    assert to_json(read_record(path)) == record
    return record


def sha256(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def used(record: dict[str, Any], step: str) -> dict[str, Any]:
    """The statistics of a step by their names."""
    (one,) = (one for one in record["processing"] if one["step"] == step)
    return {entry["statistic"]: entry["values"] for entry in one["statistics"]}


def test_the_schema_is_one_and_knows_every_option() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert set(SCHEMA["properties"]["options"]["properties"]) == {field.name for field in dataclasses.fields(Options)}


TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}


def outline(kind: Any) -> Any:
    """Names, types and required fields of a dataclass, in the terms of JSON Schema."""
    if kind in TYPES:
        return TYPES[kind]
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return {one.name: outline_of_field(one, outline(hints[one.name])) for one in dataclasses.fields(kind)}
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:
        (one,) = (one for one in arguments if one is not NoneType)
        return {"or null": outline(one)}
    if origin is tuple:
        return ["pair" if ... not in arguments else "many", outline(arguments[0])]
    assert origin is Mapping, kind
    return "object" if arguments[1] is Any else {"each": outline(arguments[1])}


def outline_of_field(one: dataclasses.Field[Any], kind: Any) -> Any:
    required = one.default is one.default_factory is dataclasses.MISSING
    return {"required": kind} if required else optional(kind)


def optional(kind: Any) -> Any:
    """A key that may be absent; the program never writes null there."""
    return {"optional": kind.get("or null", kind) if isinstance(kind, dict) else kind}


def outline_of_schema(part: dict[str, Any]) -> Any:
    """The same of a part of the schema."""
    if "$ref" in part:
        return outline_of_schema(SCHEMA["$defs"][part["$ref"].rpartition("/")[2]])
    if "anyOf" in part:
        one, null = part["anyOf"]
        assert null == {"type": "null"}
        return {"or null": outline_of_schema(one)}
    words = part.get("enum", [part["const"]] if "const" in part else None)
    if words is not None:
        assert {type(word) for word in words} == {str}
        return "string"
    if isinstance(part["type"], list):
        one, null = part["type"]
        assert null == "null"
        return {"or null": one}
    if part["type"] == "array":
        return [
            "pair" if part.get("minItems") == part.get("maxItems") == 2 else "many",
            outline_of_schema(part["items"]),
        ]
    if "properties" in part:
        assert part["additionalProperties"] is False
        keys = {key: outline_of_schema(one) for key, one in part["properties"].items()}
        return {key: {"required": one} if key in part["required"] else optional(one) for key, one in keys.items()}
    if part["type"] == "object" and "additionalProperties" in part:
        return {"each": outline_of_schema(part["additionalProperties"])}
    return part["type"]


def test_the_dataclasses_mirror_the_schema() -> None:
    """Options are the exception: their names are those of :class:`Options`, see above."""
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], "options": {"type": "object"}}}
    assert outline(RunRecord) == outline_of_schema(schema)


def test_the_documentation_explains_every_key(test_data: Path) -> None:
    page = (test_data.parent / "docs" / "reference" / "provenance.md").read_text()
    keys = set(SCHEMA["properties"])
    for name in ("model", "weights", "plan", "device", "engine", "memory", "sandbox", "cluster", "objects"):
        keys |= set(SCHEMA["properties"][name]["properties"])
    for name in ("inputs", "processing", "outputs"):
        keys |= set(SCHEMA["properties"][name]["items"]["properties"])
    assert [key for key in sorted(keys) if f"`{key}`" not in page] == []


def test_hashes_and_statistics_are_those_of_the_files(test_data: Path, tmp_path: Path) -> None:
    image, held = test_data / "nuclei.tif", resident_bytes()
    record = predicted(tmp_path, test_data / "demo-model.zip", image)
    assert record["inputs"][0]["sha256"] == sha256(image)
    assert record["inputs"][0]["bytes"] == image.stat().st_size
    assert record["model"]["source"] == str(test_data / "demo-model.zip")
    assert record["model"]["sha256"] == sha256(test_data / "demo-model.zip")
    for output in record["outputs"]:
        assert output["sha256"] == {kind: sha256(output[kind]) for kind in ("tiff", "npy")}
    pixels = tifffile.imread(image)
    found = used(record, "zero_mean_unit_variance")
    np.testing.assert_allclose(found["mean"], [[pixels.mean()]], rtol=1e-12)
    np.testing.assert_allclose(found["standard deviation"], [[pixels.std()]], rtol=1e-12)
    assert record["started"] < record["ended"]
    assert record["device"]["threads"] > 0
    assert record["memory"]["peak_bytes"] >= held


def test_a_time_series_has_values_for_each_frame(test_data: Path, tmp_path: Path) -> None:
    record = predicted(
        tmp_path, test_data / "demo-model.zip", test_data / "nuclei_timeseries.tif", "--border", "mirror"
    )
    frames = tifffile.imread(test_data / "nuclei_timeseries.tif")
    assert record["inputs"][0]["iterated_axes"] == "t"
    assert record["inputs"][0]["samples"] == len(frames)
    assert len(used(record, "zero_mean_unit_variance")["mean"]) == len(frames)


@pytest.mark.parametrize(
    "arguments",
    [
        ("demo-model-3d.zip", "nuclei_3d.tif"),
        ("demo-model/rdf_v0_4.yaml", "nuclei.png", "--tile", "128x96", "--threads", "1", "--memory", "2GiB"),
        ("demo-model/weights.pt", "nuclei.tif", "--model-axes", "bcyx", "--model-size", "128,96,1,1", "--threads", "1"),
        ("demo-model", "nuclei.tif", "--fit", "resize", "--axes", "yx", "--tiff-layout", "labelled"),
    ],
    ids=["3-D", "0.4", "bare weights", "folder"],
)  # fmt: skip
def test_every_kind_of_run_keeps_to_the_schema(arguments: tuple[str, ...], test_data: Path, tmp_path: Path) -> None:
    model, image, *options = arguments
    record = predicted(tmp_path, test_data / model, test_data / image, *options)
    names = {option[2:].replace("-", "_") for option in options if option.startswith("--")}
    assert set(record["options"]) == {*names, "tiff_layout"} - {"model_axes", "model_size"}


def test_objects_are_in_the_record(test_data: Path, tmp_path: Path) -> None:
    options = ["--segment", "--rois", "--format", "tiff,npy,zarr", "--object-max-size", "9000"]
    options += ["--object-exclude-border", "--object-fill-holes"]
    record = predicted(tmp_path, test_data / "demo-model.zip", test_data / "nuclei.tif", *options)
    objects = record["objects"]
    assert set(objects) == set(SCHEMA["properties"]["objects"]["properties"]) - {"stitch"}  # of stacks
    assert objects["sha256"] == {kind: path_hash(Path(objects[kind])).sha256 for kind in OBJECT_FILES}


def places(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to every value of a record."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, *path, key)


def test_a_record_with_any_damage_is_read_or_refused_with_a_reason(test_data: Path, tmp_path: Path) -> None:
    """Records come from strangers."""
    record = predicted(tmp_path, test_data / "demo-model.zip", test_data / "nuclei.tif", "--segment")
    reasons = []
    for *path, last in places(record):
        inner: Any = record
        for key in path:
            inner = inner[key]
        before = inner[last]
        for value in (None, True, -1, 1.5, "\udcff\n", [], {}, [[0]], {"a": {}}, 10**400):
            inner[last] = value
            try:
                record_from_json(record)
            except ValueError as error:
                reasons.append(str(error))
        inner[last] = before
    assert len(reasons) > 1000
    known = ("it is incomplete or damaged: ", "its schema is ", "it names no ")
    assert [reason for reason in reasons if not reason.startswith(known)] == []


def percentile_model(folder: Path) -> Path:
    """Scales its input by percentiles, and its output to the mean and deviation of the input."""
    inputs, outputs = simple_tensors(
        inputs=2,
        outputs=2,
        preprocessing=[
            {"id": "scale_range", "kwargs": {"axes": ["x", "y"], "min_percentile": 5.0, "max_percentile": 99.8}}
        ],
        postprocessing=[
            {"id": "scale_mean_variance", "kwargs": {"reference_tensor": "raw", "axes": ["x", "y"]}},
            {"id": "scale_range", "kwargs": {"axes": ["channel", "x", "y"], "max_percentile": 90.0}},
        ],
    )
    return write_model(folder, Blur((1, 1), 2, 2), inputs, outputs)


def test_percentiles_and_postprocessing_are_those_computed_by_hand(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(50, 9, (3, 2, 40, 48)).astype("float32")
    np.save(tmp_path / "image.npy", image)
    record = predicted(tmp_path, percentile_model(tmp_path / "model"), tmp_path / "image.npy", "--axes", "tcyx")
    first, last, clipped = (one for one in record["processing"] if one["statistics"])
    values = {entry["statistic"]: entry["values"] for entry in first["statistics"]}
    exact = image.astype("float64")  # older numpy interpolates in the type of the image
    np.testing.assert_allclose(values["percentile 5"], np.percentile(exact, 5, axis=(2, 3)), rtol=1e-6)
    np.testing.assert_allclose(values["percentile 99.8"], np.percentile(exact, 99.8, axis=(2, 3)), rtol=1e-6)

    scaled = bioimage_inference.predict(
        tmp_path / "model" / "rdf.yaml", image, axes="tcyx"
    )  # the last step undone by its own values gives what the one before returned
    low, high = (np.array(entry["values"])[:, :, None, None] for entry in clipped["statistics"])
    between = scaled.outputs["out"].array * (high - low + 1e-6) + low
    own_mean, own_std, mean, std = (np.array(entry["values"]) for entry in last["statistics"])
    assert [entry["tensor"] for entry in last["statistics"]] == ["out", "out", "raw", "raw"]
    np.testing.assert_allclose(mean, image.mean((2, 3)), rtol=1e-5)
    np.testing.assert_allclose(std, image.std((2, 3)), rtol=1e-5)
    np.testing.assert_allclose(between.mean((2, 3)), mean, rtol=1e-4)
    np.testing.assert_allclose(between.std((2, 3)), std, rtol=1e-3)
    assert own_mean.shape == own_std.shape == (3, 2)
    np.testing.assert_allclose(low.ravel(), between.min((1, 2, 3)), rtol=1e-3)


def test_statistics_of_all_samples_have_one_value(tmp_path: Path) -> None:
    step = {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["batch", "channel", "y", "x"]}}
    model = write_model(tmp_path / "model", Blur((1, 1)), *simple_tensors(preprocessing=[step]))
    image = np.random.default_rng(0).integers(0, 999, (3, 32, 32), dtype="uint16")
    record = bioimage_inference.predict(model, image, axes="tyx").record
    (entry, _) = next(one["statistics"] for one in record["processing"] if one["statistics"])
    assert entry["pooled"]
    np.testing.assert_allclose(entry["values"], [[image.mean()]])


def test_numbers_that_json_has_not_become_null() -> None:
    values = {"a": [np.float32("nan"), np.int64(3), np.inf], "b": np.array([0.5]), "c": Path("x") / "y", 4: True}
    assert to_json(values) == {"a": [None, 3, None], "b": [0.5], "c": "x/y", "4": True}


def test_a_folder_is_hashed_as_sha256sum_would(tmp_path: Path, test_data: Path) -> None:
    array = np.random.default_rng(0).integers(0, 999, (300, 380), dtype="uint16")
    zarr.save_array(tmp_path / "cells.zarr", array, zarr_format=2)
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "file").touch()
    for name, target in (
        ("missing", "nowhere"),
        ("itself", "itself"),
        ("of a file", "0.0"),
        ("of a folder", "../beside"),
    ):
        (tmp_path / "cells.zarr" / name).symlink_to(target)
    os.mkfifo(tmp_path / "cells.zarr" / "pipe")
    command = r"find . -xtype f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum"
    assert command in (ROOT / "docs" / "reference" / "provenance.md").read_text()
    told = subprocess.run(command, shell=True, cwd=tmp_path / "cells.zarr", capture_output=True, text=True, check=True)
    assert path_hash(tmp_path / "cells.zarr").sha256 == told.stdout.split()[0]
    record = predicted(tmp_path, test_data / "demo-model.zip", tmp_path / "cells.zarr")
    assert record["inputs"][0]["sha256"] == told.stdout.split()[0]
    assert record["inputs"][0]["file"] == str(tmp_path / "cells.zarr")


@pytest.fixture
def levels(tmp_path: Path) -> Path:
    """An OME-Zarr with two levels."""
    path = tmp_path / "cells.ome.zarr"
    layout = Layout("yx", (64, 700), np.dtype("uint16"))
    writer = OmeZarrWriter(path, layout, "0.5")
    writer.write((slice(0, 64), slice(0, 700)), np.random.default_rng(0).integers(0, 999, layout.shape, "uint16"))
    writer.flush()
    writer.commit()
    return path


def test_files_of_a_level_that_git_annex_did_not_fetch_are_no_error(
    levels: Path, tmp_path: Path, test_data: Path
) -> None:
    """Each file that was not fetched is a link to nowhere."""
    chunks = [path for path in (levels / "1" / "c").rglob("*") if path.is_file()]
    assert chunks
    for path in chunks:
        path.unlink()
        path.symlink_to("../../../../.git/annex/objects/xx")
    (described,) = predicted(tmp_path, test_data / "demo-model.zip", levels)["inputs"]
    assert described["sha256"] == path_hash(levels).sha256
    for path in chunks:
        path.unlink()
    assert described["sha256"] == path_hash(levels).sha256


def test_a_file_of_an_image_that_cannot_be_read_is_named(
    levels: Path, tmp_path: Path, test_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = levels / "1" / "damaged"
    bad.symlink_to("/proc/self/mem")  # reading its first byte fails, as on a damaged disk
    assert main(["predict", str(test_data / "demo-model.zip"), str(levels), "-o", str(tmp_path / "out")]) == 5
    assert f"because {bad} cannot be read: Input/output error" in " ".join(capsys.readouterr().err.split())
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    "array",
    [np.arange(60.0).reshape(3, 4, 5), np.arange(60, dtype=">u2").reshape(5, 12).T, np.zeros((0, 3)), np.array(7)],
    ids=["plain", "turned", "empty", "number"],
)
def test_an_array_is_hashed_by_its_bytes(array: NDArray[Any]) -> None:
    assert array_hash(array).sha256 == hashlib.sha256(array.tobytes()).hexdigest()


def test_an_array_in_memory_has_a_hash_and_no_file(test_data: Path) -> None:
    image = np.random.default_rng(0).integers(0, 99, (64, 64), "uint16")
    prediction = bioimage_inference.predict(test_data / "demo-model.zip", image, axes="yx")
    Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(prediction.record)))
    (described,) = prediction.record["inputs"]
    assert (described["file"], described["sha256"]) == (None, hashlib.sha256(image.tobytes()).hexdigest())
    assert prediction.record["outputs"][0]["sha256"] == {"tiff": None, "npy": None}


def test_an_image_that_changes_meanwhile_is_told_and_nothing_written(test_data: Path, tmp_path: Path) -> None:
    image = tmp_path / "image.tif"
    image.write_bytes((test_data / "nuclei.tif").read_bytes())

    def write_to_it(done: int, total: int) -> None:
        with image.open("ab") as stream:
            stream.write(b"more")

    target = {"prediction": Target(tmp_path / "o.tif", tmp_path / "o.npy")}
    with pytest.raises(ImageError, match=r"image\.tif was changed while it was read.*nothing was written"):
        bioimage_inference.predict(test_data / "demo-model.zip", image, targets=target, progress=write_to_it)
    assert [path.name for path in tmp_path.iterdir()] == ["image.tif"]


FACTS = {
    "model": "Demo U-Net for nuclei",
    "model version": "1.0.0",
    "model licence": "MIT",
    "input raw": "nuclei.tif",
    "step 2 raw zero_mean_unit_variance": ("axes=yx, eps=1e-06; mean of raw 1395.53; standard deviation of raw 928.74"),
    "tiles": "1 of y 304, x 384",
    "precision": "float32",
    "program": f"bioimage_inference {bioimage_inference.__version__}",
}


def test_an_imagej_tiff_says_in_its_info_what_was_done(test_data: Path, tmp_path: Path) -> None:
    model, image = test_data / "demo-model.zip", test_data / "nuclei.tif"
    record = predicted(tmp_path, model, image, "--tiff-layout", "labelled", "--memory", "8GiB")
    with tifffile.TiffFile(record["outputs"][0]["tiff"]) as tiff:
        info = dict(line.split(": ", 1) for line in tiff.imagej_metadata["Info"].splitlines())
        assert tiff.series[0].axes == "CYX"
        assert tiff.imagej_metadata["Labels"] == ["foreground", "boundary"]
        np.testing.assert_array_equal(tiff.asarray(), np.load(record["outputs"][0]["npy"])[0])
    assert FACTS.items() <= info.items()
    assert info["input raw sha256"] == sha256(image)
    assert info["model sha256"] == sha256(model)


def test_an_ome_tiff_says_it_in_a_map_annotation_of_its_image(tmp_path: Path) -> None:
    step = {"id": "ensure_dtype", "kwargs": {"dtype": "int32"}}
    model = write_model(tmp_path / "model", Blur((1, 1)), *simple_tensors(postprocessing=[step]))
    np.save(tmp_path / "a b&<ü.npy", np.arange(32 * 40, dtype="uint16").reshape(32, 40))
    record = predicted(tmp_path, model, tmp_path / "a b&<ü.npy", "--tiff-layout", "labelled")
    with tifffile.TiffFile(record["outputs"][0]["tiff"]) as tiff:
        assert tiff.is_ome
        assert (tiff.series[0].axes, tiff.series[0].shape) == ("YX", (32, 40))
        np.testing.assert_array_equal(tiff.asarray(), np.load(record["outputs"][0]["npy"])[0, 0])
        ome = ome_types.from_xml(tiff.ome_metadata)
    (annotation,) = ome.structured_annotations
    assert [reference.id for reference in ome.images[0].annotation_refs] == [annotation.id]
    pairs = dict(annotation.value.items())
    assert pairs["input raw"] == "a b&<ü.npy"
    assert pairs["input raw sha256"] == sha256(tmp_path / "a b&<ü.npy")
    assert pairs["step 2 out ensure_dtype"] == "dtype=int32"


def test_the_same_run_gives_the_same_bytes(test_data: Path, tmp_path: Path) -> None:
    arguments = (test_data / "demo-model.zip", test_data / "nuclei_timeseries.tif", "--tiff-layout", "labelled")
    first = predicted(tmp_path / "1", *arguments)["outputs"][0]
    second = predicted(tmp_path / "2", *arguments)["outputs"][0]
    assert first["tiff"] != second["tiff"]
    assert first["sha256"] == second["sha256"]


def test_a_record_is_refused_where_it_cannot_be_written(test_data: Path, tmp_path: Path) -> None:
    image = np.zeros((64, 64), "uint8")
    with pytest.raises(UsageError, match=r"record.json cannot be written: there is no folder"):
        bioimage_inference.predict(
            test_data / "demo-model.zip", image, axes="yx", record=tmp_path / "no" / "record.json"
        )


def test_keys_that_came_later_may_be_absent(test_data: Path, tmp_path: Path) -> None:
    """Records of earlier versions have none of the keys that the schema does not require."""
    record = predicted(tmp_path, test_data / "demo-model.zip", test_data / "nuclei.tif")
    (path,) = (tmp_path / "out").glob("*_provenance.json")
    del record["sandbox"], record["plan"]["batch"], record["memory"]["program_bytes"]
    Draft202012Validator(SCHEMA).validate(record)
    path.write_text(json.dumps(record))
    assert to_json(read_record(path)) == record
    assert main(["rerun", str(path)]) == 0
