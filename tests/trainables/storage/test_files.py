"""Files are complete or missing, and hashes depend only on contents."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest

from trainables.storage import files


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
