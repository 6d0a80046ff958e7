"""Geometry of tiles: every pixel of the output comes from exactly one tile, far enough from that tile's cut edges."""

import itertools
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bioimage_inference.model.spec import Axis, FixedSize, ModelSpec, ReferencedSize, Size, StepSize, TensorSpec
from bioimage_inference.tiling.axis_tiling import (
    AxisTiling,
    border_indices,
    candidates,
    kept_parts,
    legal_size,
    spread,
    stride_of,
)
from bioimage_inference.tiling.plan import Plan, make_plan
from bioimage_inference.tiling.tile_size import BYTES_PER_PIXEL, Request

steps = st.builds(StepSize, st.integers(1, 70), st.integers(1, 40))
sizes = st.one_of(steps, st.builds(FixedSize, st.integers(1, 200)))


@given(steps, st.integers(1, 500))
def test_the_next_legal_size_holds_the_image_and_the_one_before_does_not(size: StepSize, pixels: int) -> None:
    legal = legal_size(size, pixels)
    assert legal >= pixels
    assert (legal - size.minimum) % size.step == 0
    assert legal == size.minimum or legal - size.step < pixels


spreads = given(st.integers(1, 3000), st.integers(1, 300), st.integers(0, 120), st.sampled_from([1, 2, 8, 16]))


@spreads
def test_tiles_that_cannot_overlap_are_refused(extent: int, tile: int, overlap: int, stride: int) -> None:
    extent, overlap = extent + tile, max(overlap, tile - stride + 1)
    with pytest.raises(ValueError, match="cannot overlap"):
        spread(extent, tile, overlap, stride)


@spreads
def test_tiles_cover_the_axis_and_lie_flush_with_its_ends(extent: int, tile: int, overlap: int, stride: int) -> None:
    assume(tile >= extent or (tile - overlap) // stride >= 1)
    starts = spread(extent, tile, overlap, stride)
    assert starts[0] == 0
    assert starts[-1] + tile >= extent
    assert len(starts) == 1 or starts[-1] + tile == extent
    assert all(start % stride == 0 for start in starts[:-1])
    assert all(before + tile - after >= overlap for before, after in itertools.pairwise(starts))


@given(sizes, st.integers(1, 3000), st.integers(0, 60))
def test_candidates_are_legal_and_cover(size: Size, pixels: int, overlap: int) -> None:
    stride = stride_of(size, overlap)
    extent = max(pixels, legal_size(size, pixels))
    # the choice of the halo keeps away from this
    assume(not (isinstance(size, FixedSize) and extent > size.size and size.size <= overlap))
    for tile, count in candidates(size, extent, overlap, stride):
        assert legal_size(size, tile) == tile
        assert len(spread(extent, tile, overlap, stride)) == count


@given(
    pixels=st.integers(1, 400),
    tile=st.integers(8, 128),
    halo=st.integers(0, 20),
    offset=st.integers(-6, 6),
    scale=st.sampled_from([Fraction(1), Fraction(2), Fraction(1, 2), Fraction(4)]),
)
def test_every_output_pixel_is_kept_once_and_lies_a_halo_away_from_cuts(
    pixels: int, tile: int, halo: int, offset: int, scale: Fraction
) -> None:
    stride = scale.denominator
    overlap = max(0, -int((offset - 2 * halo) // scale))
    tile = tile // stride * stride
    pixels = max(tile, pixels // stride * stride)
    assume(tile >= pixels or (tile - overlap) // stride >= 1)
    tiling = AxisTiling("x", pixels, 0, pixels, tile, spread(pixels, tile, overlap, stride))
    kept = kept_parts(tiling, scale, offset, halo)
    length = int(tile * scale) + offset
    assert kept[0].start == 0
    assert kept[-1].stop == int(pixels * scale) + offset
    for before, after in itertools.pairwise(kept):
        assert before.stop == after.start
        assert after.offset >= halo
        assert length - (before.offset + before.stop - before.start) >= halo
    for part in kept:
        assert part.offset >= 0
        assert part.offset + part.stop - part.start <= max(length, 0) or len(kept) == 1


@given(
    size=st.integers(1, 12),
    before=st.integers(0, 40),
    after=st.integers(0, 40),
    mode=st.sampled_from(["symmetric", "reflect", "edge"]),
)
def test_pixels_beyond_the_border_are_those_of_numpy_pad(size: int, before: int, after: int, mode: str) -> None:
    expected = np.pad(np.arange(size), (before, after), mode=mode)  # type: ignore[call-overload]
    np.testing.assert_array_equal(border_indices(-before, size + after, size, mode), expected)  # type: ignore[arg-type]


def test_constant_padding_is_marked_as_outside() -> None:
    np.testing.assert_array_equal(border_indices(-2, 5, 3, "constant"), [-1, -1, 0, 1, 2, -1, -1])


# Memory


def plan(sizes: dict[str, int], halo: int, step: int, request: Request) -> Plan:
    """Tiles of a network that takes sizes of at least 32 pixels in steps, and gives an output of the same size."""
    axes = tuple(Axis(letter, letter, StepSize(32, step)) for letter in sizes)
    outputs = tuple(Axis(letter, letter, ReferencedSize("raw", letter), halo=halo) for letter in sizes)
    spec = ModelSpec("model", (TensorSpec("raw", axes),), (TensorSpec("out", outputs),), (), Path())
    return make_plan(spec, {"raw": sizes}, request)


flat = st.lists(st.integers(32, 1200), min_size=2, max_size=2)
stacks = st.lists(st.integers(32, 160), min_size=3, max_size=3)


@given(
    sizes=flat | stacks,
    halo=st.integers(1, 24),
    step=st.sampled_from([1, 4, 16]),
    mebibytes=st.lists(st.integers(-10, 600), min_size=2, max_size=2).map(sorted),
    slabs=st.booleans(),
)
def test_more_memory_never_costs_more(
    sizes: list[int], halo: int, step: int, mebibytes: list[int], slabs: bool
) -> None:
    """The cost is the pixels computed, and for each tile as many as starting it takes time for."""
    shape = dict(zip("zyx"[-len(sizes) :], sizes, strict=True))
    little, much = (plan(shape, halo, step, Request(room=room << 20, slabs=slabs)) for room in mebibytes)
    before, after = (len(one) * (math.prod(one.tile_shape.values()) + 20_000) for one in (little, much))
    assert after <= before


@given(sizes=flat, halo=st.integers(1, 24), mebibytes=st.integers(2, 600))
def test_tiles_fit_and_leave_little_of_the_memory(sizes: list[int], halo: int, mebibytes: int) -> None:
    """A quarter of what a tile may have at least, save where the image is no larger or larger tiles gain nothing."""
    shape = dict(zip("yx", sizes, strict=True))
    found = plan(shape, halo, 4, Request(room=mebibytes << 20))
    pixels, most = math.prod(found.tile_shape.values()), (mebibytes << 20) / BYTES_PER_PIXEL[2]
    smallest = plan(shape, halo, 4, Request(room=0)).tile_shape
    assert pixels <= most or found.tile_shape == smallest
    assert len(found) == 1 or pixels > min(most, 600 * 600) / 4
