"""Models of the zoo by the names that users type and paste; what users type is repeated as they typed it."""

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as testing
from hypothesis import strategies as st

from bioimage_inference import open_model, predict
from bioimage_inference.cli import main
from bioimage_inference.errors import BioimageInferenceError, UsageError
from bioimage_inference.zoo.index import Entry, load_index
from bioimage_inference.zoo.names import recorded_name, typed_name

from ..models import Blur, simple_tensors, write_model

INDEX = load_index()
CURRENT = list(INDEX.current().values())
ENTRIES = st.sampled_from(CURRENT)
CASES: list[Callable[[str], str]] = [str, str.upper, str.title, str.capitalize]
ID_FORMS = ("{}", " {} ", "bioimage-io/{}", "bioimage.io/{}", "🦈 {}", "{}/1.2", "bioimage-io/{}/v1.2")
ADDRESSES = (
    "https://bioimage.io/#/?id={}",
    "https://bioimage.io/#/artifacts/{}",
    "bioimage.io/#/artifacts/bioimage-io%2F{}",
    "https://bioimage.io/#/?tags=nuclei&id={}&type=model",
    "https://bioimage.io/#/r/{}",
    "https://hypha.aicell.io/bioimage-io/artifacts/{}",
    "https://hypha.aicell.io/bioimage-io/artifacts/{}/files/rdf.yaml",
    "https://hypha.aicell.io/bioimage-io/artifacts/{}/create-zip-file?version=v1",
)
DOI_FORMS = (
    "{}",
    "doi:{}",
    "DOI: {}",
    "https://doi.org/{}",
    "http://dx.doi.org/{}",
    "doi.org/{}",
    "https://zenodo.org/doi/{}",
    "https://bioimage.io/#/?id={}",
)
ADDRESS = "https://example.com/a.tif"
Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _no_model_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to work in, and an empty cache."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("BIOIMAGEIO_CACHE_PATH", str(tmp_path / "cache"))


def id_of(typed: str) -> str | None:
    found = typed_name(typed, INDEX)
    return None if found is None else found.id


@given(ENTRIES, st.sampled_from(CASES), st.sampled_from(ID_FORMS), st.sampled_from(["-", "_", " "]))
def test_an_id_in_any_spelling(entry: Entry, case: Callable[[str], str], form: str, separator: str) -> None:
    typed = form.format(case(entry.id.replace("-", separator)))
    found = typed_name(typed, INDEX)
    assert found is not None
    assert (found.id, found.version) == (entry.id, "1.2" if "1.2" in form else None)
    assert found.typed == typed


@given(entry=ENTRIES, case=st.sampled_from(CASES), form=st.sampled_from(ADDRESSES))
def test_the_address_of_a_page_or_file_of_the_model(entry: Entry, case: Callable[[str], str], form: str) -> None:
    assert id_of(form.format(case(entry.id))) == entry.id


def test_a_version_in_an_address_is_the_version_that_is_meant() -> None:
    typed = "https://uk1s3.embassy.ebi.ac.uk/public-datasets/bioimage.io/affable-shark/1.2/files/rdf.yaml"
    found = typed_name(typed, INDEX)
    assert found is not None
    assert str(found) == "affable-shark/1.2"


@given(
    doi=st.sampled_from([doi for entry in CURRENT for doi in entry.dois]),
    form=st.sampled_from(DOI_FORMS),
    quoted=st.booleans(),
)
def test_a_doi_and_its_page(doi: str, form: str, quoted: bool) -> None:
    found = typed_name(form.format(quote(doi, safe="") if quoted and "#" in form else doi), INDEX)
    assert found is not None
    assert found.doi == doi


@pytest.mark.parametrize(
    "form", ["https://zenodo.org/records/{}", "https://zenodo.org/record/{}#.YqX", "zenodo.org/records/{}/files/a.zip"]
)
def test_the_page_of_a_zenodo_record(form: str) -> None:
    found = typed_name(form.format("6647674"), INDEX)
    assert found is not None
    assert found.doi == "10.5281/zenodo.6647674"


@pytest.mark.parametrize("entry", CURRENT, ids=lambda entry: entry.id)
def test_the_title_of_a_model_when_no_other_has_it(entry: Entry) -> None:
    same = [one.id for one in CURRENT if one.name.casefold() == entry.name.casefold()]
    typed = f" {entry.name.upper()}"
    if len(same) == 1:
        assert id_of(typed) == entry.id
        return
    with pytest.raises(UsageError) as caught:
        typed_name(typed, INDEX)
    assert all(one in str(caught.value) for one in same)


def test_an_id_that_this_program_does_not_know_may_be_that_of_a_new_model() -> None:
    assert id_of("Bioimage-IO/Quiet-Newt") == "quiet-newt"


def test_a_file_or_folder_of_that_name_comes_first() -> None:
    Path("affable-shark").touch()
    Path("HyLFM-Net-stat").mkdir()
    assert typed_name("affable-shark", INDEX) is None
    assert typed_name("HyLFM-Net-stat", INDEX) is None


