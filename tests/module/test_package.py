"""Whatever the user gives as a model is opened by its content, or refused in one paragraph; nothing escapes."""

import hashlib
import os
import pickle
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bioimage_inference.errors import ModelError, OutputError, UsageError
from bioimage_inference.model.package import Package, check_sha256, open_package, package_file, weights_kind
from bioimage_inference.model.safe_yaml import MAX_NODES, load_yaml

DESCRIPTION = b"""\
%YAML 1.2
---
type: model
name: a model
documentation: docs/README.md
inputs: [{id: raw}]
weights:
  keras_hdf5: {source: weights.h5}
  torchscript: {source: ./weights.pt}
  pytorch_state_dict: {source: state.pt, architecture: "unet.py:UNet"}
"""
FILES = {"weights.pt": b"torchscript", "state.pt": b"tensors", "unet.py": b"class UNet: ...", "docs/README.md": b"docs"}
TORCHSCRIPT = {"net/constants.pkl": b"c", "net/code/__torch__.py": b"", "net/data.pkl": b"d", "net/version": b"3"}
STATE_DICT = {"archive/data.pkl": b"d", "archive/data/0": b"0", "archive/version": b"3"}


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", ["model.zip", "dataset_12.dat", "package.pt"])
def test_a_zip_package_is_opened_whatever_its_name(tmp_path: Path, scratch: Path, name: str) -> None:
    source = write_zip(tmp_path / name, {"rdf.yaml": DESCRIPTION, **FILES})
    package = open_package(source, scratch)
    assert package.description is not None
    assert package.description["name"] == "a model"
    assert package.description_name == "rdf.yaml"
    assert package.bare_weights is None
    assert package.sha256 == sha256(source.read_bytes())
    assert package_file(package.root, "./weights.pt").read_bytes() == b"torchscript"
    assert scratch in package.root.parents


def test_only_files_that_the_weights_need_are_unpacked(tmp_path: Path, scratch: Path) -> None:
    extra = {"weights.h5": b"for another framework", "unrelated.bin": b"never named"}
    package = open_package(write_zip(tmp_path / "m.zip", {"rdf.yaml": DESCRIPTION, **FILES, **extra}), scratch)
    assert names(package.root) == {"rdf.yaml", *FILES}


def test_a_zip_with_its_files_one_folder_deep(tmp_path: Path, scratch: Path) -> None:
    members = {"./": b"", "unet/": b""} | {
        f"./unet/{name}": content for name, content in {"rdf.yaml": DESCRIPTION, **FILES}.items()
    }
    package = open_package(write_zip(tmp_path / "m.zip", members | {"__MACOSX/rdf.yaml": b"junk"}), scratch)
    assert package.root.name == "unet"
    assert package_file(package.root, "docs/README.md").read_bytes() == b"docs"


def test_the_same_zip_can_be_opened_twice(tmp_path: Path, scratch: Path) -> None:
    source = write_zip(tmp_path / "m.zip", {"rdf.yaml": DESCRIPTION, **FILES})
    assert open_package(source, scratch).root != open_package(source, scratch).root


@pytest.mark.parametrize("name", ["rdf.yaml", "bioimageio.yaml", "model.yaml", "nuclei.bioimageio.yaml", "v1.yml"])
def test_a_folder_is_opened_by_its_description(tmp_path: Path, scratch: Path, name: str) -> None:
    folder = write_folder(tmp_path / "model", {name: DESCRIPTION, "environment.yaml": b"name: [broken", **FILES})
    package = open_package(folder, scratch)
    assert package == Package(folder, package.description, name, None, sha256(DESCRIPTION), folder)


def test_in_a_folder_rdf_yaml_comes_first(tmp_path: Path, scratch: Path) -> None:
    other = DESCRIPTION.replace(b"a model", b"another")
    folder = write_folder(tmp_path, {"v0.yaml": other, "bioimageio.yaml": other, "rdf.yaml": DESCRIPTION})
    package = open_package(folder, scratch)
    assert package.description is not None
    assert package.description["name"] == "a model"


def test_several_descriptions_are_named_and_none_is_guessed(tmp_path: Path, scratch: Path) -> None:
    folder = write_folder(tmp_path, {"new.bioimageio.yaml": DESCRIPTION, "old.bioimageio.yaml": DESCRIPTION})
    with pytest.raises(ModelError, match=r"several model descriptions: new\.bioimageio\.yaml, old\.bioimageio\.yaml"):
        open_package(folder, scratch)
    assert open_package(folder / "old.bioimageio.yaml", scratch).description_name == "old.bioimageio.yaml"


