"""The end of a file in a folder of somebody else."""

from __future__ import annotations

import os
from pathlib import Path

from trainables.storage.regular_files import tail


def test_the_end_of_a_file_begins_with_a_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("token=abc\nsecond\nthird\n")
    assert tail(path, 1000) == "token=abc\nsecond\nthird\n"
    assert tail(path, 16) == "second\nthird\n"
    assert tail(tmp_path / "missing", 16) == ""


def test_links_and_pipes_have_no_end_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    assert [tail(tmp_path / name, 100) for name in ("link", "pipe", ".")] == ["", "", ""]
