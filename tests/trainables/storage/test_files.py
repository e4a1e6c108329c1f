"""Files are complete or missing, and hashes depend only on contents."""

from __future__ import annotations

import errno
import hashlib
import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from trainables.storage import files
from trainables.storage.locks import locked


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_does_not_exist_until_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "record.json"
    with files.atomic(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names(path.parent) == ["record.json"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), files.atomic(path) as temporary:
        temporary.write_text("half" * (1 // 0))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["record.json"]


@pytest.mark.parametrize("write", [files.atomic, files.atomic_folder])
def test_an_error_of_a_full_disk_names_the_file(tmp_path: Path, write: Any) -> None:
    with (
        pytest.raises(OSError, match=r"No space left on device: .*record\.json"),
        write(tmp_path / "record.json"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as `write` of a file says it
    with pytest.raises(OSError, match="'/elsewhere'"), write(tmp_path / "record.json"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/elsewhere")


def test_a_folder_replaces_the_old_one_once_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()
    with files.atomic_folder(path) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "new").write_text("new")
        assert names(path) == ["old"]
    assert names(path) == ["sub"]
    assert names(tmp_path) == ["model"]


def test_a_failed_write_of_a_folder_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(FileNotFoundError), files.atomic_folder(path) as temporary:
        (temporary / "nowhere" / "new").touch()
    assert names(path) == ["old"]
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_holds_no_nan_and_no_infinity(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        files.write_json(tmp_path / "record.json", {"quality": value})
    assert names(tmp_path) == []


def test_equal_values_have_equal_hashes_whatever_the_order_of_their_keys() -> None:
    assert files.canonical({"b": [1, 2.5], "a": "ü"}) == '{"a":"ü","b":[1,2.5]}'
    assert files.sha256({"b": 1, "a": 2}) == files.sha256({"a": 2, "b": 1})
    assert files.sha256("") == hashlib.sha256(b'""').hexdigest()


def test_a_file_is_hashed_by_its_bytes_and_a_folders_size_is_their_number(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "deeper" / "b").write_bytes(bytes(1000))
    assert files.file_sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    assert files.folder_bytes(tmp_path) == 1003


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    """A file of this user's that links in somebody else's folder lead to."""
    (tmp_path / "own").mkdir()
    path = tmp_path / "own" / "keys"
    path.write_text("mine")
    return path


def test_a_link_at_a_files_place_is_replaced_and_not_followed(tmp_path: Path, own_file: Path) -> None:
    planted = tmp_path / "record.json"
    planted.symlink_to(own_file)
    for number in range(3):  # names of earlier versions, which could be foreseen
        (tmp_path / f".record.json.{os.getpid() + number}.tmp").symlink_to(own_file)
    files.write_text(planted, "{}")
    assert own_file.read_text() == "mine"
    assert planted.read_text() == "{}"
    assert not planted.is_symlink()


def test_a_link_at_a_folders_place_is_replaced_and_not_followed(tmp_path: Path, own_file: Path) -> None:
    planted = tmp_path / "model"
    planted.symlink_to(own_file.parent)
    with files.atomic_folder(planted) as folder:
        (folder / "config.json").write_text("{}")
    assert own_file.read_text() == "mine"
    assert [path.name for path in planted.iterdir()] == ["config.json"]
    assert not planted.is_symlink()


@pytest.mark.parametrize("write", ["append", "lock"])
def test_a_link_is_not_followed_by_what_appends_or_locks(tmp_path: Path, own_file: Path, write: str) -> None:
    for name in (".lock", "sweep.log"):
        (tmp_path / name).symlink_to(own_file)
    ways: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "append": lambda: files.open_to_append(tmp_path / "sweep.log"),
        "lock": lambda: locked(tmp_path / ".lock"),
    }
    with pytest.raises(OSError, match=r"it is a symbolic link.*(sweep\.log|\.lock)"), ways[write]():
        pass
    assert own_file.read_text() == "mine"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_modes_follow_the_umask_in_both_directions(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        files.write_text(tmp_path / "record.json", "{}")
        with files.atomic_folder(tmp_path / "model") as folder:
            (folder / "private").touch(0o600)
            (folder / "parts").mkdir()
            (folder / "parts" / "public").touch()
            (folder / "parts" / "public").chmod(0o666)
        with files.open_to_append(tmp_path / "sweep.log") as log:
            log.write("a line")
        assert files.umask() == mask
    finally:
        os.umask(before)
    names = ("record.json", "sweep.log", "model/private", "model/parts/public")
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in names} == {0o666 & ~mask}
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("model", "model/parts")} == {0o777 & ~mask}
