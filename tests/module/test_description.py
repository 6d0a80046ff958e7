"""What each rule of the formats becomes, on descriptions made by hand."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from bioimage_inference.errors import ModelError
from bioimage_inference.model.description import read_description
from bioimage_inference.model.spec import (
    Architecture,
    FixedSize,
    FreeSize,
    ModelSpec,
    Operation,
    ReferencedSize,
    Size,
    StepSize,
    TensorSpec,
)

WEIGHTS = {"torchscript": {"source": "weights.pt", "sha256": "0" * 64}}


def axis(kind: str, name: str | None = None, size: Any = None, **more: Any) -> dict[str, Any]:
    named = {"id": name} if name is not None else {}
    return {"type": kind, **named, **({"size": size} if size is not None else {}), **more}


BATCH = axis("batch")
CHANNEL = axis("channel", channel_names=["a", "b", "c"])
STEPS = {"min": 32, "step": 16}


def ref(name: str, tensor: str = "raw", **more: Any) -> dict[str, Any]:
    return {"tensor_id": tensor, "axis_id": name, **more}


def tensor(name: str, *axes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": name, "axes": list(axes), **more}


RAW = tensor("raw", BATCH, CHANNEL, axis("space", "y", STEPS), axis("space", "x", 64))
OUT = tensor("out", BATCH, CHANNEL, axis("space", "y", ref("y")), axis("space", "x", ref("x")))


def read(inputs: list[Any] | None = None, outputs: list[Any] | None = None, **more: Any) -> ModelSpec:
    """A description of format 0.5 unless ``more`` says otherwise."""
    content = {"format_version": "0.5.4", "inputs": inputs or [RAW], "outputs": outputs or [OUT], "weights": WEIGHTS}
    return read_description({**content, **more}, Path())


def tensor_v0_4(name: str, axes: str, shape: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "axes": axes, "shape": shape, "data_type": "float32", **more}


RAW_V0_4 = tensor_v0_4("raw", "bcyx", {"min": [1, 3, 32, 64], "step": [0, 0, 16, 0]})
OUT_V0_4 = tensor_v0_4("out", "bcyx", {"reference_tensor": "raw", "scale": [1, 1, 1, 1], "offset": [0, 0, 0, 0]})


def read_v0_4(inputs: list[Any] | None = None, outputs: list[Any] | None = None, **more: Any) -> ModelSpec:
    return read(inputs or [RAW_V0_4], outputs or [OUT_V0_4], **{"format_version": "0.4.10", **more})


def size(read_tensor: TensorSpec, letter: str) -> Size:
    found = read_tensor.axis(letter)
    assert found is not None
    return found.size


class TestSizes:
    def test_of_inputs_are_fixed_in_steps_or_free(self) -> None:
        (raw,) = read().inputs
        assert [one.size for one in raw.axes] == [FreeSize(), FixedSize(3), StepSize(32, 16), FixedSize(64)]

    def test_of_format_0_4_are_fixed_where_the_step_is_0(self) -> None:
        (raw,) = read_v0_4().inputs
        assert [one.size for one in raw.axes] == [FreeSize(), FixedSize(3), StepSize(32, 16), FixedSize(64)]

    def test_refer_to_an_input_with_the_ratio_of_the_scales(self) -> None:
        half = tensor(
            "out", axis("space", "y", ref("y", offset=-4), scale=2.0), axis("space", "x", ref("x"), scale=0.25)
        )
        (out,) = read(outputs=[half]).outputs
        assert size(out, "y") == ReferencedSize("raw", "y", Fraction(1, 2), -4)
        assert size(out, "x") == ReferencedSize("raw", "x", Fraction(4), 0)

    def test_of_format_0_4_refer_with_a_scale_and_twice_the_offset(self) -> None:
        shape = {"reference_tensor": "raw", "scale": [1, 1, 0.5, 4], "offset": [0, 0, -2, 0.5]}
        (out,) = read_v0_4(outputs=[tensor_v0_4("out", "bcyx", shape)]).outputs
        assert size(out, "c") == FixedSize(3)
        assert size(out, "y") == ReferencedSize("raw", "y", Fraction(1, 2), -4)
        assert size(out, "x") == ReferencedSize("raw", "x", Fraction(4), 1)

    @pytest.mark.parametrize("no_scale", [None, 0.0])
    def test_of_format_0_4_without_a_scale_are_a_new_axis(self, no_scale: float | None) -> None:
        shape = {"reference_tensor": "raw", "scale": [1, no_scale, no_scale, 1, 1], "offset": [0, 0.5, 2.5, 0, 0]}
        (out,) = read_v0_4(outputs=[tensor_v0_4("out", "bczyx", shape)]).outputs
        assert (size(out, "c"), size(out, "z")) == (FixedSize(1), FixedSize(5))

    def test_of_format_0_3_refer_to_a_reference_input(self) -> None:
        shape = {"reference_input": "raw", "scale": [1, 1, 1, 1], "offset": [0, 0, 0, 0]}
        (out,) = read_v0_4(outputs=[tensor_v0_4("out", "bcyx", shape)], format_version="0.3.6").outputs
        assert size(out, "y") == ReferencedSize("raw", "y")

    def test_of_lists_may_be_left_to_the_data(self) -> None:
        (out,) = read(outputs=[tensor("out", axis("index", "object", {"min": 2}), CHANNEL)]).outputs
        assert size(out, "i") == FreeSize(2)

    def test_that_refer_to_nothing_are_refused(self) -> None:
        with pytest.raises(ModelError, match="axis 'y' of tensor 'out' refers to axis 'z' of 'raw'"):
            read(outputs=[tensor("out", axis("space", "y", ref("z")))])
        shape = {"reference_tensor": "row", "scale": [1, 1, 1, 1], "offset": [0, 0, 0, 0]}
        with pytest.raises(ModelError, match="'row', which is not among the inputs"):
            read_v0_4(outputs=[tensor_v0_4("out", "bcyx", shape)])

    def test_below_one_are_refused(self) -> None:
        with pytest.raises(ModelError, match="'y' of tensor 'raw' cannot have exactly 0 pixels"):
            read_v0_4([tensor_v0_4("raw", "bcyx", [1, 1, 0, 8])])

    def test_of_another_number_of_axes_are_refused(self) -> None:
        with pytest.raises(ModelError, match="'raw' has axes 'bcyx' but a shape of 3 numbers"):
            read_v0_4([tensor_v0_4("raw", "bcyx", [1, 8, 8])])


class TestPlainSizesOfOutputs:
    @pytest.mark.parametrize(("pixels", "ratio"), [(64, 1), (128, 2), (16, Fraction(1, 4))])
    def test_follow_a_fixed_input_where_the_ratio_is_whole(self, pixels: int, ratio: Fraction) -> None:
        (out,) = read(outputs=[tensor("out", axis("space", "x", pixels))]).outputs
        assert size(out, "x") == ReferencedSize("raw", "x", Fraction(ratio))

    @pytest.mark.parametrize("pixels", [1, 44, 96, 64 * 33])
    def test_stay_what_they_are_otherwise(self, pixels: int) -> None:
        (out,) = read(outputs=[tensor("out", axis("space", "x", pixels))]).outputs
        assert size(out, "x") == FixedSize(pixels)

    def test_hold_the_input_at_its_minimum_where_that_is_their_size(self) -> None:
        spec = read(outputs=[tensor("out", axis("space", "y", 32))])
        assert size(spec.inputs[0], "y") == FixedSize(32)
        assert size(spec.outputs[0], "y") == ReferencedSize("raw", "y")
        assert "the network is given tiles of exactly that size" in spec.notes[0]

    def test_have_nothing_to_do_with_an_input_that_may_be_absent(self) -> None:
        mask = tensor("mask", axis("space", "y", 256), optional=True)
        spec = read([tensor("raw", axis("space", "x", STEPS)), mask], [tensor("out", axis("space", "y", 256))])
        assert size(spec.outputs[0], "y") == FixedSize(256)


class TestAxes:
    def test_of_format_0_4_are_their_letters(self) -> None:
        (raw,) = read_v0_4().inputs
        assert raw.letters == "bcyx"
        assert [one.id for one in raw.axes] == ["batch", "channel", "y", "x"]

    def test_of_space_without_a_name_are_x(self) -> None:
        (raw,) = read([tensor("raw", axis("space", "y", 8), axis("space", size=8))], [tensor("out", CHANNEL)]).inputs
        assert raw.letters == "yx"

    @pytest.mark.parametrize(
        ("names", "letters"), [("height width", "yx"), ("d h w", "zyx"), ("m n", "yx"), ("q", "x")]
    )
    def test_of_space_with_other_names_are_counted_from_the_last(self, names: str, letters: str) -> None:
        axes = [axis("space", name, 8) for name in names.split()]
        follows = [axis("space", f"o{name}", ref(name)) for name in names.split()]
        spec = read([tensor("raw", *axes)], [tensor("out", *follows)])
        assert (spec.inputs[0].letters, spec.outputs[0].letters) == (letters, letters)

    def test_of_lists_and_lists_of_lists_have_letters_of_their_own(self) -> None:
        points = tensor("points", BATCH, axis("index", "object", STEPS), axis("index", "point", STEPS), CHANNEL)
        assert read([RAW, points]).inputs[1].letters == "bipc"

    def test_of_outputs_that_no_input_has_are_lists(self) -> None:
        boxes = tensor("boxes", axis("space", "s", 16), axis("space", "b", 4))
        spec = read(outputs=[boxes, tensor("masks", axis("space", "s", 16), axis("space", "x", ref("x")))])
        assert [out.letters for out in spec.outputs] == ["ic", "ix"]
        assert size(spec.outputs[0], "i") == size(spec.outputs[0], "c") == FreeSize()
        assert "'s' of 'boxes', 'b' of 'boxes', 's' of 'masks'" in spec.notes[0]

    def test_of_one_type_too_many_are_refused(self) -> None:
        with pytest.raises(ModelError, match="more than one axis of type time"):
            read([tensor("raw", axis("time", "t", 8), axis("time", "other", 8))])
        with pytest.raises(ModelError, match="too many axes of type space"):
            read([tensor("raw", *(axis("space", name, 8) for name in ("m", "n", "o", "p")))])

    def test_may_have_the_short_names_of_format_0_4(self) -> None:
        short = [axis("batch", "b"), axis("channel", "c", channel_names=["one"]), axis("time", "t", 5)]
        steps = [{"id": "zero_mean_unit_variance", "kwargs": {"axes": ["b", "t"]}}]
        out = tensor("out", axis("channel", "c", channel_names=["one"]), axis("time", "t", ref("t")))
        spec = read([tensor("raw", *short, preprocessing=steps)], [out])
        assert [one.id for one in spec.inputs[0].axes] == ["batch", "channel", "time"]
        assert spec.inputs[0].operations[1].kwargs["axes"] == "bt"
        assert size(spec.outputs[0], "t") == ReferencedSize("raw", "time")

    def test_have_a_halo_where_their_size_is_plain_too(self) -> None:
        out = tensor("out", axis("space", "y", 32, halo=4), axis("space", "x", ref("x"), halo=0))
        assert [one.halo for one in read(outputs=[out]).outputs[0].axes] == [4, 0]
        (out_v0_4,) = read_v0_4(outputs=[{**OUT_V0_4, "halo": [0, 0, 8, 4]}]).outputs
        assert [one.halo for one in out_v0_4.axes] == [0, 0, 8, 4]

    def test_with_a_halo_that_is_no_number_are_refused(self) -> None:
        with pytest.raises(ModelError, match=r"'x' of tensor 'out' cannot have .* and a halo of -1"):
            read(outputs=[tensor("out", axis("space", "x", ref("x"), halo=-1))])

    def test_of_an_unknown_unit_lose_it_with_a_remark(self) -> None:
        spec = read([tensor("raw", axis("space", "x", 64, unit="pixels"), axis("space", "y", 64, unit="micrometer"))])
        assert [one.unit for one in spec.inputs[0].axes] == [None, "micrometer"]
        assert "The unit 'pixels' of axis 'x' of input 0 is not known" in spec.notes[0]


class TestNames:
    def test_shared_by_an_input_and_an_output_are_told_apart(self) -> None:
        embeddings = tensor("raw", axis("space", "y", ref("y")), axis("index", "n", 5))
        follower = tensor("rows", axis("index", "n", ref("n")))
        spec = read(outputs=[embeddings, follower])
        assert [out.id for out in spec.outputs] == ["raw_output", "rows"]
        assert size(spec.outputs[0], "y") == ReferencedSize("raw", "y")
        assert size(spec.outputs[1], "i") == ReferencedSize("raw_output", "n")
        assert "the output is called 'raw_output' here" in spec.notes[0]

    def test_shared_by_two_inputs_or_two_outputs_are_refused(self) -> None:
        with pytest.raises(ModelError, match="the name 'out' for more than one tensor"):
            read(outputs=[OUT, OUT])
        with pytest.raises(ModelError, match="the name 'raw' for more than one tensor"):
            read([RAW, RAW])

    def test_shared_in_format_0_4_are_refused(self, shared: Path) -> None:
        """Its validator looks for them, so no published model has them."""
        from bioimage_inference.zoo.resolving import open_model_files

        name = "invalid_v0_4_0_duplicate_tensor_names.bioimageio.yaml"
        with pytest.raises(ModelError, match="the name 'data' for more than one tensor"):
            open_model_files(shared / "examples" / "unet2d_nuclei_broad" / name, Path())


class TestProcessing:
    def test_begins_and_ends_with_the_declared_type_in_format_0_5(self) -> None:
        raw = {**RAW, "data": {"type": "uint16"}, "preprocessing": [{"id": "sigmoid", "kwargs": {}}]}
        spec = read([raw], [{**OUT, "data": {"type": "uint8"}}])
        to_uint16 = Operation("ensure_dtype", {"dtype": "uint16"})
        assert spec.inputs[0].operations == (to_uint16, Operation("sigmoid"), to_uint16)
        assert spec.outputs[0].operations == (Operation("ensure_dtype", {"dtype": "uint8"}),)

    def test_of_inputs_of_format_0_4_ends_in_float32(self) -> None:
        (raw,) = read_v0_4([{**RAW_V0_4, "data_type": "uint8"}]).inputs
        assert (raw.dtype, raw.operations) == ("uint8", (Operation("ensure_dtype", {"dtype": "float32"}),))

    def test_names_axes_by_letters(self) -> None:
        steps = [
            {"id": "scale_range", "kwargs": {"axes": ["batch", "x", "y"], "max_percentile": 99.8}},
            {"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": [1, 2, 3], "std": [4, 5, 6], "axis": "channel"}},
            {"id": "zero_mean_unit_variance"},
        ]
        _, scaled, fixed, together, _ = read([{**RAW, "preprocessing": steps}]).inputs[0].operations
        assert (scaled.kwargs["axes"], scaled.kwargs["max_percentile"]) == ("bxy", 99.8)
        assert fixed.kwargs == {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0], "axis": "c"}
        assert together.kwargs["axes"] is None

    @pytest.mark.parametrize(
        ("step", "expected"),
        [
            (
                {"name": "zero_mean_unit_variance", "kwargs": {"mode": "per_sample", "axes": "yx"}},
                Operation("zero_mean_unit_variance", {"axes": "yx", "eps": 1e-6}),
            ),
            (
                {"name": "zero_mean_unit_variance", "kwargs": {"mode": "per_dataset", "axes": "yx", "eps": 0.1}},
                Operation("zero_mean_unit_variance", {"axes": "byx", "eps": 0.1}),
            ),
            (
                {
                    "name": "zero_mean_unit_variance",
                    "kwargs": {"mode": "fixed", "axes": "yx", "mean": [1, 2, 3], "std": [4, 5, 6]},
                },
                Operation(
                    "fixed_zero_mean_unit_variance", {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0], "axis": "c"}
                ),
            ),
            (
                {"name": "scale_linear", "kwargs": {"axes": "yx", "gain": 2, "offset": -1}},
                Operation("scale_linear", {"gain": 2.0, "offset": -1.0}),
            ),
            (
                {"name": "scale_linear", "kwargs": {"axes": "yx", "gain": [1, 2, 3]}},
                Operation("scale_linear", {"gain": [1.0, 2.0, 3.0], "offset": 0.0, "axis": "c"}),
            ),
        ],
    )
    def test_of_format_0_4_is_brought_into_the_form_of_0_5(self, step: dict[str, Any], expected: Operation) -> None:
        (raw,) = read_v0_4([{**RAW_V0_4, "preprocessing": [step]}]).inputs
        assert raw.operations[0] == expected

    def test_that_changes_nothing_is_left_out(self) -> None:
        steps = [{"id": "scale_linear", "kwargs": {"gain": 1.0, "offset": 0}}]
        assert [step.name for step in read([{**RAW, "preprocessing": steps}]).inputs[0].operations] == ["ensure_dtype"]
        steps_v0_4 = [{"name": "scale_linear", "kwargs": {"gain": [1, 1, 1], "axes": "yx"}}]
        (raw,) = read_v0_4([{**RAW_V0_4, "preprocessing": steps_v0_4}]).inputs
        assert [step.name for step in raw.operations] == ["ensure_dtype"]

    def test_with_one_number_for_all_channels_needs_no_axis(self) -> None:
        steps = [{"id": "scale_linear", "kwargs": {"gain": 0.5, "axis": "channel"}}]
        operation = read([{**RAW, "preprocessing": steps}]).inputs[0].operations[1]
        assert operation == Operation("scale_linear", {"gain": 0.5, "offset": 0.0})

    def test_by_a_function_of_the_model_keeps_its_arguments(self) -> None:
        step = {"id": "custom", "source": "own.py", "sha256": "0" * 64, "callable": "Own", "kwargs": {"axis": "rows"}}
        operation = read(outputs=[{**OUT, "postprocessing": [step]}]).outputs[0].operations[0]
        assert operation.kwargs == {
            "source": "own.py",
            "sha256": "0" * 64,
            "callable": "Own",
            "kwargs": {"axis": "rows"},
        }

    def test_with_a_value_too_few_is_refused(self) -> None:
        steps = [{"id": "binarize", "kwargs": {"threshold": [0.1, 0.2], "axis": "channel"}}]
        with pytest.raises(ModelError, match="2 values of threshold for the 3 entries of axis 'channel'"):
            read(outputs=[{**OUT, "postprocessing": steps}])

    def test_along_an_axis_that_is_not_there_is_refused(self) -> None:
        steps = [{"id": "softmax", "kwargs": {"axis": "z"}}]
        with pytest.raises(ModelError, match="softmax works along the axis 'z', which its tensor does not have"):
            read(outputs=[{**OUT, "postprocessing": steps}])

    def test_by_a_tensor_that_is_no_input_is_refused(self) -> None:
        steps = [{"id": "scale_mean_variance", "kwargs": {"reference_tensor": "row"}}]
        with pytest.raises(ModelError, match="'out' refers to 'row', which is no input"):
            read(outputs=[{**OUT, "postprocessing": steps}])

    def test_of_an_unknown_name_is_refused_and_its_place_named(self) -> None:
        with pytest.raises(ModelError, match=r"input 0 is not valid: preprocessing\.0: "):
            read([{**RAW, "preprocessing": [{"id": "sharpen"}]}])


class TestValues:
    @pytest.mark.parametrize(
        ("data", "dtype", "expected"),
        [
            ({"type": "uint8", "range": [0, 255]}, "uint8", (0, 255)),
            ({"range": [None, float("inf")]}, "float32", (None, None)),
            ([{"range": [0, 1]}, {"range": [-1, 2]}, {"range": [None, 0]}], "float32", (None, 2)),
            ({"values": [0, 1, 5]}, "uint8", (0, 5)),
            ({"values": ["background", "cell"], "type": "bool"}, "bool", (0, 1)),
            ({"type": "uint16", "unit": "photons per second"}, "uint16", (None, None)),
        ],
    )
    def test_have_the_declared_type_and_range(self, data: Any, dtype: str, expected: tuple[Any, Any]) -> None:
        (out,) = read(outputs=[{**OUT, "data": data}]).outputs
        assert (out.dtype, out.data_range) == (dtype, expected)

    @pytest.mark.parametrize("data_range", [[None, None], [float("-inf"), float("inf")], None, "any"])
    def test_of_format_0_4_may_have_any_range(self, data_range: Any) -> None:
        (raw,) = read_v0_4([{**RAW_V0_4, "data_range": data_range}]).inputs
        assert raw.data_range == (None, None)

    def test_of_an_unknown_type_are_refused(self) -> None:
        with pytest.raises(ModelError, match="output 0 declares the data type 'float16'"):
            read(outputs=[{**OUT, "data": {"type": "float16"}}])
        with pytest.raises(ModelError, match="input 0 declares the data type 'double'"):
            read_v0_4([{**RAW_V0_4, "data_type": "double"}])


class TestWeights:
    def test_are_found_under_either_name_and_others_are_named(self) -> None:
        weights = {
            "keras_hdf5": {"source": "a.h5"},
            "onnx": {"source": "a.onnx"},
            "pytorch_state_dict": {"source": "a.pt"},
        }
        for name in ("torchscript", "pytorch_script"):
            spec = read_v0_4(format_version="0.3.6", weights={**weights, name: {"source": "b.pt"}})
            assert [entry.source for entry in spec.weights] == ["b.pt", "a.pt", "a.onnx"]
            assert spec.other_weights == ("keras_hdf5",)

    @pytest.mark.parametrize(
        ("entry", "expected"),
        [
            (
                {"architecture": {"source": "net.py", "sha256": "1", "callable": "Net", "kwargs": {"n": 2}}},
                Architecture("Net", {"n": 2}, source="net.py", sha256="1"),
            ),
            (
                {"architecture": {"import_from": "monai.networks", "callable": "Net"}},
                Architecture("Net", import_from="monai.networks"),
            ),
            (
                {"architecture": "net.py:Net", "architecture_sha256": "1", "kwargs": {"n": 2}},
                Architecture("Net", {"n": 2}, source="net.py", sha256="1"),
            ),
            (
                {"architecture": "https://example.com/net.py:Net"},
                Architecture("Net", source="https://example.com/net.py"),
            ),
            ({"architecture": "monai.networks.Net"}, Architecture("Net", import_from="monai.networks")),
            ({}, Architecture("Own", {"n": 3}, source="model.py", sha256="2")),
        ],
    )
    def test_have_an_architecture_in_the_way_of_each_format(
        self, entry: dict[str, Any], expected: Architecture
    ) -> None:
        whole_model: dict[str, Any] = {"source": "model.py:Own", "sha256": "2", "kwargs": {"n": 3}}
        weights = {"pytorch_state_dict": {"source": "a.pt", **entry}}
        assert read(weights=weights, **whole_model).weights[0].architecture == expected

    def test_of_no_kind_or_without_a_file_are_refused(self) -> None:
        with pytest.raises(ModelError, match="lists no weights"):
            read(weights={})
        with pytest.raises(ModelError, match="'torchscript' names no file"):
            read(weights={"torchscript": {}})


def test_what_inference_does_not_need_may_be_wrong_or_missing() -> None:
    odd: dict[str, Any] = {
        "license": "my-own",
        "covers": ["missing.png"],
        "documentation": None,
        "cite": [{"text": "A paper", "doi": "no doi"}, "another"],
        "authors": ["Somebody"],
        "tags": None,
        "attachments": {"files": ["gone.ijm"]},
        "timestamp": "yesterday",
        "name": "A name: with / all sorts of characters",
        "invented": {"key": 1},
    }
    raw = {**RAW, "description": "long " * 100, "sample_tensor": {"source": "gone.tif", "sha256": "wrong"}, "extra": 1}
    spec = read([raw], **odd)
    assert spec.notes == ()
    assert (spec.name, spec.licence, spec.authors) == (odd["name"], "my-own", ("Somebody",))
    assert [citation.doi for citation in spec.citations] == ["no doi"]
    assert read_v0_4([{**RAW_V0_4, "extra": 1}], **odd).notes == ()


def test_reading_leaves_the_description_as_it_was() -> None:
    raw = {**RAW, "data": {"range": [0.0, float("inf")]}}
    read([raw])
    assert raw["data"] == {"range": [0.0, float("inf")]}
    assert "preprocessing" not in raw


def test_other_things_than_models_and_unknown_formats_are_refused() -> None:
    with pytest.raises(ModelError, match="of a 'dataset', not of a model"):
        read(type="dataset")
    with pytest.raises(ModelError, match=r"format 0\.2; formats from 0\.3"):
        read(format_version="0.2")
    with pytest.raises(ModelError, match="no list of outputs"):
        read_description({"format_version": "0.5.4", "inputs": [RAW]}, Path())
    with pytest.raises(ModelError, match="input 0 has no list of axes"):
        read([{"id": "raw"}])
    with pytest.raises(ModelError, match="output 0 is no mapping of named facts"):
        read_v0_4(outputs=["out"])
