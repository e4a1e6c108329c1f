"""The text of a proposed spec is read as its settings, whatever texts are among them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeps.drafting.spec_text import (
    Entries,
    Part,
    Remark,
    Section,
    Setting,
    spec_text,
    spec_tree,
    yaml_value,
)
from sweeps.spec import source

PARTS: list[Part] = [
    Remark(["what it is for"]),
    Setting("name", "my-data", "a comment"),
    Section(
        "data", [Setting("train", "a b: c#.csv", "x" * 130), Setting("eval", None), Section("columns", [])]
    ),
    Entries(
        "methods",
        [[Setting("kind", "lora"), Section("train", [Setting("steps", 3)])], [Setting("kind", "full")]],
    ),
    Section("train", [Setting("steps", 20), Setting("sharding", "fsdp", "left out", active=False)]),
]


def read(parts: list[Part]) -> object:
    return source.parse(Path("spec.yaml"), spec_text(parts)).tree


def test_the_text_is_read_as_the_settings_that_count() -> None:
    tree = spec_tree([*PARTS[:2], PARTS[3], PARTS[4]])
    assert tree == {
        "name": "my-data",
        "methods": [{"kind": "lora", "train": {"steps": 3}}, {"kind": "full"}],
        "train": {"steps": 20},
    }
    assert read([*PARTS[:2], PARTS[3], PARTS[4]]) == tree


@pytest.mark.parametrize(
    "value",
    ["8", "true", "No", "null", "~", "1e-4", "a: b", "- a", "#x", "数据.jsonl", 'say "x"', "C:\\d", "a\tb", "[x", "x,y",
     " x", "", "hf:org/name@v1", "/a/b.jsonl", "x:", 1e-05, 0.1, 8, True, None, {"log": [1e-05, 0.001]},
     ["a", "b,c", None]],
)  # fmt: skip
def test_every_value_is_read_as_it_is(value: object) -> None:
    assert read([Section("data", [Setting("x", value), Setting("y", [value, {"k": value}])])]) == {
        "data": {"x": value, "y": [value, {"k": value}]}
    }
    assert json.loads(json.dumps(value)) == value
    assert "\n" not in yaml_value(value)


@pytest.mark.parametrize("comment", ["one\ntwo", "a\x85b\u2028c", "bell\x07 \x1b[31m", "# again", "x" * 500])
def test_a_comment_never_becomes_a_setting_or_breaks_the_file(comment: str) -> None:
    assert read([Setting("name", "a", comment), Remark([comment]), Setting("train", 1)]) == {
        "name": "a",
        "train": 1,
    }


def test_lines_of_words_are_not_longer_than_the_page() -> None:
    assert max(map(len, spec_text([Setting("a", 1, "word " * 60)]).splitlines())) <= 120
