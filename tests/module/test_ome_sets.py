"""Images that are spread over a set of OME-TIFF files: by a companion file, or by the OME-XML of each file."""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from bioimage_inference.errors import ImageError
from bioimage_inference.image.image import PixelSize
from bioimage_inference.image.readers.reading import files_beside, open_image
from bioimage_inference.image.readers.tiff_reader import open_tiff
from tests.reading_data import Array, failure, opened, pixels, tiff, whole

HALF = {"y": PixelSize(0.5, "µm"), "x": PixelSize(0.5, "µm")}
SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
Plane = tuple[int, int, int]


def ome(images: Sequence[str], top: str = "") -> str:
    return f'<?xml version="1.0"?><OME xmlns="{SCHEMA}"{top}>{"".join(images)}</OME>'


def image_xml(data: str, *, c: int = 1, z: int = 1, t: int = 1, order: str = "XYZCT", number: int = 0) -> str:
    channels = "".join(f'<Channel ID="Channel:{number}:{one}" Name="{("DAPI", "GFP")[one]}"/>' for one in range(c))
    return (
        f'<Image ID="Image:{number}"><Pixels ID="Pixels:{number}" DimensionOrder="{order}" Type="uint16" SizeX="30" '
        f'SizeY="20" SizeZ="{z}" SizeC="{c}" SizeT="{t}" PhysicalSizeX="0.5" PhysicalSizeY="0.5">{channels}{data}'
        "</Pixels></Image>"
    )


def tiff_data(name: str, plane: Plane, page: int = 0, count: int = 1) -> str:
    c, z, t = plane
    return (
        f'<TiffData FirstC="{c}" FirstZ="{z}" FirstT="{t}" IFD="{page}" PlaneCount="{count}">'
        f'<UUID FileName="{name}">urn:uuid:{Path(name).name}</UUID></TiffData>'
    )


def member(path: Path, array: Array, xml: str | None, **options: Any) -> None:
    """A TIFF of single pages with that OME-XML on the first of them."""
    with tifffile.TiffWriter(path) as writer:
        for number, page in enumerate(array):
            writer.write(page, metadata=None, contiguous=False, description=xml if number == 0 else None, **options)


def binary_only(name: str, companion: str = "all.companion.ome") -> str:
    return f'<OME xmlns="{SCHEMA}" UUID="urn:uuid:{name}"><BinaryOnly MetadataFile="{companion}" UUID="u"/></OME>'


def companion(folder: Path, names: Sequence[str] = ("c0.tif", "c1.tif"), *, plain: bool = False) -> Array:
    """Two files that hold a channel each, and the companion file that describes them under these names."""
    stack = pixels(2, 20, 30)
    data = "".join(tiff_data(name, (number, 0, 0)) for number, name in enumerate(names))
    (folder / "all.companion.ome").write_text(ome([image_xml(data, c=2)]), encoding="utf-8")
    for number, page in enumerate(stack):
        member(folder / f"c{number}.tif", page[None], None if plain else binary_only(f"c{number}.tif"))
    return stack


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("given", ["all.companion.ome", "c0.tif", "c1.tif"])
def test_a_companion_file_stands_for_all_files_of_the_set(tmp_path: Path, given: str, plain: bool) -> None:
    stack = companion(tmp_path, plain=plain)
    image, got = opened(tmp_path / given)
    if plain and given != "all.companion.ome":  # a plain TIFF does not name its companion
        np.testing.assert_array_equal(got, stack[int(given[1])])
        return
    np.testing.assert_array_equal(got, stack)
    assert (image.axes, image.channel_names, dict(image.pixel_size)) == ("cyx", ("DAPI", "GFP"), HALF)
    assert "2 files" in image.notes[0]
    assert {path.name for path in files_beside(tmp_path / given)} == {"all.companion.ome", "c0.tif", "c1.tif"} - {given}


@pytest.mark.parametrize("given", ["all.companion.ome", "c0.tif"])
def test_a_file_that_is_missing_is_named(tmp_path: Path, given: str) -> None:
    companion(tmp_path)
    (tmp_path / "c1.tif").unlink()
    assert "'c1.tif'" in str(failure(tmp_path / given))
    assert files_beside(tmp_path / given) == []


def test_a_companion_without_any_of_its_files_is_an_error(tmp_path: Path) -> None:
    companion(tmp_path)
    (tmp_path / "c0.tif").unlink()
    (tmp_path / "c1.tif").unlink()
    assert "OME-TIFF file itself" in str(failure(tmp_path / "all.companion.ome"))


