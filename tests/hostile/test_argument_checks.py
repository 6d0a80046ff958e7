"""Vetted networks fail with an error where arguments would crash PyTorch, or make it read beyond a tensor.

Each row crashed PyTorch 2.13, or made it compute with memory behind a tensor, when it was not checked.
"""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from bioimage_inference.cli import main
from bioimage_inference.model.vetting.vetted_loading import load_vetted

from .test_torchscript import packaged, program

SMALLEST = "torch.sub(-9223372036854775807, 1)"
MINUS = "def minus(n: int) -> int:\n  return torch.neg(n)\n"
ROWS = {
    "remainder of constants by zero": ("n = torch.remainder(1, 0)", "by zero"),
    "remainder by a size": ("n = torch.remainder(1, torch.sub(torch.dim(x), 4))", "by zero"),
    "remainder by a named zero": ("n = torch.remainder(a=1, b=0)", "by zero"),
    "remainder of values by zero": (
        "n = torch.remainder(torch.item(torch.tensor(3)), torch.item(torch.tensor(0)))",
        "by zero",
    ),
    "division of the smallest number": (f"n = torch.floordiv({SMALLEST}, -1)", "by -1"),
    "division by a function's result": (
        f"n = torch.floordiv({SMALLEST}, __torch__.tests.models.minus(1))",
        "by -1",
    ),
    "truncated division": (
        f'y = torch.div(torch.tensor([{SMALLEST}]), torch.tensor([-1]), rounding_mode="trunc")',
        "by -1",
    ),
    "truncated division by a number": (
        f'y = torch.div_(torch.tensor([{SMALLEST}]), -1, rounding_mode="trunc")',
        "by -1",
    ),
    "attention with few keys": (
        "y = torch.scaled_dot_product_attention(torch.ones([1, 1, 3, 8]), torch.ones([1, 1, 3, 8]), "
        "torch.ones([1, 1, 7, 8]))",
        "keys and values",
    ),
    "attention without heads": (
        "t = torch.ones([1, 3, 8])\nw = torch.ones([24, 8])\nb = torch.ones([24])\nv = torch.ones([8, 8])\n"
        "c = torch.ones([8])\ny, z, = torch._native_multi_head_attention(t, t, t, 8, 0, w, b, v, c)",
        "without heads",
    ),
    "encoder without heads": (
        "t = torch.ones([1, 3, 8])\nw = torch.ones([24, 8])\nb = torch.ones([24])\nv = torch.ones([8, 8])\n"
        "c = torch.ones([8])\n"
        "y = torch._transformer_encoder_layer_fwd(t, 8, 0, w, b, v, c, False, False, 1e-05, c, c, c, c, v, c, v, c)",
        "without heads",
    ),
    "short weight norm": ("y = torch._weight_norm(torch.ones([64, 3]), torch.ones([1]), 0)", "magnitudes"),
    "short weight norm of the last axis": (
        "y = torch._weight_norm(torch.ones([3, 64]), torch.ones([1, 2]), 1)",
        "magnitudes",
    ),
    "weight norm of nothing": ("y = torch._weight_norm(torch.ones([0, 3]), torch.ones([0]), 0)", "magnitudes"),
    "weight norm of nothing along the last axis": (
        "y = torch._weight_norm(torch.ones([3, 0]), torch.ones([1, 0]), 1)",
        "magnitudes",
    ),
    "group norm of more values than there are": (
        "w = torch.ones([4])\ny, m, r, = "
        "torch.native_group_norm(torch.zeros([0, 4, 0]), w, w, 1, 4, 4611686018427387904, 1, 1e-05)",
        "wrong number of values",
    ),
    "group norm of values that overflow": (
        "y, m, r, = torch.native_group_norm(torch.add(x, 1), None, None, 4611686018427387905, 4, 4, 1, 1e-05)",
        "wrong number of values",
    ),
    "common divisor of the smallest number": (f"n = torch.gcd({SMALLEST}, -1)", "smallest whole number"),
    "common divisor with the smallest number": (f"n = torch.gcd(a=-1, b={SMALLEST})", "smallest whole number"),
    "common multiple of the smallest number": (
        f"y = torch.lcm(torch.tensor([{SMALLEST}]), torch.tensor([7]))",
        "smallest whole number",
    ),
    "common multiple of the smallest short number": (
        "y = torch.lcm(torch.tensor([-2147483648], dtype=3), torch.tensor([127], dtype=3))",
        "smallest whole number",
    ),
    "a tiny scale": ("y = torch.upsample_nearest1d(torch.zeros([3, 8, 8], dtype=0), [40], 1e-20)", "factor"),
    "a tiny scale with antialiasing": ("y = torch._upsample_bilinear2d_aa(x, [9, 9], False, 1e-12, 1e-12)", "at once"),
    "a scale beside a size": ("y = torch._upsample_bilinear2d_aa(x, [9, 9], False, 2.0, 2.0)", "at once"),
    "a memory format": ("y = torch.contiguous(torch.ones([3, 16]), memory_format=4)", "memory format"),
    "a memory format of a copy": ("y = torch.clone(x, memory_format=torch.add(1, 3))", "memory format"),
    "a copy without a type": ("y = torch.to(x, None, False, True)", "type of numbers"),
    "a sparse layout": ("y = torch.zeros([2], dtype=6, layout=1)", "not dense"),
}


