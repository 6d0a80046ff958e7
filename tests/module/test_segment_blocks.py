"""Objects found in blocks are those found in one piece, and nothing is left behind on the disk."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import regionprops
from skimage.segmentation import watershed

from bioimage_inference.image.array_images import array_image
from bioimage_inference.segmentation.label_blocks import Grid, LabelFile, cut
from bioimage_inference.segmentation.measuring import Meter
from bioimage_inference.segmentation.prediction_maps import Maps, Samples
from bioimage_inference.segmentation.watershed import find_seeds, grow_seeds


def blobs(seed, shape, sigma=3.0):
    """Smooth maps of foreground and boundary with clumps of objects, every value different from every other."""
    rng = np.random.default_rng(seed)
    noise = [ndimage.gaussian_filter(rng.normal(size=shape), sigma) for _ in range(2)]
    foreground = 1 / (1 + np.exp(-4 * noise[0] / noise[0].std() - 1))
    boundary = 0.6 / (1 + np.exp(-3 * noise[1] / noise[1].std()))
    return np.stack([foreground, boundary]).astype(np.float32)


def maps_of(channels):
    axes = "czyx"[-channels.ndim :] if channels.ndim == 4 else "cyx"
    return Maps(Samples(array_image(channels, axes), axes[1:]), 0, 1, ())


def segment(channels, grid, folder):
    """Labels and measures of maps, worked on in the blocks of a grid."""
    maps = maps_of(channels)
    found = np.zeros(channels.shape[1:], np.uint32)
    with LabelFile(Path(folder, "seeds.npy"), maps.samples.spatial, maps.samples.shape) as file:
        seeds = find_seeds(maps, (), grid, 0.4, file)
        meter = Meter(0, seeds.count, found.shape, 1)
        for region, labels in grow_seeds(maps, (), grid, seeds):
            meter.add(region, labels, [channels[(0, *region)]])
            found[region] = labels
    return found, meter.result()


def in_scan_order(labels):
    """The same objects, numbered by their first pixel."""
    values, first, place = np.unique(labels, return_index=True, return_inverse=True)
    first[values == 0] = -1
    return np.argsort(np.argsort(first))[place].reshape(labels.shape) + (0 if values[0] == 0 else 1)


def reference(channels):
    """What scikit-image makes of the whole."""
    foreground, boundary = channels
    mask = foreground > 0.5
    seeds = ndimage.label((foreground - boundary > 0.4) & mask)[0]
    return watershed(boundary - foreground, seeds, mask=mask)


def longest(labels):
    return max(part.stop - part.start for parts in ndimage.find_objects(labels) for part in parts)


@pytest.mark.parametrize("shape", [(90, 110), (20, 40, 50)])
def test_one_block_is_exactly_the_watershed_of_scikit_image(shape, tmp_path):
    channels = blobs(1, shape, 1.5)
    grid = cut(shape, 16)
    assert len(grid) == 1
    labels, _ = segment(channels, grid, tmp_path)
    assert labels.max() > 5
    np.testing.assert_array_equal(labels, reference(channels))


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), rows=st.integers(7, 60), columns=st.integers(7, 60))
def test_blocks_that_cut_objects_give_the_whole(seed, rows, columns, tmp_path_factory):
    channels = blobs(seed, (80, 100), 2.0)
    whole = reference(channels)
    grid = Grid((80, 100), (rows, columns), longest(whole))
    labels, _ = segment(channels, grid, tmp_path_factory.mktemp("blocks"))
    np.testing.assert_array_equal(in_scan_order(labels), in_scan_order(whole))


@pytest.mark.parametrize("size", [(7, 9, 11), (20, 13, 50), (5, 40, 8)])
def test_blocks_of_a_stack_give_the_whole(size, tmp_path):
    channels = blobs(3, (20, 40, 50), 1.5)
    whole = reference(channels)
    labels, _ = segment(channels, Grid((20, 40, 50), size, longest(whole)), tmp_path)
    np.testing.assert_array_equal(in_scan_order(labels), in_scan_order(whole))


@pytest.mark.parametrize("size", [(80, 100), (13, 17)])
def test_measures_are_those_of_scikit_image(size, tmp_path):
    channels = blobs(5, (80, 100))
    labels, objects = segment(channels, Grid((80, 100), size, 40), tmp_path)
    expected = regionprops(labels.astype(np.int32), channels[0])
    assert [one.label for one in expected] == (np.flatnonzero(objects.size) + 1).tolist()
    for one in expected:
        row = one.label - 1
        assert objects.size[row] == one.area
        np.testing.assert_allclose(objects.centre[row], one.centroid)
        assert (*objects.low[row], *objects.high[row]) == one.bbox
        np.testing.assert_allclose(objects.mean[row, 0], one.intensity_mean, rtol=1e-6)
        assert objects.first[row] == np.flatnonzero(labels == one.label)[0]


def test_a_seed_that_winds_through_many_blocks_is_one(tmp_path):
    """A spiral crosses every border of blocks several times."""
    y, x = np.mgrid[-50:50, -50:50]
    turns = np.hypot(y, x) / 10 - np.arctan2(y, x) / (2 * np.pi)
    inside = (turns % 1 < 0.5) & (np.hypot(y, x) < 48)
    channels = np.stack([inside, np.zeros_like(inside)]).astype(np.float32)
    labels, _ = segment(channels, Grid((100, 100), (9, 7), 2), tmp_path)
    np.testing.assert_array_equal(labels > 0, inside)
    assert len(np.unique(labels)) - 1 == ndimage.label(inside)[1]


def test_blocks_cover_a_sample_once():
    grid = cut((50, 301, 200), 8, most=100_000)
    seen = np.zeros(grid.shape, int)
    for block in grid:
        seen[block.core] += 1
        outer = np.zeros(grid.shape, bool)
        outer[block.outer] = True
        assert outer.sum() <= 100_000
        assert outer[block.outer][block.inner].shape == seen[block.core].shape
    assert (seen == 1).all()


def test_numbers_run_on_where_no_background_is_in_sight(tmp_path):
    """A block wholly inside one seed has no zero among its labels."""
    channels = np.stack([np.ones((20, 20)), np.zeros((20, 20))]).astype(np.float32)
    labels, objects = segment(channels, Grid((20, 20), (5, 5), 1), tmp_path)
    assert (labels == 1).all()
    assert objects.size.tolist() == [400]