@pytest.mark.parametrize("name", ["rdf.yaml", "dataset_7.dat", "no suffix"])
def test_a_description_file_of_any_name(tmp_path: Path, scratch: Path, name: str) -> None:
    (tmp_path / name).write_bytes(DESCRIPTION)
    package = open_package(tmp_path / name, scratch)
    assert package.root == tmp_path
    assert package.sha256 == sha256(DESCRIPTION)


def test_an_old_description_says_only_inputs(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "UNet.model.yaml").write_bytes(DESCRIPTION.replace(b"type: model\n", b"format_version: 0.3.0\n"))
    assert open_package(tmp_path / "UNet.model.yaml", scratch).description is not None


@pytest.mark.parametrize("name", ["weights.pt", "dataset_3.dat", "model.zip"])
def test_bare_torchscript_is_recognised_by_content(tmp_path: Path, scratch: Path, name: str) -> None:
    source = write_zip(tmp_path / name, TORCHSCRIPT)
    assert open_package(source, scratch) == Package(tmp_path, None, None, source, sha256(source.read_bytes()), source)


@pytest.mark.parametrize("members", [TORCHSCRIPT, STATE_DICT])
def test_bare_weights_with_their_description(tmp_path: Path, scratch: Path, members: dict[str, bytes]) -> None:
    source = write_zip(tmp_path / "weights.pt", members)
    description = write_folder(tmp_path / "elsewhere", {"rdf.dat": DESCRIPTION, **FILES}) / "rdf.dat"
    package = open_package(source, scratch, description)
    assert package.root == description.parent
    assert package.description_name == "rdf.dat"
    assert package.bare_weights == source
    assert package.sha256 == sha256(source.read_bytes())


def test_weights_are_told_apart(tmp_path: Path) -> None:
    assert weights_kind(write_zip(tmp_path / "a", TORCHSCRIPT)) == "torchscript"
    assert weights_kind(write_zip(tmp_path / "b", STATE_DICT)) == "state_dict"
    assert weights_kind(write_zip(tmp_path / "c", {"rdf.yaml": DESCRIPTION})) is None
    (tmp_path / "d").write_bytes(pickle.dumps({}, protocol=2))
    assert weights_kind(tmp_path / "d") == "state_dict"
    (tmp_path / "e").write_bytes(DESCRIPTION)
    assert weights_kind(tmp_path / "e") is None


def test_every_description_of_the_zoo_is_read(shared: Path, scratch: Path) -> None:
    files = sorted(shared.glob("*/*/*.yaml"))
    descriptions = [file for file in files if file.name != "environment.yaml"]
    assert len(descriptions) > 100
    for file in descriptions:
        assert open_package(file, scratch).description_name == file.name


def test_the_example_folder_and_its_torchscript(shared: Path, scratch: Path) -> None:
    folder = shared / "examples" / "unet2d_nuclei_broad"
    assert open_package(folder, scratch).description_name == "bioimageio.yaml"
    assert open_package(folder / "weights.pt", scratch).bare_weights == folder / "weights.pt"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "is empty"),
        (b"just some text", "is no model description"),
        (b"name: [1, 2", "is not valid YAML"),
        (b"type: dataset\ninputs: []", "describes something of the type 'dataset'"),
        (b"\n<!DOCTYPE html><html>404</html>", "is a web page"),
        (b"II*\0" + bytes(100), "is a TIFF image, not a model; the order is MODEL IMAGE"),
        (b"MM\0+" + bytes(100), "is a TIFF image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is a PNG image, not a model; the order is MODEL IMAGE"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "is a JPEG image"),
        (b"\x93NUMPY\x01\0" + bytes(100), "is a NumPy array"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "is an HDF5 file, a container for any data, not a model"),
        (b"\x1f\x8b\x08" + bytes(100), "is a gzip file"),
        (b"ustar" + bytes(100), "is of an unknown kind"),
        (pickle.dumps({"a": 1}, protocol=2), "holds the weights of a network, but not the network"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path: Path, scratch: Path, content: bytes, found: str) -> None:
    (tmp_path / "model.dat").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        open_package(tmp_path / "model.dat", scratch)
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ({}, "is empty"),
        ({"a.txt": b"text"}, "holds no model description such as rdf.yaml."),
        ({"a/b/rdf.yaml": DESCRIPTION}, "holds no model description"),
        ({"environment.yml": b"name: env"}, "(it holds environment.yml)"),
        ({"my.yaml": b"inputs: ["}, "my.yaml is not valid YAML (line "),
        ({"rdf.yaml": b"a: b: c"}, "rdf.yaml is not valid YAML (line 1, column 5: "),
        ({"a/rdf.yaml": DESCRIPTION, "b/rdf.yaml": DESCRIPTION}, "several model descriptions: a/rdf.yaml, b/rdf.yaml"),
        ({f"{n}.yaml": b"a: 1" for n in range(101)}, "holds too much YAML to search"),
        ({"rdf.yaml": bytes(range(32, 127)) * 120_000}, "rdf.yaml in model.zip takes 11 MiB"),
        ({".zattrs": b"{}", "0/.zarray": b"{}"}, "is an OME-Zarr image, not a model"),
        (STATE_DICT, "--description rdf.yaml"),
    ],
)
def test_zips_without_a_model(tmp_path: Path, scratch: Path, members: dict[str, bytes], found: str) -> None:
    with pytest.raises(ModelError) as caught:
        open_package(write_zip(tmp_path / "model.zip", members), scratch)
    assert found in str(caught.value)


