"""Folders that other users may write to: nothing planted there is followed, written through or removed.

What is planted are links, folders, pipes, and names as other runs give them.
"""

import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from bioimage_inference.batch.output_files import output_folder
from bioimage_inference.cli import main
from bioimage_inference.errors import OutputError
from bioimage_inference.files import partial_file, temporary_names
from bioimage_inference.files.file_names import MOST_NAME_BYTES
from bioimage_inference.files.partial_file import PartialFile, partial_path, write_whole
from bioimage_inference.files.scratch import scratch_array, scratch_folder
from bioimage_inference.files.temporary_names import MARK_BYTES, marked, new_mark
from bioimage_inference.image.writers.base import Layout
from bioimage_inference.image.writers.npy_writer import NpyWriter
from bioimage_inference.image.writers.tiff_writer import TiffWriter
from bioimage_inference.image.writers.zarr_metadata import set_windows
from bioimage_inference.image.writers.zarr_writer import PartialZarr, create_store
from bioimage_inference.provenance.ro_crate import CRATE, check_installed
from tests.machine import HANG_SECONDS

Plant = Callable[[Path, Path], None]
Output = pytest.CaptureFixture[str]
LAYOUT = Layout("yx", (4, 4), np.dtype("float32"))
SECRET = "the work of a month"
STRANGER = 4711
OTHER_HOST = "0" * 16


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A file of the user that must stay as it is."""
    (tmp_path / "private").mkdir()
    path = tmp_path / "private" / "thesis"
    path.write_text(SECRET)
    yield path
    assert path.read_text() == SECRET
    assert [one.name for one in path.parent.iterdir()] == ["thesis"]


@pytest.fixture
def here(tmp_path: Path, test_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a model, an image and a sheet that names it."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    shutil.copy(test_data / "demo-model.zip", "MODEL.zip")
    tifffile.imwrite("a.tif", tifffile.imread(test_data / "nuclei.tif")[:64, :64])
    Path("sheet.csv").write_text("image\na.tif\n", encoding="utf-8")
    return folder


def symbolic(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def hard(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


def dangling(path: Path, victim: Path) -> None:
    path.symlink_to(victim.with_name("not there"))


def chain(path: Path, victim: Path) -> None:
    path.with_name(f"{path.name}.link").symlink_to(victim)
    path.symlink_to(path.with_name(f"{path.name}.link"))


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def only_root() -> None:
    if os.geteuid():
        pytest.skip("only root can make files of another user")


# Outputs.

COMMANDS = (
    "predict MODEL.zip sheet.csv -o out --report --segment --ro-crate out/crate",
    "predict MODEL.zip a.tif -o out --report --ro-crate out",
    "predict MODEL.zip a.tif --tiff out/o.tif --npy out/o.npy",
    "demo -o out",
    "inspect MODEL.zip --html out/card.html",
    "segment maps.npy -o out",
    "rerun first/a_provenance.json -o out",
)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("plant", [symbolic, hard, dangling, chain])
def test_no_output_is_written_through_a_link(here: Path, victim: Path, command: str, plant: Plant) -> None:
    """Every file that the command writes is a link before; names are no secret, because all runs use the same."""
    if "--ro-crate" in command:
        check_installed()
    np.save("maps.npy", np.zeros((2, 64, 64), "float32"))
    if command.startswith("rerun"):
        assert main(["predict", "MODEL.zip", "a.tif", "-o", "first"]) == 0
    out = Path("out")
    out.mkdir()
    assert main(command.split()) == 0
    written = files(out)
    shutil.rmtree(out)
    for name in sorted(written):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        plant(out / name, victim)
    assert main([*command.split(), "--overwrite"]) == 0
    crates = ("crate/", "images/", "model/", "outputs/", "records/")
    for name in written:
        if not name.startswith(crates) or name.endswith(CRATE):
            assert not (out / name).is_symlink()
            assert not (out / name).samefile(victim)
    for metadata in out.rglob(CRATE):  # a crate gives its files other names instead
        entities = json.loads(metadata.read_text(encoding="utf-8"))["@graph"]
        parts = [metadata.parent / one["@id"] for one in entities if one["@type"] == "File"]
        assert len(parts) >= 4
        for part in parts:
            assert part.is_file()
            assert not part.is_symlink()
            assert not part.samefile(victim)


def test_pictures_of_differences_are_not_written_through_links(here: Path, victim: Path) -> None:
    shutil.unpack_archive("MODEL.zip", "model")
    (description,) = Path("model").rglob("rdf.yaml")
    content = yaml.safe_load(description.read_text(encoding="utf-8"))
    for tensor in content["outputs"]:
        tested = description.parent / tensor["test_tensor"]["source"]
        np.save(tested, np.load(tested) + 1)
        tensor["test_tensor"].pop("sha256", None)
    description.write_text(yaml.safe_dump(content), encoding="utf-8")
    command = ["validate", str(description), "-o", "out"]
    assert main(command) == 7
    pictures = list(Path("out").iterdir())
    assert pictures
    for picture in pictures:
        picture.unlink()
        symbolic(picture, victim)
    assert main([*command, "--overwrite"]) == 7
    assert not any(picture.is_symlink() for picture in pictures)


def test_a_folder_of_the_output_that_a_stranger_linked_is_refused(here: Path, victim: Path, capsys: Output) -> None:
    only_root()
    Path("out").mkdir()
    os.chown("out", STRANGER + 1, -1)
    for name, command in [
        ("out/a_report", "predict MODEL.zip a.tif -o out --report"),
        ("out/results", "predict MODEL.zip a.tif -o out/results"),
        ("out/results", "demo -o out/results"),
        ("out/images", "predict MODEL.zip a.tif -o first --ro-crate out"),
    ]:
        Path(name).symlink_to(victim.parent)
        os.lchown(name, STRANGER, -1)
        capsys.readouterr()
        assert main([*command.split(), "--overwrite"]) == 8
        assert "a link that another user made" in capsys.readouterr().err
        Path(name).unlink()


@pytest.mark.parametrize("owner", ["the user", "the owner of the folder"])
def test_a_folder_that_the_user_may_have_linked_is_followed(tmp_path: Path, owner: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "around").mkdir()
    link = tmp_path / "around" / "link"
    link.symlink_to(tmp_path / "real")
    if owner == "the owner of the folder":
        only_root()
        os.lchown(link, STRANGER, -1)
        os.chown(link.parent, STRANGER, -1)
    with output_folder(link):
        write_whole(link / "o", b"1")
    assert (tmp_path / "real" / "o").read_bytes() == b"1"


def test_a_store_replaces_a_link_to_another_one(tmp_path: Path) -> None:
    for name in ("of others.zarr", "own.zarr"):
        store = PartialZarr(tmp_path / name)
        create_store(store.folder, LAYOUT, {"y": 4, "x": 4})
        store.commit()
        if name == "of others.zarr":
            before = {file: (tmp_path / name / file).read_bytes() for file in files(tmp_path / name)}
            (tmp_path / "own.zarr").symlink_to(tmp_path / name)
    assert not (tmp_path / "own.zarr").is_symlink()
    assert {file: (tmp_path / "of others.zarr" / file).read_bytes() for file in before} == before
    assert {path.name for path in tmp_path.iterdir()} == {"of others.zarr", "own.zarr"}
    assert files(tmp_path / "own.zarr") == set(before)


def test_the_metadata_of_a_store_are_not_written_through_a_link(tmp_path: Path, victim: Path) -> None:
    create_store(tmp_path / "a", Layout("cyx", (2, 4, 4), np.dtype("uint8")), {"y": 4, "x": 4})
    content = (tmp_path / "a" / "zarr.json").read_text()
    (tmp_path / "a" / "zarr.json").unlink()
    (tmp_path / "copy").write_text(content)
    (tmp_path / "a" / "zarr.json").symlink_to(tmp_path / "copy")
    set_windows(tmp_path / "a", "0.5", [(0, 3)])
    assert (tmp_path / "copy").read_text() == content
    assert "window" in (tmp_path / "a" / "zarr.json").read_text()


@pytest.mark.parametrize("target", ["/dev/null", "/dev/full", "pipe"])
def test_devices_stay_what_they_are(here: Path, target: str, capsys: Output) -> None:
    os.mkfifo("pipe")
    Path("link.tif").symlink_to(Path(target).absolute())
    for name in (target, "link.tif"):
        assert main(["predict", "MODEL.zip", "a.tif", "--tiff", name, "--overwrite"]) == 2
        assert "is a device or a pipe, not a file" in capsys.readouterr().err
    assert not Path(target).is_file()
    assert Path("link.tif").is_symlink()


def test_the_link_of_standard_output_stays(here: Path) -> None:
    before = os.readlink("/dev/stdout")  # noqa: PTH115
    command = [sys.executable, "-m", "bioimage_inference", "predict", "MODEL.zip", "a.tif", "--tiff", "/dev/stdout"]
    done = subprocess.run([*command, "--overwrite"], capture_output=True, check=False, timeout=HANG_SECONDS)
    assert done.returncode == 2, "it is a pipe"
    with Path("log").open("wb") as log:
        done = subprocess.run([*command, "--overwrite"], stdout=log, stderr=log, check=False, timeout=HANG_SECONDS)
    assert done.returncode in (2, 8), "the program has moved it"
    assert os.readlink("/dev/stdout") == before  # noqa: PTH115


@pytest.mark.parametrize("name", ["summary.csv", "a_provenance.json", "ro-crate-metadata.json", "a_report/tiles.png"])
@pytest.mark.parametrize("options", ["", "--resume"])
def test_pipes_in_the_output_folder_are_not_waited_for(here: Path, name: str, options: str, capsys: Output) -> None:
    planted = Path("out", name)
    planted.parent.mkdir(parents=True)
    os.mkfifo(planted)
    command = f"predict MODEL.zip sheet.csv -o out --report --ro-crate out --overwrite {options}"
    assert main(command.split()) in (0, 2)
    assert planted.is_fifo() or planted.is_file()
    np.save("out/a_prediction.npy", np.zeros((2, 64, 64), "float32"))
    assert main(["segment", "out/a_prediction.npy", "--axes", "cyx", "--labels", "labels.tif"]) == 0


# Names that nobody can predict, made anew, with the rights that the umask leaves.


def test_no_name_is_used_twice_or_follows_from_another(tmp_path: Path) -> None:
    marks = {new_mark() for _ in range(100)}
    assert len({mark.rpartition("-")[2] for mark in marks}) == 100
    assert all(len(mark) <= MARK_BYTES for mark in marks)
    with scratch_folder(tmp_path / "o") as one, scratch_folder(tmp_path / "o") as other:
        assert one.name != other.name


@pytest.mark.parametrize("plant", [symbolic, hard, dangling])
def test_a_link_under_a_temporary_name_is_never_opened(
    tmp_path: Path, victim: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if somebody had guessed the name."""
    mark = new_mark()
    for module in ("files.partial_file", "files.scratch"):
        monkeypatch.setattr(f"bioimage_inference.{module}.new_mark", lambda: mark)
    monkeypatch.setattr(temporary_names, "_is_left_behind", lambda *_: False)
    plant(partial_path(tmp_path / "o"), victim)
    with pytest.raises(OutputError):
        PartialFile(tmp_path / "o")
    with pytest.raises(OutputError):
        PartialZarr(tmp_path / "o")
    plant(tmp_path / f".bioimage-inference-{mark}", victim)
    with pytest.raises(OutputError), scratch_folder(tmp_path / "o"):
        pass
    assert partial_path(tmp_path / "o").lstat()