Order = Callable[[int, int, int], list[Plane]]


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("order", ["XYCZT", "XYZCT", "XYTZC"])
@pytest.mark.parametrize("by", ["c", "t", "plane"])
def test_each_file_describes_the_whole_set(tmp_path: Path, by: str, order: str, compression: Any) -> None:
    counts = {"c": 2, "z": 3, "t": 2}
    axes = order[:1:-1].lower()
    stack = pixels(*(counts[axis] for axis in axes), 20, 30)
    held: dict[str, list[tuple[Plane, Array]]] = {}
    for place in product(*(range(counts[axis]) for axis in axes)):
        index = dict(zip(axes, place, strict=True))
        number = "".join(map(str, place)) if by == "plane" else index[by]
        held.setdefault(f"set_{by}{number}.ome.tif", []).append(((index["c"], index["z"], index["t"]), stack[place]))
    data = [tiff_data(name, plane, page) for name, one in held.items() for page, (plane, _) in enumerate(one)]
    for name, one in held.items():
        # The elements come in any order.
        xml = ome([image_xml("".join(reversed(data)), **counts, order=order)], f' UUID="urn:uuid:{name}"')
        member(tmp_path / name, np.stack([page for _, page in one]), xml, compression=compression)
    for name in (min(held), max(held)):
        image, got = opened(tmp_path / name)
        assert (image.axes, image.channel_names) == (f"{axes}yx", ("DAPI", "GFP"))
        np.testing.assert_array_equal(got, stack)
        assert len(files_beside(tmp_path / name)) == len(held) - 1
    (tmp_path / max(held)).unlink()
    assert max(held) in str(failure(tmp_path / min(held)))


def test_several_planes_of_one_tiff_data_follow_the_dimension_order(tmp_path: Path) -> None:
    stack = pixels(2, 3, 20, 30)
    data = "".join(tiff_data(f"c{c}.tif", (c, 0, 0), 0, 3) for c in range(2))
    for number, part in enumerate(stack):
        xml = ome([image_xml(data, c=2, z=3, order="XYZCT")], f' UUID="urn:uuid:c{number}.tif"')
        member(tmp_path / f"c{number}.tif", part, xml)
    image, got = opened(tmp_path / "c1.tif")
    np.testing.assert_array_equal(got, stack)
    assert image.axes == "czyx"


def test_regions_are_read_from_more_files_than_may_be_open(tmp_path: Path) -> None:
    stack = pixels(70, 20, 30)
    data = "".join(tiff_data(f"t{number}.tif", (0, 0, number)) for number in range(70))
    for number, page in enumerate(stack):
        xml = ome([image_xml(data, t=70)], f' UUID="urn:uuid:t{number}.tif"')
        member(tmp_path / f"t{number}.tif", page[None], xml)
    image = open_image(tmp_path / "t3.tif")
    for _ in range(2):
        np.testing.assert_array_equal(whole(image), stack)
        np.testing.assert_array_equal(
            image.read((slice(60, 70), slice(3, 9), slice(5, 6))), stack[60:70, 3:9, 5:6]
        )  # fmt: skip
    image.close()
    with pytest.raises(ImageError):
        whole(image)


def test_of_the_images_of_a_set_those_in_the_file_are_read(tmp_path: Path) -> None:
    first, second = pixels(1, 20, 30), pixels(1, 20, 30)
    images = [image_xml(tiff_data(f"p{number}.tif", (0, 0, 0)), number=number) for number in range(2)]
    for number, page in enumerate((first, second)):
        member(tmp_path / f"p{number}.tif", page, ome(images, f' UUID="urn:uuid:p{number}.tif"'))
    for name, page in (("p0.tif", first), ("p1.tif", second)):
        image, got = opened(tmp_path / name)
        np.testing.assert_array_equal(got, page[0])
        assert "1 more images in other files" in image.notes[0]
        assert files_beside(tmp_path / name) == []


def test_a_companion_of_several_images_reads_the_first_of_them(tmp_path: Path) -> None:
    stack = pixels(2, 20, 30)
    images = [image_xml(tiff_data(f"p{number}.tif", (0, 0, 0)), number=number) for number in range(2)]
    (tmp_path / "all.companion.ome").write_text(ome(images), encoding="utf-8")
    for number, page in enumerate(stack):
        member(tmp_path / f"p{number}.tif", page[None], binary_only(f"p{number}.tif"))
    image, got = opened(tmp_path / "all.companion.ome")
    np.testing.assert_array_equal(got, stack[0])
    assert "2 images" in " ".join(image.notes)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_an_image_in_another_file_is_read_from_there(tmp_path: Path, compression: Any) -> None:
    first, second = pixels(1, 20, 30), pixels(1, 20, 30)
    data = tiff_data("p1.tif", (0, 0, 0)) + "<!-- none in p0.tif -->"
    (tmp_path / "all.companion.ome").write_text(
        ome([image_xml(data), image_xml(tiff_data("p0.tif", (0, 0, 0)), number=1)]), encoding="utf-8"
    )
    for number, page in enumerate((first, second)):
        member(tmp_path / f"p{number}.tif", page, None, compression=compression)
    tiff_file = tmp_path / "p0.tif"
    image = open_tiff(tiff_file, companion=tmp_path / "all.companion.ome")
    np.testing.assert_array_equal(whole(image), second[0])
    image.close()