def test_folders_without_a_model(tmp_path: Path, scratch: Path) -> None:
    with pytest.raises(ModelError, match="is an OME-Zarr image"):
        open_package(write_folder(tmp_path / "image.zarr", {"zarr.json": b"{}"}), scratch)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="holds no model description"):
        open_package(tmp_path / "empty", scratch)


def test_a_path_where_nothing_is(tmp_path: Path, scratch: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no file or folder .*missing"):
        open_package(tmp_path / "missing.zip", scratch)
    with pytest.raises(UsageError, match="cannot be read"):
        open_package(tmp_path / ("long" * 100), scratch)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        open_package(tmp_path / "pipe", scratch)


def test_a_description_beside_a_package_is_refused(tmp_path: Path, scratch: Path) -> None:
    folder = write_folder(tmp_path / "model", {"rdf.yaml": DESCRIPTION})
    with pytest.raises(UsageError, match="--description is for bare weights"):
        open_package(folder, scratch, folder / "rdf.yaml")
    with pytest.raises(UsageError, match="There is no file"):
        open_package(write_zip(tmp_path / "weights.pt", TORCHSCRIPT), scratch, tmp_path / "rdf.yaml")


CENTRAL = b"PK\x01\x02"


def patch(path: Path, offset: int, layout: str, *values: int) -> None:
    """Write a value into each entry of the zip's directory, at an offset of the format's table of fields."""
    content = bytearray(path.read_bytes())
    position = 0
    for value in values:
        position = content.index(CENTRAL, position) + 4
        struct.pack_into(layout, content, position - 4 + offset, value)
    path.write_bytes(content)


def with_names(*bad: str) -> Callable[[Path], None]:
    def build(path: Path) -> None:
        write_zip(path, {"rdf.yaml": DESCRIPTION, **dict.fromkeys(bad, b"x")})

    return build


def symlink(path: Path) -> None:
    link = zipfile.ZipInfo("weights.pt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rdf.yaml", DESCRIPTION)
        archive.writestr(link, "/etc/passwd")


def same_name_twice(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rdf.yaml", DESCRIPTION)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("rdf.yaml", DESCRIPTION)


def encrypted(path: Path) -> None:
    with_names()(path)
    patch(path, 8, "<H", 1)


def bzip2(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("rdf.yaml", DESCRIPTION)


def zip_bomb(path: Path) -> None:
    write_zip(path, {"rdf.yaml": DESCRIPTION, "weights.pt": bytes(64 * 2**20)})


def five_times_four_gib(path: Path) -> None:
    with_names("1", "2", "3", "4")(path)
    patch(path, 24, "<L", *[0xFFFFFFF0] * 5)


def overlapping(path: Path) -> None:
    with_names(*map(str, range(20)))(path)
    patch(path, 20, "<L", *[path.stat().st_size // 10] * 11)


def outside(path: Path) -> None:
    with_names()(path)
    patch(path, 42, "<L", 2**31)


def huge_directory(path: Path) -> None:
    with_names(*(f"{number:03}" * 21_000 for number in range(80)))(path)


def cut_off(path: Path) -> None:
    zip_bomb(path)
    path.write_bytes(path.read_bytes()[:5000])


def appended(path: Path) -> None:
    with_names()(path)
    path.write_bytes(path.read_bytes() + b"\x80\x02.")


HOSTILE = {
    "leads out of the package's folder": [
        with_names("../weights.pt"),
        with_names("/tmp/weights.pt"),
        with_names("a/../../weights.pt"),
        with_names("..\\weights.pt"),
        with_names("C:\\weights.pt"),
    ],
    "a file without a name": [with_names(".")],
    "is a link or a device": [symlink],
    "twice": [same_name_twice, with_names("./rdf.yaml")],
    "as a file and as a folder": [with_names("weights.pt", "weights.pt/a")],
    "is encrypted": [encrypted],
    "compressed in an unusual way": [bzip2],
    "10002 files": [with_names(*map(str, range(10_001)))],
    "grows more than 1000 times": [zip_bomb],
    "unpacked it takes 20.0 GiB": [five_times_four_gib],
    "overlap each other": [overlapping],
    "lies outside of the file": [outside],
    "its directory takes 5 MiB": [huge_directory],
    "something is appended to it": [appended],
    "damaged or incomplete zip file": [cut_off],
}


@pytest.mark.parametrize(("found", "build"), [(found, build) for found, builds in HOSTILE.items() for build in builds])
def test_hostile_archives_are_refused_before_anything_is_unpacked(
    tmp_path: Path, scratch: Path, found: str, build: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "model.zip"
    build(source)
    before = names(tmp_path)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("a member is unpacked"))
    with pytest.raises(ModelError) as caught:
        open_package(source, scratch)
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == before


def test_hostile_torchscript_is_refused_like_a_package(tmp_path: Path, scratch: Path) -> None:
    source = write_zip(tmp_path / "weights.pt", {**TORCHSCRIPT, "net/data/0": bytes(64 * 2**20)})
    with pytest.raises(ModelError, match="grows more than 1000 times"):
        open_package(source, scratch)


def test_a_damaged_member_is_noticed(tmp_path: Path, scratch: Path) -> None:
    source = tmp_path / "model.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("rdf.yaml", DESCRIPTION)
        archive.writestr("weights.pt", b"many weights")
    source.write_bytes(source.read_bytes().replace(b"many weights", b"many_weights"))
    with pytest.raises(ModelError, match="damaged or incomplete zip file"):
        open_package(source, scratch)


@pytest.mark.parametrize("announced", [5, 500_000])
def test_a_directory_that_lies_about_the_size_is_noticed(tmp_path: Path, scratch: Path, announced: int) -> None:
    source = write_zip(tmp_path / "model.zip", {"rdf.yaml": DESCRIPTION, "weights.pt": b"x" * 1000})
    patch(source, 24, "<L", len(DESCRIPTION), announced)
    with pytest.raises(ModelError, match="damaged or incomplete zip file"):
        open_package(source, scratch)
    assert all(path.stat().st_size <= 1000 for path in scratch.rglob("weights.pt"))


def test_no_room_to_unpack(tmp_path: Path) -> None:
    source = write_zip(tmp_path / "model.zip", {"rdf.yaml": DESCRIPTION})
    with pytest.raises(OutputError, match=r"could not be unpacked in .*missing"):
        open_package(source, tmp_path / "missing")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6), cut=st.integers(0, 99)
)
def test_mutated_archives_end_in_our_errors_only(
    tmp_path: Path, scratch: Path, edits: list[tuple[int, int]], cut: int
) -> None:
    content = bytearray(write_zip(tmp_path / "good.zip", {"rdf.yaml": DESCRIPTION, **FILES}).read_bytes())
    for place, value in edits:
        content[place % len(content)] = value
    (tmp_path / "bad.zip").write_bytes(content[: len(content) - cut // 20])
    try:
        package = open_package(tmp_path / "bad.zip", scratch)
    except (ModelError, UsageError):
        return
    assert scratch in package.root.parents


def test_yaml_of_version_1_2() -> None:
    data = load_yaml(b"{a: 1e-05, b: .inf, c: .nan, d: no, e: 2020-01-01, f: 0x1F, g: 007, h: true}", "it")
    assert data.pop("c") != data.get("c")
    assert data == {"a": 1e-05, "b": float("inf"), "d": "no", "e": "2020-01-01", "f": 31, "g": 7, "h": True}
    assert load_yaml(b"base: &base {x: 1, y: 1}\nother: {<<: *base, y: 2}", "it")["other"] == {"x": 1, "y": 2}
    assert load_yaml("a: µm".encode("utf-16"), "it") == {"a": "µm"}


def alias_bomb() -> bytes:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    return "\n".join(["a0: &a0 [x]", *levels]).encode()


def deep_by_aliases() -> bytes:
    return "\n".join(["a0: &a0 x", *(f"a{n}: &a{n} {'[' * 50}*a{n - 1}{']' * 50}" for n in range(1, 30))]).encode()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (alias_bomb(), "repeats itself"),
        (deep_by_aliases(), "nested"),
        (b"a: &a [*a]", "repeats itself"),
        (b"[" * 1_000_000, "nested"),
        (b"[" + b"1, " * 100_000 + b"]", "repeats itself"),
        (b"[" + b"*a, " * 2000 + b"]", "repeats itself"),
        (b"&a x: [" + b"*a, " * 1001 + b"]", "repeats itself"),
        (b"#" * (11 * 2**20), "takes 11 MiB"),
        (b"inputs: []\ninputs: []", "has the key 'inputs' twice in one place (line 2)"),
        (b"a: 1" + b"0" * 5000, "a number of 5001 digits"),
        (b"? [a]\n: b", "is not valid YAML"),
        (b"a: 1\n---\nb: 2", "is not valid YAML"),
        (b"a: \xff\xff", "is not valid YAML"),
        (b"a: *unknown", "repeats itself"),
    ],
)
def test_hostile_yaml_is_refused_before_it_grows(content: bytes, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    events, parse = [], yaml.parse

    def counted(*arguments: Any, **words: Any) -> Iterator[yaml.Event]:
        for event in parse(*arguments, **words):
            events.append(event)
            yield event

    monkeypatch.setattr(yaml, "parse", counted)
    with pytest.raises(ModelError) as caught:
        load_yaml(content, "rdf.yaml")
    assert len(events) <= 2 * MAX_NODES
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


def test_yaml_runs_no_code(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with pytest.raises(ModelError, match="holds the tag"):
        load_yaml(f"a: !!python/object/apply:os.mkdir ['{marker}']".encode(), "rdf.yaml")
    assert not marker.exists()


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text("[]{}&*a:-?,!<~|>\n 'x\"0.#%", max_size=80).map(str.encode)))
def test_any_bytes_are_yaml_or_a_model_error(content: bytes) -> None:
    try:
        data = load_yaml(content, "rdf.yaml")
    except ModelError:
        return
    assert data is None or isinstance(data, dict | list | str | int | float)


def test_files_of_a_package(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "model", FILES)
    assert package_file(root, "weights.pt") == root / "weights.pt"
    assert package_file(root, "./docs/README.md") == root / "docs" / "README.md"
    assert package_file(root, "docs\\README.md") == root / "docs" / "README.md"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("/etc/passwd", "no file name inside"),
        ("C:\\weights.pt", "no file name inside"),
        ("a\0b", "no file name inside"),
        ("../secret", "outside of the model's folder"),
        ("docs/../../secret", "outside of the model's folder"),
        ("link", "outside of the model's folder"),
        ("linked/secret", "outside of the model's folder"),
        ("file:///etc/passwd", "it is at file:///etc/passwd"),
        ("https://zenodo.org/records/1/files/w.pt", "it is at https://zenodo.org/records/1/files/w.pt"),
        ("10.5281/zenodo.1/w.pt", "Download the complete package"),
        ("missing.pt", "'missing.pt', which is missing"),
        ("docs", "'docs', which is missing"),
        ("", "which is missing"),
        ("x" * 5000, "cannot be read"),
    ],
)
def test_names_that_lead_elsewhere(tmp_path: Path, name: str, found: str) -> None:
    root = write_folder(tmp_path / "model", FILES)
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "linked").symlink_to(tmp_path)
    with pytest.raises(ModelError) as caught:
        package_file(root, name)
    assert found in str(caught.value)


