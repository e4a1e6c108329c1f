"""Paths in --set are relative to the working folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.spec import overrides, source
from sweeps.spec.paths_from_here import from_here

HERE = Path("/home/ada")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, which has the file rows.jsonl and the folder specs with the spec tiny.yaml."""
    (tmp_path / "specs").mkdir()
    (tmp_path / "rows.jsonl").touch()
    (tmp_path / "specs" / "tiny.yaml").write_text("data: {train: commands}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def applied(*sets: str) -> source.Source:
    return overrides.apply(source.read(Path("specs/tiny.yaml")), sets)


def test_a_path_is_relative_to_where_one_stands_and_not_to_the_spec(here: Path) -> None:
    found = applied("data.train=rows.jsonl")
    assert found.tree["data"]["train"] == str(here / "rows.jsonl")
    # The command that resumes the run may be typed in another folder.
    assert found.overrides == (f"data.train={here / 'rows.jsonl'}",)


def test_a_file_that_is_not_there_is_looked_for_where_one_stands(here: Path) -> None:
    (here / "specs" / "other.jsonl").touch()
    assert applied("data.train=other.jsonl").tree["data"]["train"] == str(here / "other.jsonl")


def test_beside_the_spec_a_path_stays_as_it_was_given(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here / "specs")
    found = overrides.apply(source.read(Path("tiny.yaml")), ["data.train=rows.jsonl"])
    assert (found.tree["data"]["train"], found.overrides) == ("rows.jsonl", ("data.train=rows.jsonl",))


def test_paths_in_lists_mappings_and_comparisons_are_found(here: Path) -> None:
    found = applied("data={train: [rows.jsonl, commands], eval: {compare: [held.csv, hf:a/b]}}")
    absolute = {
        "train": [str(here / "rows.jsonl"), "commands"],
        "eval": {"compare": [str(here / "held.csv"), "hf:a/b"]},
    }
    assert found.tree["data"] == absolute
    assert applied(*found.overrides).tree["data"] == absolute


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("model", "path"), "model", "/home/ada/model"),
        (("search", "from"), "myrun", "/home/ada/myrun"),
        (("stages", 0, "model", "path"), "model", "/home/ada/model"),
        (("model", "path"), "~/model", "~/model"),
        (("model", "path"), "/models/a", "/models/a"),
        (("model", "name"), "smollm2-135m", "smollm2-135m"),
        (("data", "folder"), "data", "/home/ada/data"),
        (("data", "train"), "data/*.jsonl", "/home/ada/data/*.jsonl"),
        (("data", "train"), "alpaca_en", "alpaca_en"),
        (("data", "train"), "hf:tatsu-lab/alpaca", "hf:tatsu-lab/alpaca"),
        (("data", "template"), "own.jinja", "/home/ada/own.jinja"),
        (("data", "template"), "chatml", "chatml"),
        (("data", "columns", "prompt"), "rows.jsonl", "rows.jsonl"),
        (("stages", 1, "model", "from"), "runs/a:sft-lora", "/home/ada/runs/a:sft-lora"),
        (("stages", 1, "model", "from"), "sft", "sft"),
        (("stages", 1, "model", "from"), "s3://bucket/runs/a", "s3://bucket/runs/a"),
        (("stages", 0, "reward"), "runs/a:reward-full", "/home/ada/runs/a:reward-full"),
        (("stages", 0, "reward"), "commands", "commands"),
        (("train", "steps"), 8, 8),
    ],
)
def test_what_is_a_path_depends_on_the_setting(
    path: tuple[str | int, ...], value: object, expected: object
) -> None:
    assert from_here(value, path, HERE) == expected
