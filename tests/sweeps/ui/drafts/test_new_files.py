"""New files: none that somebody else has made is replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sweeps.ui.drafts.new_files import place, write_new


def test_a_file_or_link_of_the_name_is_kept(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for name in ("old", "link"):
        with pytest.raises(FileExistsError):
            write_new(tmp_path / name, b"new")
    assert (tmp_path / "old").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"old", "link"}
    write_new(tmp_path / "new", b"new")
    assert {path.name for path in tmp_path.iterdir()} == {"old", "link", "new"}


def test_a_file_system_without_hard_links_keeps_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_names: object, **_options: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", no_links)
    write_new(tmp_path / "new", b"new")
    assert (tmp_path / "new").read_bytes() == b"new"
    (tmp_path / "other").write_text("other")
    with pytest.raises(FileExistsError):
        place(tmp_path / "other", tmp_path / "new")
