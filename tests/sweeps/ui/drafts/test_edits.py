"""A form's change to a spec's text changes the value and nothing else."""

from __future__ import annotations

import difflib

import pytest

from sweeps.spec.spec import SHIPPED, shipped_specs
from sweeps.ui.drafts import edits
from sweeps.ui.drafts.edits import NotEditable, plain_tree

SPEC = """\
# What I want to know.
name: mine   # short
model: smollm2-135m
data: {train: "commands", cutoff: 0x80}  # hexadecimal

stages:
  - {kind: sft}   # first
  - kind: dpo
    beta: 0.10
methods:
- kind: lora
  # the rank is searched
  rank: {choice: [4, 8]}

- {kind: full}
train:
  steps: 40

  # rows of one pass
  batch_size: 8
search:
"""


def changed_lines(before: str, after: str) -> list[str]:
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in lines if line[0] in "+-"]


@pytest.mark.parametrize(
    ("path", "value", "lines"),
    [
        (("name",), "other", ["- name: mine   # short", "+ name: other   # short"]),
        (("data", "cutoff"), 256, ['- data: {train: "commands", cutoff: 0x80}  # hexadecimal',
                                   '+ data: {train: "commands", cutoff: 256}  # hexadecimal']),
        (("stages", 1, "beta"), 0.2, ["-     beta: 0.10", "+     beta: 0.2"]),
        (("stages", 0, "eval_batch"), 4, ["-   - {kind: sft}   # first", "+   - {kind: sft, eval_batch: 4}   # first"]),
        (("methods", 0, "alpha"), 16, ["+   alpha: 16"]),
        (("methods", 0, "rank"), {"choice": [4, 16]}, ["-   rank: {choice: [4, 8]}", "+   rank: {choice: [4, 16]}"]),
        (("train", "seed"), 1, ["+   seed: 1"]),
        (("search", "trials"), 4, ["- search:", "+ search: {trials: 4}"]),
        (("tracking", "wandb"), "off", ["+ tracking: {wandb: off}"]),
        (("question",), "Which?", ["+ question: Which?"]),
        (("model", "dtype"), "float32", ["- model: smollm2-135m", "+ model: {name: smollm2-135m, dtype: float32}"]),
        (("train",), {"epochs": 1}, None),
    ],
)  # fmt: skip
def test_only_the_line_of_a_value_changes(path, value, lines) -> None:
    after = edits.set_value(SPEC, path, value)
    node = plain_tree(after)
    for key in path:
        node = node[key]
    assert node == value
    if lines is not None:
        assert changed_lines(SPEC, after) == lines


def test_a_number_stays_as_it_was_typed() -> None:
    after = edits.set_value(SPEC, ("train", "learning_rate"), {"log": ["1e-5", "1.0e-3"]}, numbers=True)
    assert "  learning_rate: {log: [1e-5, 1.0e-3]}\n" in after
    assert plain_tree(after)["train"]["learning_rate"] == {"log": [1e-5, 1e-3]}


@pytest.mark.parametrize(
    "text",
    [
        "1e-4",
        "yes: no",
        "- a",
        "a # b",
        "null",
        "it's",
        '"',
        "{",
        "a, b",
        "*a",
        "on",
        "  x",
        "ü€",
        "a\nb",
        "",
    ],
)
def test_a_text_is_read_back_as_that_text(text) -> None:
    after = edits.set_value(SPEC, ("methods", 0, "targets"), ["q_proj", text])
    assert plain_tree(after)["methods"][0]["targets"] == ["q_proj", text]
    assert plain_tree(edits.set_value(SPEC, ("question",), text))["question"] == text


def test_entries_are_added_below_the_last_one() -> None:
    after = edits.add_entry(SPEC, ("methods",), {"kind": "qlora", "bits": 4})
    assert changed_lines(SPEC, after) == ["+ - {kind: qlora, bits: 4}"]
    assert plain_tree(after)["methods"][2] == {"kind": "qlora", "bits": 4}
    assert changed_lines(SPEC, edits.add_entry(SPEC, ("stages",), {"kind": "kto"})) == ["+   - {kind: kto}"]
    assert edits.add_entry("methods: [{kind: full}]\n", ("methods",), {"kind": "lora"}) == (
        "methods: [{kind: full}, {kind: lora}]\n"
    )
    assert edits.add_entry("", ("methods",), {"kind": "lora"}) == "methods: [{kind: lora}]\n"


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        (("stages", 0), ["-   - {kind: sft}   # first"]),
        (("stages", 1), ["-   - kind: dpo", "-     beta: 0.10"]),
        (("stages", 1, "beta"), ["-     beta: 0.10"]),
        (("methods", 1), ["- - {kind: full}"]),
        (("train", "batch_size"), ["-   batch_size: 8"]),
        (("data", "cutoff"), ['- data: {train: "commands", cutoff: 0x80}  # hexadecimal',
                              '+ data: {train: "commands"}  # hexadecimal']),
        (("data", "train"), ['- data: {train: "commands", cutoff: 0x80}  # hexadecimal',
                             "+ data: {cutoff: 0x80}  # hexadecimal"]),
        (("search",), ["- search:"]),
    ],
)  # fmt: skip
def test_only_the_lines_of_what_is_removed_go(path, lines) -> None:
    assert changed_lines(SPEC, edits.remove(SPEC, path)) == lines


def test_the_last_entry_leaves_an_empty_list() -> None:
    assert edits.remove("methods:\n  - {kind: full}\nname: x\n", ("methods", 0)) == "methods: []\nname: x\n"


def test_a_value_of_an_alias_is_refused_as_others_would_change_too() -> None:
    text = "train: {steps: &n 40}\nsearch: {grace_steps: *n}\n"
    with pytest.raises(NotEditable, match="without changing others"):
        edits.set_value(text, ("search", "grace_steps"), 5)


def test_a_text_that_is_no_yaml_is_refused_with_its_line() -> None:
    with pytest.raises(NotEditable, match="line 3"):
        edits.set_value("name: x\nmodel: {name: y\n", ("name",), "z")


@pytest.mark.parametrize("name", shipped_specs())
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_leaves_of_a_shipped_spec_can_be_changed_and_removed(name: str, step: int) -> None:
    text = (SHIPPED / f"{name}.yaml").read_text(encoding="utf-8")
    for path in list(leaves(plain_tree(text)))[::step]:
        changed = edits.set_value(text, path, "CHANGED")
        assert len(changed_lines(text, changed)) == 2, path
        assert edits.remove(text, path).count("#") == text.count("#") or "#" in text.splitlines()[0], path


def leaves(node, path=()):
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from leaves(value, (*path, index))
    else:
        yield path


MERGED = """\
data: &base
  train: commands
  inner: {rows: 4}
other:
  <<: *base
  cutoff: 8
"""


@pytest.mark.parametrize("path", [("other", "train"), ("other", "inner", "rows")])
def test_a_value_that_comes_from_an_anchor_is_not_removed(path: tuple[str, ...]) -> None:
    with pytest.raises(NotEditable, match="comes from an anchor"):
        edits.remove(MERGED, path)


def test_a_value_that_comes_from_an_anchor_is_set_beside_it() -> None:
    changed = edits.set_value(MERGED, ("other", "train"), "mine")
    assert changed_lines(MERGED, changed) == ["+   train: mine"]
    assert plain_tree(changed)["data"]["train"] == "commands"
