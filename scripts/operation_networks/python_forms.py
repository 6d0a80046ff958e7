"""Functions with numbers, loops, texts, errors and collections of Python. They can be scripted only."""
# The functions show forms of Python that networks contain, also where ruff knows a better one.
# ruff: noqa: RUF005, UP031
# The stubs of PyTorch do not know all that TorchScript accepts, such as tensors where numbers belong.
# mypy: disable-error-code="arg-type, assignment, attr-defined, call-overload, no-any-return, no-untyped-call, operator"

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def numbers(x: Tensor) -> list[Tensor]:
    """Numbers outside tensors."""
    n = x.size(2)
    f = float(n) / 3.0
    results: list[float] = [
        math.sqrt(f), math.exp(f), math.log(f), math.log10(f), math.log1p(f), math.sin(f), math.cos(f), math.tan(f),
        math.asin(0.1), math.acos(f / n), math.atan(f), math.atan2(f, 1.0), math.sinh(f), math.cosh(f), math.tanh(f),
        math.pow(f, 2.0), math.fabs(f),
        math.fmod(f, 2.0), math.copysign(f, -1.0), math.ldexp(f, 1), math.erf(f), math.erfc(f), math.gamma(f),
        math.lgamma(f), math.degrees(f), math.radians(f), math.expm1(f), math.asinh(f), math.acosh(f),
        math.atanh(f / n), float(math.ceil(f)),
        float(math.floor(f)), float(math.gcd(n, 8)), float(math.factorial(3)), math.pi, math.e, math.inf, f + n, f - n,
        f * n, f / n, f // n, f % n,
        f**2, n**0.5, -f, abs(f), float(abs(-n)), float(round(f)), float(int(f)), float(n // 5), float(n % 5), n / 5,
        float(n**2), max(f, 1.0),
        min(f, 1.0), float(max(n, 3)), float(min(n, 3)), float(n << 1), float(n >> 1), float(n & 3), float(n | 3),
        float(n ^ 3),
        float("inf"), float(max([1, 2, n])), float(min([1, 2, n])), float(sum([1, 2, n])), math.frexp(f)[0],
        math.modf(f)[0],
        1.0 if math.isnan(f) else 2.0, 1.0 if math.isinf(f) else 2.0,
        1.0 if math.isfinite(f) else 2.0,
        1e-12, 1e22, -1e-7, 12345678901234567890.0, float(bool(n)), float((n > 3 and f < 2) or not f < n),
        float(-n // 2), math.nan,
    ]  # fmt: skip
    total = [float(x.max()), float(int(x.max() * 10)), float(bool(x.min() > 0)), float(x.mean())]
    axis, slope = torch.tensor(1), torch.tensor(0.1)  # numbers in tensors, which PyTorch converts where numbers belong
    implied = F.layer_norm(torch.unsqueeze(x, axis), [16], eps=slope) + F.leaky_relu(x, slope).unsqueeze(axis)
    comparison = (
        n == 3
        or n != 4
        or n < 5
        or n <= 5
        or n > 6
        or n >= 6
        or f == 1.0
        or f != 1.0
        or f < 1
        or f <= 1.0
        or f > n
        or f >= n
    )
    return [
        torch.tensor(results),
        torch.tensor(total),
        implied,
        x * x.max().item(),
        x * float(comparison),
        x * f,
        x + n,
        f - x,
        n / (x + 1),
        x**n,
    ]


def loops(x: Tensor) -> list[Tensor]:
    """Loops and branches."""
    results: list[Tensor] = []
    total = 0
    for index in range(3):
        results.append(x[:, index] * index)
    for index in range(1, 10, 2):
        if index == 5:
            continue
        if index > 7:
            break
        total += index
    while total > 3:
        total -= 2
    for part in x:
        results.append(part + total)
    for index, part in enumerate(x.unbind(1)):
        results.append(part * index)
    for index, part in enumerate([1, 2], 5):
        total += index * part
    for first, second in zip(x.unbind(1), x.unbind(1)):  # noqa: B905
        results.append(first * second)
    results += [part * 2 for part in results]
    sizes = [int(size * 0.5) for size in x.shape[2:]]
    while True:
        total += 1
        if total > 20:
            break
    for index in range(len(results) - 1, -1, -1):
        if results[index].dim() != 3:
            results.pop(index)
    if x.sum() > 0 and x.mean() < 1:
        results.append(x * 2)
    elif x.max() > 5:
        results.append(x)
    else:
        results.append(x * 3)
    results.append(torch.tensor(sizes + [total]))
    results.append(x if total > 3 else -x)
    return results


def texts(x: Tensor) -> list[Tensor]:
    """Texts."""
    mode = "linear"
    if x.dim() == 4:
        mode = "bi" + mode
    name = f"{mode} of {x.size(1)} channels, {x.dim()} axes"
    parts = name.split(" ")
    known = mode == "bilinear" and mode != "nearest" and mode in ["bilinear", "nearest"] and "linear" in mode
    count = (
        len(name)
        + len(parts)
        + len(mode.upper())
        + len(mode.lower())
        + len(" ".join(parts))
        + len(mode.replace("bi", "tri"))
    )
    count += (
        int(mode.startswith("bi"))
        + int(mode.endswith("ar"))
        + int("12")
        + int(float("2.5"))
        + len(str(x.size(0)) + str(2.5))
    )
    count += (
        len(mode.strip()) + mode.find("lin") + len(mode[2:]) + len(mode[0]) + len("%d of %s" % (count, mode)) + ord("a")
    )
    count += len("{:s}".format("a")) + len("quotes \" and ' and \\ and \n lines and \t") + len("µm · é")
    if not known:
        raise ValueError(f"unknown mode {mode}")
    return [F.interpolate(x, scale_factor=2.0, mode=mode), x * count]


def checks(x: Tensor) -> list[Tensor]:
    """Assertions and errors."""
    assert x.dim() == 4, "an image with four axes is needed"
    assert x.size(0) > 0, f"no images in {x.shape}"
    assert x.is_floating_point()
    if x.size(1) == 17:
        raise RuntimeError("seventeen channels")
    if x.dtype not in [torch.float32, torch.float64]:
        raise TypeError("wrong numbers")
    if x.device != torch.device("cpu") and x.is_cuda:
        raise NotImplementedError
    if x.requires_grad or x.is_complex() or x.is_sparse or x.is_quantized or not x.is_contiguous():
        x = x.detach()
    if torch.is_floating_point(x) and x.ndim == 4 and len(x) == 2 and x.shape[0] == x.size()[0]:
        x = x + 1
    if x.dtype == torch.float32 and x.device.type == "cpu" and x.layout == torch.strided and not torch.jit.is_tracing():
        x = x + 2
    if (
        torch.jit.is_scripting()
        and torch.numel(x) > 3
        and x.element_size() == 4
        and x.stride(0) > 1
        and x.stride()[1] > 1
    ):
        x = x + 3
    if torch.equal(x, x) and torch.allclose(x, x) and not torch.is_nonzero(x[0, 0, 0, 0]):
        x = x + 4
    return [x, x.detach().requires_grad_(False)]


def optional_values(x: Tensor) -> list[Tensor]:
    """Values that may be missing."""

    a = _or_none(x, 5.0)
    b = _or_none(x, 0.0)
    results: list[Tensor] = []
    if a is not None:
        results.append(a)
    results.append(b if b is not None else x)
    first, second, third = _pair(x, None)
    if third is None:
        results.append(first * second)
    kept: list[Tensor | None] = [a, None, b]
    for one in kept:
        if one is not None:
            results.append(one + 1)
    some = torch.jit.annotate(list[int], [])
    some.append(3)
    one = _either(x, 3) + _either(x, [1, 2]) + _either(x, 2.0)
    assert a is not None
    results.append(_default(a))
    results.append(_default(x, scale=2.0, flag=True, name="other"))
    return results + [x * one, x * some[0]]


def _or_none(x: Tensor, limit: float) -> Tensor | None:
    return x if bool(x.max() < limit) else None


def _pair(x: Tensor, scale: float | None) -> tuple[Tensor, float, int | None]:
    return x, 1.0 if scale is None else scale, None


def _either(x: Tensor, value: int | float | list[int]) -> float:
    if isinstance(value, int):
        return float(value * x.dim())
    if isinstance(value, float):
        return value
    return float(len(value))


def _default(
    x: Tensor,
    scale: float = -1.5,
    far: float = float("inf"),
    flag: bool = False,
    name: str = "name",
    weight: Tensor | None = None,
    pair: tuple[int, float] = (1, -2.0),
) -> Tensor:
    if flag and weight is None and name == "other" and far > scale:
        return x * scale
    return x * pair[0] + pair[1]


def collections_(x: Tensor) -> list[Tensor]:
    """Lists, dictionaries and tuples."""
    kept: dict[str, Tensor] = {"a": x, "b": x + 1}
    kept["c"] = x * 2
    numbers: dict[int, float] = {1: 2.0}
    numbers.update({3: 4.0})
    results = list(kept.values())
    for name in kept.keys():  # noqa: SIM118
        results.append(kept[name])
    for name, value in kept.items():
        if name != "a":
            results.append(value)
    if "a" in kept and len(kept) == 3:
        kept.pop("a")
    results.append(kept.get("z", x))
    results.append(kept.setdefault("d", x))
    del kept["b"]
    found = kept.get("c")
    if found is not None:
        results.append(found)
    copy = kept.copy()
    copy.clear()
    whole = [3, 1, 2]
    whole.sort()
    whole.reverse()
    whole.insert(0, 7)
    whole.extend([8, 9])
    whole.remove(7)
    whole[0] = 5
    del whole[1]
    whole = (
        whole
        + [1] * 3
        + whole[1:]
        + whole[:-1]
        + sorted(whole)
        + list(range(3))
        + [len(whole), whole.index(8), whole.count(8)]
    )
    pair = (x, [x, x])
    first, rest = pair
    (a, b), c = (1, 2), 3
    nested = [[1, 2], [3, 4]]
    strides = nested[0] + nested[1][::2] + whole.copy() + [a, b, c]
    results.append(first + rest[0] + pair[1][1])
    results.append(torch.tensor(strides) * (1 in whole) * (whole != [1]))
    results.append(torch.tensor([1.0, 2.0] + [numbers[1]] + [float(key) for key in numbers]))
    results.append(torch.tensor([all([True, False]), any([True, False]), bool(whole), not whole]))
    halves = torch.jit.annotate(list[list[Tensor]], [[x], [x]])
    halves[0].append(x)
    chosen = {"p": [1, 2], "q": [3]}
    return results + [halves[0][1], x * chosen["p"][1], torch.stack(halves[0])]


FUNCTIONS: tuple[Callable[[Tensor], list[Tensor]], ...] = (
    numbers,
    loops,
    texts,
    checks,
    optional_values,
    collections_,
)