def test_a_file_with_another_file_s_name_is_no_part_twice(tmp_path: Path) -> None:
    data = tiff_data("c0.tif", (0, 0, 0)) + tiff_data("c1.tif", (1, 0, 0))
    xml = ome([image_xml(data, c=2)], ' UUID="urn:uuid:c1.tif"')
    member(tmp_path / "c0.tif", pixels(1, 20, 30), xml)
    assert "Missing beside it: 'c0.tif'" in str(failure(tmp_path / "c0.tif"))


def test_a_renamed_file_of_a_set_still_knows_its_part(tmp_path: Path) -> None:
    stack = companion(tmp_path)
    (tmp_path / "c1.tif").rename(tmp_path / "renamed.tif")
    assert "'c1.tif'" in str(failure(tmp_path / "c0.tif"))
    assert "renamed.tif holds a part" not in str(failure(tmp_path / "c0.tif"))
    image, got = opened(tmp_path / "renamed.tif")
    np.testing.assert_array_equal(got, stack)
    assert image.axes == "cyx"


@pytest.mark.parametrize("other", ["plain", "ome", "text", "other size", "cut"])
def test_a_file_that_does_not_belong_to_the_set_is_not_read(tmp_path: Path, other: str) -> None:
    secret = tmp_path / "secret.tif"
    data = tiff_data("public.tif", (0, 0, 0)) + tiff_data("secret.tif", (1, 0, 0))
    xml = ome([image_xml(data, c=2)], ' UUID="urn:uuid:public.tif"')
    member(tmp_path / "public.tif", np.zeros((1, 20, 30), np.uint16), xml)
    hidden = np.full((1, 20, 30), 7777, np.uint16)
    own = xml.replace('UUID="urn:uuid:public.tif"', 'UUID="urn:uuid:secret.tif"')
    if other == "text":
        secret.write_text("no image", encoding="utf-8")
    else:
        texts = {"plain": None, "ome": ome([image_xml('<TiffData IFD="0"/>')], ' UUID="urn:uuid:own"')}
        member(secret, hidden[:, :10] if other == "other size" else hidden, texts.get(other, own))
    if other == "cut":
        secret.write_bytes(secret.read_bytes()[:-40])
    assert "secret.tif" in str(failure(tmp_path / "public.tif"))


def test_a_set_leads_to_no_file_elsewhere(tmp_path: Path) -> None:
    inside, secret = tmp_path / "inside", tmp_path / "secret.tif"
    inside.mkdir()
    tifffile.imwrite(secret, pixels(20, 30))
    (inside / "link.tif").symlink_to(secret)
    for name in ("../secret.tif", str(secret), "link.tif", "..", "", "..\\secret.tif"):
        companion(inside, (name, name))
        assert isinstance(failure(inside / "all.companion.ome"), ImageError)
        companion(inside, ("c0.tif", name))
        assert isinstance(failure(inside / "all.companion.ome"), ImageError)


@pytest.mark.parametrize("element", ["TiffData", "UUID", "Pixels", "Image"])
def test_elements_that_merely_end_like_others_lead_nowhere(tmp_path: Path, element: str) -> None:
    tifffile.imwrite(tmp_path / "secret.tif", np.full((20, 30), 7777, np.uint16))
    xml = ome([image_xml(tiff_data("secret.tif", (0, 0, 0)))])
    xml = xml.replace(f"<{element}", f"<Evil{element}").replace(f"</{element}>", f"</Evil{element}>")
    array = pixels(20, 30)
    _, got = opened(tiff(tmp_path, array, description=xml.encode(), metadata=None))
    np.testing.assert_array_equal(got, array)


def test_metadata_in_a_companion_elsewhere_are_not_read(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    companion(tmp_path)
    (inside / "link.ome").symlink_to(tmp_path / "all.companion.ome")
    for name in ("../all.companion.ome", str(tmp_path / "all.companion.ome"), "link.ome", "inside", "\u2028"):
        image, _ = opened(tiff(inside, pixels(20, 30), description=binary_only("a", name).encode(), metadata=None))
        assert not image.pixel_size
        assert "not beside it" in image.notes[0]
