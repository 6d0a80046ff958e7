"""Agreement of label maps, against values computed by hand and against its own laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from bioimage_inference.comparison.agreement import THRESHOLDS, agreement

LABELS = arrays(np.int64, array_shapes(min_dims=2, max_dims=3, max_side=6), elements=st.integers(0, 4))


def test_counts_by_hand() -> None:
    # object 1: 4 pixels, its partner covers 3 of them and 1 more: IoU 3/5; object 2 has no partner; one object is extra
    first = np.array([[1, 1, 1, 1, 0, 0, 2, 2, 0]])
    second = np.array([[0, 7, 7, 7, 7, 0, 0, 0, 9]])
    found = agreement(first, second)
    assert found.ious.tolist() == [3 / 5, 0]
    assert found.matches(0.5) == (1, 1, 1)
    assert found.matches(0.65) == (0, 2, 2)
    assert found.f1(0.5) == 0.5
    assert found.precision(0.5) == pytest.approx(1 / 3)
    assert found.average_precision == pytest.approx(3 / len(THRESHOLDS) / 3)  # at 0.5, 0.55 and 0.6
    assert found.foreground_iou == 3 / 8


def test_an_object_that_is_cut_in_two_equal_parts_has_one_partner() -> None:
    found = agreement(np.array([[1, 1, 1, 1]]), np.array([[1, 1, 2, 2]]))
    assert found.matches(0.5) == (1, 1, 0)


def test_empty_maps() -> None:
    empty, full = np.zeros((3, 3), int), np.ones((3, 3), int)
    assert agreement(empty, empty).average_precision == 1
    assert agreement(empty, full).average_precision == 0
    assert agreement(full, empty).average_precision == 0


@given(LABELS)
def test_a_map_agrees_with_itself(labels: np.ndarray) -> None:
    found = agreement(labels, labels)
    assert found.average_precision == found.f1(0.9) == found.foreground_iou == 1
    assert found.unmatched == 0
    assert len(found.ious) == len(set(labels.ravel().tolist()) - {0})


@given(LABELS, st.permutations([1, 2, 3, 4]))
def test_other_numbers_change_nothing(labels: np.ndarray, numbers: list[int]) -> None:
    renamed = np.array([0, *numbers])[labels] * 1000
    assert agreement(labels, renamed).average_precision == 1


@given(st.data())
def test_both_directions_agree(data: st.DataObject) -> None:
    first = data.draw(LABELS)
    second = data.draw(arrays(np.int64, first.shape, elements=st.integers(0, 4)))
    one, other = agreement(first, second), agreement(second, first)
    for threshold in THRESHOLDS:
        matched, more, fewer = one.matches(threshold)
        assert other.matches(threshold) == (matched, fewer, more)
    assert one.foreground_iou == other.foreground_iou