@pytest.mark.parametrize("name", ROWS)
def test_wrong_arguments_are_errors(tmp_path: Path, name: str) -> None:
    body, words = ROWS[name]
    use = "x = torch.add(x, n)" if body.startswith("n") else "x = torch.add(x, torch.sum(y))"
    network = load_vetted(program(tmp_path, f"{body}\n{use}", more=MINUS))
    for _ in range(3):  # PyTorch compiles a network anew when it knows the sizes
        with pytest.raises(torch.jit.Error, match=words), torch.inference_mode():
            network(torch.ones(1, 1, 4, 4))


def test_a_network_with_wrong_arguments_fails_like_any_other(
    tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys, values = "torch.slice(x, 2, 0, 3)", "torch.slice(x, 2, 0, 7)"
    weights = program(
        tmp_path, f"y = torch.scaled_dot_product_attention({keys}, {keys}, {values})\nx = torch.add(x, torch.sum(y))"
    )
    model = packaged(tmp_path / "model", weights)
    assert main(["predict", str(model), str(image), "-o", str(tmp_path / "out")]) == 4
    assert "different numbers of keys and values" in capsys.readouterr().err


SOUND = {
    "division": (
        "n = torch.floordiv(torch.size(x, 2), torch.size(x, 3))\nx = torch.mul(x, torch.add(n, torch.remainder(7, -4)))"
    ),
    "division of values": "x = torch.mul(x, torch.floordiv(torch.item(torch.sum(x)), torch.item(torch.max(x))))",
    "remainder of tensors": "x = torch.remainder(torch.mul(x, 7), torch.add(x, 0.5))",
    "truncated division": 'x = torch.div(torch.mul(x, 7), -1, rounding_mode="trunc")',
    "attention": "x = torch.scaled_dot_product_attention(x, x, torch.mul(x, 2))",
    "attention with a mask": "x = torch.scaled_dot_product_attention(x, x, x, torch.ones([4, 4], dtype=11))",
    "weight norm": "x = torch._weight_norm(x, torch.ones([1, 1, 1, 1]), 0)",
    "weight norm over all axes": "x = torch._weight_norm(x, torch.ones([1]), -1)",
    "group norm": "x, m, r, = torch.native_group_norm(x, None, None, 1, 1, 16, 1, 1e-05)",
    "common divisor": "x = torch.mul(x, torch.gcd(torch.size(x, 2), -6))",
    "common divisor of tensors": "x = torch.mul(x, torch.gcd(torch.tensor([-128], dtype=1), torch.tensor([12])))",
    "common multiple": "x = torch.mul(x, torch.lcm(torch.tensor([-127], dtype=1), torch.tensor([12])))",
    "scales": "x = torch.upsample_bilinear2d(x, [8, 8], False, 2.0, 2.0)",
    "memory formats": "x = torch.contiguous(torch.clone(x, memory_format=2), memory_format=0)",
    "types": "x = torch.to(torch.to(x, 7), ops.prim.dtype(x))",
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_arguments_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    path = program(tmp_path, SOUND[name])
    image = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore", DeprecationWarning)
        known: Any = torch.jit.load(path)  # type: ignore[no-untyped-call]
        assert torch.equal(load_vetted(path)(image), known(image))


@pytest.mark.parametrize("operator", ["median", "nanmedian"])
def test_the_median_of_an_expanded_tensor_stays_within_it(tmp_path: Path, operator: str) -> None:
    """PyTorch 2.13 computes it from the values behind the tensor."""
    body = f"y, z, = torch.{operator}(torch.expand(torch.slice(x, 2, 0, 1), [1, 1, 9, 4]), 2)\nx = y"
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert torch.equal(load_vetted(program(tmp_path, body))(image), image[:, :, 0])
