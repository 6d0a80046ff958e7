"""Sample sheets: which images they name, what they say of each, and every way in which they can be wrong."""

from pathlib import Path

import pytest

from bioimage_inference.batch.sample_sheet import Sample, read_samples, read_sheet
from bioimage_inference.errors import ImageError, UsageError


def written(folder: Path, text: str | bytes, name: str = "plate.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_image_column_names_files_and_all_others_are_metadata(tmp_path: Path) -> None:
    sheet = written(tmp_path, 'condition,image,dose\ncontrol,a.tif,0\n"drug A, new",day 2/b.tif,5\n')
    first, second = read_sheet(sheet)
    assert (first.image, first.metadata) == (tmp_path / "a.tif", {"condition": "control", "dose": "0"})
    assert (second.image, second.metadata) == (tmp_path / "day 2" / "b.tif", {"condition": "drug A, new", "dose": "5"})
    assert second.where == f"row 3 of {sheet}"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("image,dose\na.tif,µ 5\n", "plain.csv"),
        ("\ufeffimage;dose\r\na.tif;µ 5\r\n", "german-excel.csv"),
        ("dose\tImage\nµ 5\ta.tif\n", "tabs.TSV"),
        ("dose\tFilename\nµ 5\ta.tif\n", "tabs-in.csv"),
        ('"dose","path"\n"µ 5"," a.tif "\n\n', "quoted.csv"),
        ("my pictures,dose\na.tif,µ 5\n,\n", "first-column.csv"),
        ("image,dose,,\na.tif,µ 5,,\n", "empty-columns-of-a-spreadsheet.csv"),
        ("\r\n;;\r\nimage;dose;\r\na.tif;µ 5;\r\n", "empty-lines-first.csv"),
    ],
)
def test_the_dialects_of_spreadsheets(tmp_path: Path, text: str, name: str) -> None:
    (sample,) = read_sheet(written(tmp_path, text, name))
    assert sample.image == tmp_path / "a.tif"
    assert dict(sample.metadata) == {"dose": "µ 5"}


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("image;dose, µM\na.tif;5\n", "dose, µM"),
        ('"dose, µM";"image"\n5;"a.tif"\n', "dose, µM"),
        ('"dose,\nµM";image\n5;a.tif\n', "dose,\nµM"),
        ("image\tdose, µM; day, hour\na.tif\t5\n", "dose, µM; day, hour"),
        ('image,"dose; µM"\na.tif,5\n', "dose; µM"),
        ("my pictures;dose, µM;\na.tif;5;\n", "dose, µM"),
    ],
)
def test_a_name_of_a_column_may_hold_other_separators(tmp_path: Path, text: str, column: str) -> None:
    (sample,) = read_sheet(written(tmp_path, text))
    assert sample.image == tmp_path / "a.tif"
    assert dict(sample.metadata) == {column: "5"}


def test_image_comes_before_the_other_names_for_it(tmp_path: Path) -> None:
    (sample,) = read_sheet(written(tmp_path, "path,image\nelsewhere,a.tif\n"))
    assert (sample.image.name, dict(sample.metadata)) == ("a.tif", {"path": "elsewhere"})


def test_cells_that_are_not_there_are_empty_and_paths_may_be_absolute(tmp_path: Path) -> None:
    (sample,) = read_sheet(written(tmp_path, f"image,dose,note\n{tmp_path}/x/a.tif,5\n"))
    assert sample.image == tmp_path / "x" / "a.tif"
    assert sample.metadata == {"dose": "5", "note": ""}


def test_sheets_and_images_mix_in_the_order_given(tmp_path: Path) -> None:
    sheet = written(tmp_path, "image\nb.tif\nc.tif\n")
    samples = read_samples(["a.tif", str(sheet), "d.tif"])
    assert [sample.name for sample in samples] == ["a.tif", "b.tif", "c.tif", "d.tif"]
    assert [bool(sample.where) for sample in samples] == [False, True, True, False]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("image,dose\n", "no row with an image"),
        ("a.tif,5\nb.tif,6\n", "names an image, a.tif"),
        ("image,dose,dose\na.tif,1,2\n", "'dose' more than once"),
        ("image,,dose\na.tif,1,2\n", "no name for column 2"),
        ("image,dose\n,5\n", "no image in row 2"),
        ("image,dose\na.tif,5,6\n", "3 cells in row 2"),
        ("image,dose\na.tif,1\nb.tif,2\n./a.tif,3\n", "given twice, by row 2 of"),
        ("image,dose\na.tif,\xb5\n".encode("latin-1"), "not text in UTF-8"),
        ('image,dose\na.tif,"5\n', "no table that can be read"),
    ],
)
def test_what_is_wrong_with_a_sheet_is_one_paragraph(tmp_path: Path, text: str | bytes, words: str) -> None:
    (tmp_path / "a.tif").touch()
    sheet = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_samples([str(sheet)])
    assert words in str(caught.value)
    assert str(sheet) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_sheet_that_is_not_there_and_an_image_given_twice(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.csv cannot be read"):
        read_samples([str(tmp_path / "nowhere.csv")])
    sheet = written(tmp_path, "image\na.tif\n")
    with pytest.raises(UsageError, match="given twice, directly and by row 2"):
        read_samples([str(tmp_path / "a.tif"), str(sheet)])


def test_a_missing_image_is_a_matter_of_that_image(tmp_path: Path) -> None:
    (sample,) = read_sheet(written(tmp_path, "image\nnowhere.tif\n"))
    with pytest.raises(ImageError, match=r"Row 2 of .* names nowhere\.tif"):
        sample.check()
    Sample(tmp_path / "nowhere.tif", "nowhere.tif").check()  # one from the command line is told of when it is opened
