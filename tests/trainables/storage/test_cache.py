"""Entries of the cache that were cut off, edited or planted are made again, and what they add to a command is lost."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from trainables.storage import cache
from trainables.storage.home import home
from trainables.storage.stored_values import MAX_BYTES, read_stored, valid_entries


@dataclass(frozen=True)
class Known:
    name: str
    sizes: tuple[int, ...] = ()


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))


def known(made: list[int]) -> Known:
    def make() -> Known:
        made.append(1)
        return Known("tiny", (1, 2))

    return cache.value("kinds", "0" * 64, "known.json", Known, make)


def test_a_value_is_made_once_and_read_as_it_was_made() -> None:
    made: list[int] = []
    assert known(made) == known(made) == Known("tiny", (1, 2))
    assert len(made) == 1


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[" * 100_000, "null", "[]", "{}", '{"name": 7}', '{"name": "a", "sizes": "x"}', "\udcff"],
)
def test_a_damaged_value_is_made_again(damage: str) -> None:
    made: list[int] = []
    known(made)
    (file,) = home().glob("kinds/*/known.json")
    file.write_text(damage, encoding="utf-8", errors="surrogateescape")
    assert [known(made), known(made)] == [Known("tiny", (1, 2))] * 2
    assert len(made) == 2


def test_a_value_whose_file_is_gone_or_without_end_is_made_again() -> None:
    made: list[int] = []
    known(made)
    (file,) = home().glob("kinds/*/known.json")
    file.unlink()
    assert known(made) == Known("tiny", (1, 2))
    os.truncate(file, 2**40)
    assert known(made) == Known("tiny", (1, 2))
    file.unlink()
    os.mkfifo(file)
    assert known(made) == Known("tiny", (1, 2))
    assert len(made) == 4


def test_an_entry_that_cannot_be_made_is_an_error_and_no_damage() -> None:
    def fail(folder: Path) -> None:
        raise ValueError("no rows")

    with pytest.raises(ValueError, match="no rows"):
        cache.opened("kinds", "1" * 64, fail, lambda folder: folder)


@pytest.mark.parametrize("content", ["", "{", "[1]", "[" * 100_000, '{"a": ' * 100_000, "\udcff"])
def test_a_damaged_file_of_stored_values_is_empty(tmp_path: Path, content: str) -> None:
    file = tmp_path / "stored.json"
    file.write_text(content, encoding="utf-8", errors="surrogateescape")
    assert read_stored(file) == {}


def test_what_is_no_file_of_a_usual_size_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "device.json").symlink_to("/dev/zero")
    (tmp_path / "large.json").touch()
    os.truncate(tmp_path / "large.json", MAX_BYTES + 1)
    for name in ("pipe.json", "device.json", "large.json", "missing.json"):
        assert read_stored(tmp_path / name) == {}


def test_of_stored_entries_those_count_that_are_whole() -> None:
    entries = {
        "good": {"name": "a"},
        "bad": {"name": 1},
        "none": None,
        "list": [],
        "more": {"name": "b", "new": 1},
    }
    assert valid_entries(entries, Known) == {"good": Known("a"), "more": Known("b")}
    assert valid_entries([1], Known) == valid_entries(None, Known) == {}


def test_stored_speeds_are_finite_and_not_negative() -> None:
    from sweeps.planning.times import speeds

    sizes = {"parameters": 1, "cpus": 1, "tokens": 1, "rows": 1, "test_rows": 1}
    seconds = {"train_seconds": 1.0, "test_seconds": 1.0, "other_seconds": 1}
    good = {"similarity": "s", "hardware": "h", "model": "m", "data": "d", **sizes, **seconds}
    wrong = [
        ("tokens", "x"),
        ("tokens", -1),
        ("parameters", 0),
        ("train_seconds", math.nan),
        ("cpus", math.inf),
    ]
    entries = {"good": good, **{f"{name}{value}": {**good, name: value} for name, value in wrong}}
    speeds.cache_file().parent.mkdir()
    starts = [1, "x", math.nan, -5, 10**30, None, 3]
    speeds.cache_file().write_text(json.dumps({"trials": entries, "start_seconds": starts}))
    assert list(speeds.stored_speeds()) == ["good"]
    assert speeds.start_seconds() == 2
    speeds.store({}, [5])
    assert json.loads(speeds.cache_file().read_text())["start_seconds"] == [1, 3, 5]


def test_stored_peaks_are_positive_numbers() -> None:
    from sweeps.planning.memory import residuals

    good = {"similarity": "s", "model": "m", "predicted": 5, "measured": 6, "code_version": "c"}
    wrong = [{"predicted": 0}, {"measured": "x"}, {"measured": math.nan}, {"code_version": 1}]
    residuals.cache_file().parent.mkdir()
    stored = {"good": good, "none": None, **{str(each): {**good, **each} for each in wrong}}
    residuals.cache_file().write_text(json.dumps(stored))
    assert list(residuals.stored_residuals()) == ["good"]
