"""The parts of a comparison: perturbations, crops, rankings."""

from dataclasses import replace

import numpy as np
import pytest

from bioimage_inference.comparison.agreement import Agreement
from bioimage_inference.comparison.crops import choose_crop, same_part
from bioimage_inference.comparison.perturbations import perturbations
from bioimage_inference.comparison.ranking import Trials, no_evidence, rank
from bioimage_inference.comparison.recommendation import recommendation
from bioimage_inference.comparison.results import Comparison, ModelRow
from bioimage_inference.errors import ImageError
from bioimage_inference.image.array_images import array_image


@pytest.mark.parametrize(("axes", "shape"), [("yx", (20, 30)), ("zyx", (4, 20, 30)), ("cyx", (2, 20, 30))])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_perturbations_are_small_and_repeatable(axes: str, shape: tuple[int, ...], dtype: type) -> None:
    pixels = np.random.default_rng(0).integers(100, 256, shape).astype(dtype)
    depth = shape[0] if "z" in axes else 1
    for change in perturbations(axes, depth):
        changed = change.apply(pixels, axes)
        assert changed.dtype == np.float32
        assert changed.shape == shape
        assert np.array_equal(changed, change.apply(pixels, axes))
        assert not np.array_equal(changed, pixels)
        back = change.undo(changed, axes)
        assert np.abs(back - pixels.astype(np.float32)).mean() < 60  # 255 + 10 % does not wrap around to 0


def test_flips_map_back_exactly() -> None:
    pixels = np.random.default_rng(0).integers(0, 9, (3, 5, 7))
    flips = [change for change in perturbations("zyx", 3) if change.flipped]
    assert [change.flipped for change in flips] == ["z", "y", "x"]
    for change in flips:
        assert np.array_equal(change.undo(change.apply(pixels, "zyx"), "zyx"), pixels)


def test_the_crop_lies_where_the_image_has_structure() -> None:
    pixels = np.full((300, 400), 100, np.uint16)
    pixels[200:264, 300:364] += np.random.default_rng(0).integers(0, 500, (64, 64)).astype(np.uint16)
    crop = choose_crop(array_image(pixels, "yx"), 100, deep=False)
    assert crop.shape == (100, 100)
    assert crop.pixels.std() > 100
    assert np.array_equal(crop.pixels, pixels[tuple(slice(at, at + 100) for at in crop.start)])
    assert crop.in_words == f"100×100 pixels from y {crop.start[0]}, x {crop.start[1]}"


def test_the_crop_of_a_stack_has_planes_only_for_models_of_volumes() -> None:
    pixels = np.random.default_rng(0).integers(0, 500, (2, 3, 80, 90)).astype(np.uint16)
    image = array_image(pixels, "tzyx")
    deep, flat = (choose_crop(image, None, deep=deep) for deep in (True, False))
    assert (deep.axes, deep.pixels.shape) == ("zyx", (3, 80, 90))
    assert (flat.axes, flat.pixels.shape) == ("yx", (80, 90))
    assert "first of 2 along T" in flat.notes[0]
    assert "plane" in flat.notes[1]
    truth = same_part(array_image(pixels[0].astype(np.int32), "zyx"), flat)
    assert np.array_equal(truth, flat.pixels)


def test_true_objects_of_another_size_are_refused() -> None:
    crop = choose_crop(array_image(np.ones((40, 50)), "yx"), None, deep=False)
    with pytest.raises(ImageError, match="Give a label map of the whole image"):
        same_part(array_image(np.ones((50, 40), int), "yx"), crop)
    with pytest.raises(ImageError, match="numbers that are not whole"):
        same_part(array_image(np.full((40, 50), 0.5), "yx"), crop)


def _agreement(matched: int, lost: int) -> Agreement:
    return Agreement(np.array([0.95] * matched + [0.0] * lost), 0, 1.0)


