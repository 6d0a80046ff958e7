"""Calls of the system that Windows lacks or restricts, and names that it does not take."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from bioimage_inference.files import file_names, system_calls, temporary_names
from bioimage_inference.files.system_calls import SAFE_FLAGS, give_name, long_path, read_at, write_at
from bioimage_inference.text import for_file_name, is_windows_name


@pytest.mark.parametrize("positional", [True, False])
def test_threads_write_and_read_at_their_places(
    positional: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not positional:
        monkeypatch.delattr(os, "pwrite")
        monkeypatch.delattr(os, "preadv")
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT | os.O_EXCL | SAFE_FLAGS, 0o666)
    try:
        parts = [bytes([number]) * 1000 for number in range(100)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: write_at(descriptor, memoryview(parts[number]), 1000 * number), range(100)))
        found = bytearray(1000)
        assert read_at(descriptor, memoryview(found), 41_000) == 1000
        assert bytes(found) == parts[41]
        assert read_at(descriptor, memoryview(found), 99_500) == 500
        assert read_at(descriptor, memoryview(found), 100_000) == 0
    finally:
        os.close(descriptor)
    assert (tmp_path / "file").read_bytes() == b"".join(parts)


def refuse(monkeypatch: pytest.MonkeyPatch, times: int) -> list[Path]:
    """Let the first renamings fail, as where another program has the file open. Returns what was tried."""
    tried: list[Path] = []
    rename = Path.replace

    def replace(source: Path, target: Path) -> Path:
        tried.append(source)
        if len(tried) <= times:
            raise PermissionError(13, "Access is denied")
        return rename(source, target)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(system_calls, "_SECONDS_BETWEEN", 0)
    return tried


@pytest.mark.parametrize(("stay", "times", "attempts"), [(True, 2, 3), (True, 99, 20), (False, 1, 1)])
def test_windows_waits_for_programs_that_have_the_file_open(
    stay: bool, times: int, attempts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_calls, "OPEN_FILES_STAY", stay)
    (tmp_path / "a").write_text("a")
    tried = refuse(monkeypatch, times)
    if times < attempts:
        give_name(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "b").read_text() == "a"
    else:
        with pytest.raises(PermissionError):
            give_name(tmp_path / "a", tmp_path / "b")
    assert len(tried) == attempts


def test_without_folder_descriptors_the_same_folders_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_DIRECTORY")
    own = tmp_path / f"run-{temporary_names.new_mark()}"
    temporary_names.make_folder(own, 0o700)
    (own / "inner").mkdir()
    (own / "inner" / "file").write_text("data")
    (own / "link").symlink_to(tmp_path)
    (tmp_path / "kept").write_text("kept")
    temporary_names.remove_folder(own)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept"]
    strange = tmp_path / f"run-{temporary_names.new_mark()}"
    strange.mkdir()
    (strange / "file").write_text("of somebody else")
    temporary_names.remove_folder(strange)  # without a proof
    link = tmp_path / f"run-{temporary_names.new_mark()}"
    link.symlink_to(strange)
    temporary_names.remove_folder(link)
    temporary_names.remove_folder(tmp_path / f"run-{temporary_names.new_mark()}")  # does not exist
    assert (strange / "file").exists()
    assert link.is_symlink()


def test_long_paths_of_windows_get_their_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = "C:\\" + "folder\\" * 30 + "cells.tif"
    assert str(long_path(Path(deep))) == deep
    monkeypatch.setattr(system_calls, "os", SimpleNamespace(name="nt"))
    assert str(long_path(Path(deep))) == rf"\\?\{deep}"
    assert str(long_path(Path(rf"\\?\{deep}"))) == rf"\\?\{deep}"
    assert str(long_path(Path(rf"\\server\share\{deep[3:]}"))) == rf"\\?\UNC\server\share\{deep[3:]}"
    assert str(long_path(Path(r"C:\cells.tif"))) == r"C:\cells.tif"


@pytest.mark.parametrize(
    ("text", "name"),
    [("con", "_con"), ("AUX.v2", "_AUX.v2"), ("lpt1", "_lpt1"), ("mask.", "mask_"), ("a:b", "a_b"), ("com10", "com10"),
     ("console", "console"), ("", "")],
)  # fmt: skip
def test_names_that_we_give_are_names_on_windows(text: str, name: str) -> None:
    assert for_file_name(text) == name
    assert is_windows_name(name or "x")


@pytest.mark.parametrize(
    "name", ["cells.tif:1", "nul", "NUL.tif", "com1.ome.tif", "a?", "a.", "a ", "a\tb", "", "a\\b"]
)
def test_windows_takes_no_such_names(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_windows_name(name)
    assert file_names.is_file_name(name) == (name != "")
    monkeypatch.setattr(file_names, "os", SimpleNamespace(name="nt"))
    assert not file_names.is_file_name(name)
    assert file_names.is_file_name("cells_prediction.ome.tif")


def test_case_distinguishes_names_on_linux_only(monkeypatch: pytest.MonkeyPatch) -> None:
    names = (Path("Zelle-\u00e4"), Path("zelle-a\u0308"))
    assert len(set(map(file_names.name_key, names))) == 2
    monkeypatch.setattr(file_names, "sys", SimpleNamespace(platform="darwin"))
    assert len(set(map(file_names.name_key, names))) == 1