def test_an_array_in_a_temporary_folder_replaces_what_was_planted(tmp_path: Path, victim: Path) -> None:
    symbolic(tmp_path / "a.npy", victim)
    array = scratch_array(tmp_path / "a.npy", np.dtype("float32"), (3, 5))
    array[...] = 7
    assert not (tmp_path / "a.npy").is_symlink()
    assert (np.load(tmp_path / "a.npy") == 7).all()


def test_a_link_in_place_of_an_unfinished_file_is_not_written_through(tmp_path: Path, victim: Path) -> None:
    """In a folder without the sticky bit, anybody can exchange the files of others at any moment."""
    writer = TiffWriter(tmp_path / "o.tif", LAYOUT, "labelled")
    (partial,) = tmp_path.glob(".o.tif.*")
    partial.unlink()
    partial.symlink_to(victim)
    writer.write((slice(0, 4), slice(0, 4)), np.ones((4, 4), "float32"))
    writer.annotate({"model": "x"})
    writer.flush()
    with pytest.raises(OutputError, match="another program replaced the unfinished file"):
        writer.commit()
    writer.abort()
    assert not os.path.lexists(tmp_path / "o.tif")
    assert not os.path.lexists(partial)


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002, 0o077, 0o000])
def test_rights_follow_the_umask_and_temporary_folders_are_private(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "o", b"1")
        partial = PartialFile(tmp_path / "unfinished")
        store = PartialZarr(tmp_path / "o.zarr")
        with scratch_folder(tmp_path / "o") as scratch:
            assert mode(scratch) == 0o700
        assert mode(tmp_path / "o") == 0o666 & ~umask
        assert mode(next(tmp_path.glob(".unfinished.*"))) == 0o666 & ~umask
        assert mode(store.folder) == 0o777 & ~umask
        partial.abort()
        store.abort()
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_temporary_place_that_anybody_may_change(
    here: Path, victim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """World-writable without the sticky bit, full of links under the names that other programs would use."""
    place = tmp_path / "tmp"
    place.mkdir()
    place.chmod(0o777)
    for name in ("bioimage-inference-", f"bioimage-inference-{os.getpid()}", "bioimage-inference-link"):
        (place / name).symlink_to(victim.parent)
    planted = sorted(place.iterdir())
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    assert main(["predict", "MODEL.zip", "a.tif", "-o", "out"]) == 0
    assert sorted(place.iterdir()) == planted


def test_a_folder_in_place_of_a_temporary_one_is_not_removed(tmp_path: Path, victim: Path) -> None:
    with scratch_folder(tmp_path / "o") as folder:
        folder.rename(tmp_path / "stolen")
        victim.parent.rename(folder)
    assert (folder / victim.name).exists()
    folder.rename(victim.parent)
    with scratch_folder(tmp_path / "o") as folder:
        folder.rename(tmp_path / "stolen, too")
        folder.symlink_to(victim.parent)
    assert folder.is_symlink()


# What killed runs left behind, and what only looks like it.


def mark(host: str | None = None, process: int = 2**22 + 1, start: int = 1) -> str:
    """The mark of a run; Linux gives no process the number that is the default."""
    return f"{host or temporary_names._host()}-{process}-{start:x}-{'7' * 16}"


def own_start() -> int:
    return int(new_mark().split("-")[2], 16)


def left_behind(folder: Path, one: str) -> Path:
    """A temporary folder, with its proof and a file, as a run with that mark makes it."""
    path = folder / f".bioimage-inference-{one}"
    temporary_names.make_folder(path, 0o700)
    (path / "file").write_text("temporary")
    return path


def clean(folder: Path) -> None:
    """What a run does where it begins to write ``o``."""
    with scratch_folder(folder / "o"):
        PartialFile(folder / "o").abort()
        PartialZarr(folder / "o").abort()


@pytest.mark.parametrize(
    ("one", "stays"),
    [
        (lambda: mark(), False),
        (lambda: mark(process=os.getpid(), start=own_start()), True),
        (lambda: mark(process=os.getpid(), start=own_start() + 1), False),
        (lambda: mark(process=os.getpid(), start=0), True),
        (lambda: mark(process=1), os.geteuid() != 0 or None),
        (lambda: mark(process=9_999_999_999), False),
        (lambda: mark(OTHER_HOST), True),
        (lambda: mark(OTHER_HOST, os.getpid(), own_start()), True),
    ],
    ids=[
        "dead",
        "living",
        "number of a dead one",
        "start unknown",
        "first process",
        "no number",
        "host",
        "same number",
    ],
)
def test_only_what_dead_runs_of_this_host_left_is_removed(
    tmp_path: Path, one: Callable[[], str], stays: bool | None
) -> None:
    file, folder = tmp_path / f".o.{one()}.partial", left_behind(tmp_path, one())
    file.write_text("partial")
    clean(tmp_path)
    if stays is not None:
        assert (file.exists(), folder.exists()) == (stays, stays)


def test_what_another_host_left_is_removed_when_nothing_changed_for_a_week(tmp_path: Path) -> None:
    file, folder = tmp_path / f".o.{mark(OTHER_HOST)}.partial", left_behind(tmp_path, mark(OTHER_HOST))
    file.write_text("partial")

    def age(days: float, *paths: Path) -> None:
        for path in paths:
            os.utime(path, (time.time() - days * 86400,) * 2)

    age(6.9, file, folder, *folder.iterdir())
    clean(tmp_path)
    assert file.exists()
    age(30, folder)
    clean(tmp_path)
    assert folder.exists(), "a file in it is younger"
    age(7.1, file, folder, *folder.iterdir())
    clean(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_hosts_and_namespaces_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    found, read, link = {temporary_names._host()}, Path.read_text, Path.readlink
    described = os.uname()
    for name in ("another", "../../etc/passwd", "a\nb", "x" * 300, "caf\udce9"):
        with monkeypatch.context() as context:
            context.setattr(os, "uname", lambda name=name: os.uname_result((described[0], name, *described[2:])))
            found.add(temporary_names._host.__wrapped__())
    for part in ("boot_id", "ns/pid", "ns/time"):
        with monkeypatch.context() as context:
            context.setattr(Path, "read_text", lambda path, part=part, **more: other(path, part) or read(path, **more))
            context.setattr(Path, "readlink", lambda path, part=part: other(path, part) or link(path))
            found.add(temporary_names._host.__wrapped__())
    assert len(found) == 9
    assert all(re.fullmatch("[0-9a-f]{16}", one) for one in found)


def other(path: Path, part: str) -> str | None:
    return "another" if str(path).endswith(part) else None


def test_what_another_user_left_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, folder = tmp_path / f".o.{mark()}.partial", left_behind(tmp_path, mark())
    file.write_text("partial")
    with monkeypatch.context() as context:
        context.setattr(os, "geteuid", lambda: STRANGER)
        temporary_names.remove_left_behind(tmp_path, marked(".o.", ".partial"))
        temporary_names.remove_left_behind(tmp_path, marked(".bioimage-inference-"))
    assert file.exists()
    assert folder.exists()


def test_a_folder_of_many_outputs_is_not_listed_for_each_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1000):
        (tmp_path / f"output {number}").touch()
    listed, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    file = tmp_path / f".o.{mark()}.partial"
    for _ in range(100):
        file.touch()
        temporary_names.remove_left_behind(tmp_path, marked(".o.", ".partial"))
    assert 1 < len(listed) < 12
    assert not file.exists()


@pytest.mark.parametrize("name", [".o.{}.partial", ".o.{}.old", ".bioimage-inference-{}"])
def test_what_only_has_the_name_of_something_left_behind_stays(tmp_path: Path, victim: Path, name: str) -> None:
    planted = tmp_path / name.format(mark())
    planted.symlink_to(victim.parent)
    clean(tmp_path)
    assert planted.is_symlink()
    planted.unlink()
    victim.parent.rename(planted)  # in a folder without the sticky bit, anybody may give a folder another name
    clean(tmp_path)
    assert (planted / victim.name).exists()
    planted.rename(victim.parent)
    os.mkfifo(planted)
    clean(tmp_path)
    assert planted.is_fifo()
    planted.unlink()
    living = left_behind(tmp_path, mark(process=os.getpid(), start=own_start()))
    living.rename(planted)
    clean(tmp_path)
    assert (planted / "file").exists(), "the folder of a living run, under the name of a dead one"


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("living", [False, True])
def test_a_folder_that_a_dead_run_was_replacing_gets_its_name_back_or_is_removed(
    tmp_path: Path, living: bool, taken: bool
) -> None:
    one = mark(process=os.getpid(), start=own_start()) if living else mark()
    old = left_behind(tmp_path, one).rename(tmp_path / f".o.{one}.old")
    if taken:
        create_store(tmp_path / "o", LAYOUT, {"y": 4, "x": 4})
        before = files(tmp_path / "o")
    PartialZarr(tmp_path / "o").abort()
    assert old.exists() == living
    assert (tmp_path / "o").exists() == (taken or not living)
    if taken:
        assert files(tmp_path / "o") == before
    elif not living:
        assert {path.name for path in (tmp_path / "o").iterdir()} == {"file"}, "without the proof"


def test_a_removal_that_was_killed_is_completed_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever went first."""
    unlink = os.unlink
    for killed_after in range(4):
        folder = left_behind(tmp_path, mark())
        (folder / "below").mkdir()
        (folder / "below" / "file").touch()
        calls = [0]

        def counted(*given: object, calls: list[int] = calls, last: int = killed_after, **more: object) -> None:
            calls[0] += 1
            if calls[0] > last:
                raise KeyboardInterrupt
            unlink(*given, **more)  # type: ignore[arg-type]

        with monkeypatch.context() as context, contextlib.suppress(KeyboardInterrupt):
            context.setattr(os, "unlink", counted)
            temporary_names.remove_folder(folder)
        clean(tmp_path)
        assert not folder.exists()


def test_links_in_what_was_left_behind_lead_nowhere(tmp_path: Path, victim: Path) -> None:
    folder = left_behind(tmp_path, mark())
    (folder / "link").symlink_to(victim.parent)
    (folder / "file").unlink()
    (folder / "file").hardlink_to(victim)
    (tmp_path / f".o.{mark()}.partial").hardlink_to(victim)
    clean(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["private"]


@pytest.mark.parametrize(
    "name",
    [
        ".o.{}.partial/../private",
        ".o.1.partial",
        ".o.{}x.partial",
        ".o.{}.partial.tif",
        "o.{}.partial",
        ".other.{}.partial",
        ".o.0000-1-1-1.partial",
    ],
)
def test_names_of_other_forms_are_not_touched(tmp_path: Path, victim: Path, name: str) -> None:
    path = tmp_path / name.format(mark()).replace("/", "_")
    path.write_text("x")
    clean(tmp_path)
    assert path.exists()


@pytest.mark.parametrize("length", [MOST_NAME_BYTES - MARK_BYTES - 10, MOST_NAME_BYTES - MARK_BYTES - 9, 255])
def test_the_longest_names_have_room_for_the_mark(tmp_path: Path, length: int) -> None:
    final = tmp_path / ("ö" * (length // 2) + "o" * (length % 2))
    left = partial_path(final).with_name(partial_path(final).name.replace(new_mark()[:30], mark()[:30]))
    assert len(os.fsencode(left.name)) <= MOST_NAME_BYTES
    write_whole(final, b"1")
    writer = NpyWriter(final, LAYOUT)
    writer.commit()
    assert list(tmp_path.iterdir()) == [final]


def test_an_interruption_removes_unfinished_stores_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial_file, "_process", partial_file._ProcessOutputs())
    store = PartialZarr(tmp_path / "o.zarr")
    create_store(store.folder, LAYOUT, {"y": 4, "x": 4})
    partial_file.remove_unfinished()
    assert list(tmp_path.iterdir()) == []