def test_a_better_model_is_first_and_its_lead_is_certain() -> None:
    good, bad = [[_agreement(95, 5)] * 9], [[_agreement(50, 50)] * 9]
    ranking = rank({"bad": bad, "good": good})
    assert ranking.names == (*ranking.close, "bad") == ("good", "bad")
    assert ranking.certainty == 1
    score = ranking.scores["good"]
    assert score.value == pytest.approx(0.95)
    assert 0.85 < score.low < score.value < score.high <= 1
    assert rank({"bad": bad, "good": good}) == ranking


def test_models_that_differ_little_are_too_close_to_call() -> None:
    one, other = [[_agreement(19, 1)] * 9], [[_agreement(18, 2)] * 9]
    assert rank({"one": one, "other": other}).close == ("one", "other")
    assert rank({"one": one, "same": one}).close == ("one", "same")
    assert rank({"one": one}).certainty is None
    assert rank({}).names == ()


def test_a_model_that_finds_nothing_in_an_image_is_not_consistent_there() -> None:
    empty, some = [_agreement(0, 0)] * 9, [_agreement(9, 1)] * 9
    ranking = rank({"sees little": [some, empty, empty], "sees all": [some, some, empty]})
    assert ranking.scores["sees all"].value == pytest.approx(0.9)  # nobody sees objects in the third image
    assert ranking.scores["sees little"].value == pytest.approx(0.45)
    by_truth = rank({"sees nothing": [empty[:1]], "the same": [empty[:1]]}, by_truth=True)
    assert by_truth.scores["sees nothing"].value == 1  # and nothing is there


def test_nothing_and_everything_are_no_evidence() -> None:
    empty = np.zeros((10, 10), int)
    assert no_evidence([empty]) == "found no objects"
    assert no_evidence([empty + 1]) == "took almost the whole crop for one object"
    assert no_evidence([np.arange(100).reshape(10, 10) + 1]) == "left no background between objects"
    some = empty.copy()
    some[2:5, 2:5] = 1
    assert no_evidence([some]) is None
    assert no_evidence([empty, some]) is None


def test_metadata_of_the_file_stay_with_the_crop() -> None:
    image = replace(array_image(np.ones((2, 40, 50)), "cyx"), channel_names=("DAPI", "GFP"))
    assert choose_crop(image, 32, deep=False).as_image().channel_names == ("DAPI", "GFP")


def _comparison(likeness: dict[tuple[str, str], float], **trials: Trials) -> Comparison:
    rows = [ModelRow(name, name, licence="MIT", trials=one) for name, one in trials.items()]
    crop = choose_crop(array_image(np.zeros((32, 32), np.uint8), "yx"), None, deep=False)
    return Comparison([crop], [], rows, rank(trials), None, None, likeness)


def test_a_model_that_the_others_contradict_is_named() -> None:
    likeness = {("odd", "one"): 0.2, ("odd", "two"): 0.3, ("one", "two"): 0.9}
    worse = [[_agreement(50, 50)] * 9]
    found = _comparison(likeness, odd=[[_agreement(95, 5)] * 9], one=worse, two=worse)
    assert found.consensus("odd") == pytest.approx(0.25)
    advice = recommendation(found)
    assert advice.verdict == "odd is recommended."
    assert "The other models agree more with two (consensus 0.60) than with odd (0.25)." in " ".join(advice.cautions)


def test_two_models_have_no_consensus() -> None:
    one = [[_agreement(95, 5)] * 9]
    found = _comparison({("one", "two"): 0.9}, one=one, two=one)
    assert found.consensus("one") is None
    assert recommendation(found).verdict == "Too close to call between one and two."


def test_a_low_score_and_few_objects_are_told() -> None:
    few = [[_agreement(1, 3)] * 9]
    cautions = " ".join(recommendation(_comparison({}, few=few)).cautions)
    assert "Even the best score is low (0.25)" in cautions
    assert "The crop shows 4 objects only" in cautions
