"""Streamed statistics equal those of numpy on the whole array, whatever the pieces."""

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bioimage_inference.array_types import Array
from bioimage_inference.inference import statistics
from bioimage_inference.inference.statistics import Moments, Quantile, measure

dtypes = st.sampled_from(
    ["uint8", "int8", "uint16", "int16", "int32", "uint32", "int64", "float16", "float32", "float64"]
)


def pieces(array: Array, length: int):
    def chunks(reduced: str | None) -> Iterator[Array]:
        axis = "cyx".index("y") if reduced is None or "y" in reduced else "cyx".index("x")
        for start in range(0, array.shape[axis], length):
            yield array.take(range(start, min(start + length, array.shape[axis])), axis=axis)

    return chunks


@st.composite
def samples(draw: st.DrawFn) -> Array:
    dtype = np.dtype(draw(dtypes))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    bound = 30_000 if dtype.kind == "f" else None
    values = st.floats(-bound, bound, width=min(dtype.itemsize * 8, 64), allow_subnormal=False) if bound else None  # type: ignore[call-overload]
    return draw(arrays(dtype, shape, elements=values))


@given(samples(), st.integers(1, 9), st.sampled_from(["yx", "cyx", None, "x"]))
def test_mean_and_standard_deviation(array: Array, length: int, axes: str | None) -> None:
    wanted = Moments("raw", axes)
    mean, std = measure(pieces(array, length), "cyx", [wanted])[wanted].values
    reduced = tuple("cyx".index(letter) for letter in axes or "cyx")
    exact = array.astype("float64")
    scale = max(1.0, float(np.abs(exact).max()))
    np.testing.assert_allclose(mean, exact.mean(reduced, keepdims=True), atol=1e-9 * scale)
    np.testing.assert_allclose(std, exact.std(reduced, keepdims=True), atol=1e-7 * scale)


@given(
    samples(),
    st.integers(1, 9),
    st.sampled_from(["yx", "cyx", None]),
    st.floats(0, 1),
    st.sampled_from(["linear", "inverted_cdf"]),
)
def test_quantiles_are_exact(array: Array, length: int, axes: str | None, q: float, method: str) -> None:
    wanted = Quantile("raw", axes, q, method)  # type: ignore[arg-type]
    (value,) = measure(pieces(array, length), "cyx", [wanted])[wanted].values
    reduced = tuple("cyx".index(letter) for letter in axes or "cyx")
    exact = array if method == "inverted_cdf" else array.astype("float64")
    expected = np.quantile(exact, q, axis=reduced, keepdims=True, method=method).astype("float64")  # type: ignore[call-overload]
    scale = max(1.0, float(np.abs(array.astype("float64")).max()))
    np.testing.assert_allclose(value, expected, atol=1e-9 * scale)


def test_values_that_are_not_numbers_are_left_out() -> None:
    array = np.array([[[1.0, np.nan, 3.0]]], "float32")
    moments, median = Moments("raw", None), Quantile("raw", None, 0.5)
    found = measure(pieces(array, 9), "cyx", [moments, median])
    assert found[moments].values[0].item() == 2.0
    assert found[moments].values[1].item() == 1.0
    assert found[median].values[0].item() == 2.0


def test_a_huge_offset_does_not_spoil_the_standard_deviation() -> None:
    array = (1e8 + np.arange(8.0)).reshape(1, 2, 4)
    wanted = Moments("raw", None)
    assert measure(pieces(array, 1), "cyx", [wanted])[wanted].values[1].item() == pytest.approx(np.arange(8.0).std())


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32", "float64"])
@pytest.mark.parametrize("room", [0, 1 << 12, 1 << 14, 1 << 17], ids=["1 bit", "2 or 4", "4 or 8", "8"])
def test_quantiles_of_many_groups_are_exact(dtype: str, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The less memory there is for histograms, the fewer bits of a value a pass looks at."""
    monkeypatch.setattr(statistics, "_HISTOGRAM_BYTES", room)
    array = np.random.default_rng(0).normal(60, 20, (2, 5, 7)).astype(dtype)
    low, high = Quantile("raw", "c", 0.05), Quantile("raw", "c", 0.95)
    found = measure(lambda _: iter([array[:1], array[1:]]), "cyx", [low, high])
    for one in (low, high):
        np.testing.assert_allclose(found[one].values[0], np.quantile(array, one.q, 0, keepdims=True), rtol=1e-6)


def test_memory_for_quantiles_does_not_grow_with_the_groups() -> None:
    """A percentile for every pixel of an image took half a megabyte of memory for each of them."""
    array = np.random.default_rng(0).normal(size=(2, 24, 24)).astype("float32")
    tracemalloc.start()
    try:
        measure(lambda _: iter([array]), "cyx", [Quantile("raw", "c", 0.05), Quantile("raw", "c", 0.95)])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * statistics._HISTOGRAM_BYTES