def test_hashes_are_compared_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"weights")
    expected = sha256(b"weights")
    assert check_sha256(tmp_path / "w.pt", expected.upper(), "w.pt") == expected
    assert check_sha256(tmp_path / "w.pt", None, "w.pt") == expected
    (tmp_path / "w.pt").write_bytes(b"weightt")
    with pytest.raises(ModelError, match=rf"w\.pt .* begins with {sha256(b'weightt')[:12]}, .* {expected[:12]}"):
        check_sha256(tmp_path / "w.pt", expected, "w.pt")


def test_weights_from_a_list_of_models_open_only_files_beside_them(tmp_path: Path) -> None:
    """Everybody can write lists: a text in one must not let a network read other files of the user."""
    root, secret = tmp_path / "model", tmp_path / "secret.txt"
    root.mkdir()
    for path in (root / "weights.onnx", root / "weights.data", secret):
        path.write_bytes(b"content")
    (root / "link.data").symlink_to(secret)
    weights = {"onnx": {"source": "weights.onnx", "external_data": {"source": "weights.data"}}}
    names = [str(secret), "../secret.txt", "link.data", "a name", "nul\0byte", "n" * 300, "."]
    described = {"weights": weights, "name": names}
    package = Package(root, described, None, root / "weights.onnx", "", root / "weights.onnx")
    assert {*package.places} == {root / "weights.onnx", root / "weights.data"}