@pytest.mark.parametrize(
    "typed", ["model.zip", "./affable-shark.zip", "/data/affable/shark", "https://example.com/affable-shark", "x"]
)
def test_other_texts_name_no_model(typed: str) -> None:
    assert typed_name(typed, INDEX) is None


@given(entry=ENTRIES, version=st.sampled_from([None, "1", "1.2"]))
def test_a_record_holds_a_name_that_is_read_as_the_same_model(entry: Entry, version: str | None) -> None:
    for typed in (f"{entry.id}/{version}" if version else entry.id, *entry.dois):
        name = typed_name(typed.upper(), INDEX)
        assert name is not None
        assert recorded_name(str(name)) == name
    assert recorded_name(f"/data/{entry.id}") is None


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("affable-shrak", "affable-shark"),
        ("AfableShark", "affable-shark"),
        ("shark", "affable-shark"),
        ("nuclei segmentation boundary", "affable-shark"),
        ("HyLFM-Net", "ambitious-sloth"),
    ],
)
def test_a_mistyped_name_is_answered_with_the_one_that_was_meant(typed: str, meant: str, capsys: Output) -> None:
    assert main(["inspect", typed, "--offline"]) == 2
    told = capsys.readouterr().err
    assert f"There is no file or folder {typed}" in told
    assert "Did you mean" in told
    assert meant in told


_PASTED = st.builds(
    "{}{}{}".format,
    st.sampled_from(["https://", "s3://b/", "./", "a//b/", ""]),
    ENTRIES.map(lambda entry: entry.id),
    st.text("/.#?"),
)


@testing(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.one_of(st.text(), st.text("abc-/:.%#?=&10"), _PASTED).filter(lambda text: text.strip(" ./~")))
def test_whatever_is_typed_as_a_model_is_repeated_as_typed(typed: str) -> None:
    """But for ``~``, which is the home folder."""
    assume(not os.path.exists(typed))  # noqa: PTH110 (pathlib raises for names that are too long)
    with pytest.raises(BioimageInferenceError) as caught, open_model(typed, offline=True):
        pass
    assert caught.value.exit_code == 2
    assert typed in str(caught.value) or not typed.strip()


def test_a_name_that_is_too_long_for_a_file_is_not_called_missing(capsys: Output) -> None:
    assert main(["inspect", "a" * 5000]) == 2
    assert "name too long" in capsys.readouterr().err


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    inputs, outputs = simple_tensors()
    return write_model(tmp_path_factory.mktemp("model"), Blur((1, 1)), inputs, outputs)


@pytest.mark.parametrize("typed", [ADDRESS, ""])
@pytest.mark.parametrize(
    "command",
    [
        ["predict", "{model}", "{typed}"],
        ["predict", "{model}", "{typed}", "{image}"],
        ["predict", "{model}", "{typed}", "--dry-run"],
        ["predict", "{model}", "{typed}", "--npy", "out.npy"],
        ["predict", "{model}", "{image}", "--description", "{typed}"],
        ["inspect", "{typed}"],
        ["validate", "{typed}"],
        ["validate", "{model}", "--description", "{typed}"],
        ["segment", "{typed}"],
        ["segment", "{image}", "--image", "{typed}"],
        ["rerun", "{typed}"],
    ],
    ids=" ".join,
)
def test_an_address_or_an_empty_text_is_no_file(model: Path, command: list[str], typed: str, capsys: Output) -> None:
    np.save("image.npy", np.zeros((32, 32), np.float32))
    places = {"model": model, "image": "image.npy", "typed": typed}
    assert main([part.format(**places) for part in command]) == 2
    told = capsys.readouterr()
    assert (f"{typed} is an address" if typed else "empty text") in told.err + told.out


def test_a_model_in_the_place_of_an_image_is_called_a_model(test_data: Path, capsys: Output) -> None:
    package = str(test_data / "demo-model.zip")
    assert main(["predict", package, package]) == 5
    assert "is a model, but an image is expected here" in capsys.readouterr().err


def test_an_address_as_a_further_input_is_repeated_as_typed(model: Path, capsys: Output) -> None:
    assert main(["predict", str(model), "a.tif", "--input", f"mask={ADDRESS}"]) == 2
    assert f"{ADDRESS} is an address" in capsys.readouterr().err


def test_an_address_in_a_sample_sheet_is_repeated_as_typed(model: Path, capsys: Output) -> None:
    Path("sheet.csv").write_text(f"image,condition\n{ADDRESS},a\n")
    assert main(["predict", str(model), "sheet.csv", "-o", "out"]) == 2
    told = capsys.readouterr()
    assert f"{ADDRESS} is an address" in told.err + told.out


@pytest.mark.parametrize("image", [ADDRESS, ""])
def test_an_address_or_an_empty_text_is_no_image_in_python(model: Path, image: str) -> None:
    with pytest.raises(UsageError, match=f"{image} is an address" if image else "empty text"):
        predict(model, image)
