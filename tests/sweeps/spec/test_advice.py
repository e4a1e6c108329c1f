"""What a message about a wrong value says to write instead: quotes, other tools' searches, shares, what is off."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.spec.problems import unknown_key_message
from tests.helpers.specs import SPEC, problems, spec_folder

RANK = "rank: {choice: [4, 8]}"
STEPS = "steps: 8"
RATE = "learning_rate: {log: [1e-4, 5e-3]}"


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    return spec_folder(tmp_path)


def message(path: Path, old: str, new: str) -> str:
    """The one problem of the spec with ``new`` in the place of ``old``."""
    (problem,) = problems(path, SPEC.replace(old, new))
    return problem.partition(": ")[2]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            RATE,
            'learning_rate: "2e-4"',
            'got the text "2e-4". Leave out the quotes: 2e-4. Allowed: a number, above 0',
        ),
        (
            RANK,
            "rank: '16'",
            'got the text "16". Leave out the quotes: 16. Allowed: a whole number, at least 1',
        ),
        (RANK, 'dora: "true"', 'got the text "true". Leave out the quotes: true. Allowed: true or false'),
        (RANK, "dora: off", 'got the text "off". Write false. Allowed: true or false'),
        (
            "kind: lora, rank: {choice: [4, 8]}",
            'kind: qlora, bits: "4"',
            'got the text "4". Leave out the quotes: 4. Allowed: one of 1, 2, 3, 4, 5, 6, 8',
        ),
        (
            RANK,
            'rank: {choice: [4, "8"]}',
            'choice [4, "8"] contains the text "8". Leave out the quotes: 8. Allowed: a whole number, at least 1',
        ),
        (
            RATE,
            'learning_rate: {log: [1e-4, "5e-3"]}',
            'log needs two numbers, got [0.0001, "5e-3"]. Write {log: [0.0001, 5e-3]}',
        ),
        (RANK, 'rank: {int: ["4", "8"]}', 'int needs two numbers, got ["4", "8"]. Write {int: [4, 8]}'),
        (
            RATE,
            "learning_rate: {uniform: [a, b]}",
            "uniform needs two numbers, got [a, b]. Write {uniform: [low, high]}",
        ),
    ],
)
def test_quotes_are_shown_where_they_are_the_fault(workdir: Path, old: str, new: str, expected: str) -> None:
    assert message(workdir, old, new) == expected


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("{distribution: log_uniform_values, min: 1e-5, max: 1e-3}", "{log: [1e-05, 0.001]}"),
        ("{distribution: uniform, min: 0.1, max: 0.2}", "{uniform: [0.1, 0.2]}"),
        ("{min: 0.1, max: 0.2}", "{uniform: [0.1, 0.2]}"),
        ("{min: 1, max: 2}", "{int: [1, 2]}"),
        ("{values: [1e-5, 1e-4]}", "{choice: [1e-05, 0.0001]}"),
        ("{grid_search: [1e-5, 1e-4]}", "{choice: [1e-05, 0.0001]}"),
        ("{loguniform: [1e-5, 1e-4]}", "{log: [1e-05, 0.0001]}"),
        # Not known, or not valid.
        (
            "{distribution: normal, mu: 1, sigma: 2}",
            "{choice: [a, b]}, {log: [low, high]}, {uniform: [low, high]} or",
        ),
        ("{loguniform: [1e-4, 1e-5]}", "{choice: [a, b]}, {log: [low, high]}, {uniform: [low, high]} or"),
        (
            "{distribution: normal, min: 1, max: 2}",
            "{choice: [a, b]}, {log: [low, high]}, {uniform: [low, high]} or",
        ),
    ],
)
def test_a_search_in_another_tools_words_is_translated(workdir: Path, written: str, meant: str) -> None:
    assert f". To search it, write {meant}" in message(workdir, RATE, f"learning_rate: {written}")


@pytest.mark.parametrize(
    ("old", "new", "advice"),
    [
        (STEPS, "steps: 8.0", "Write 8"),
        (STEPS, "steps: 1e3", "Write 1000"),
        (STEPS, "steps: '1,000'", "Write 1000"),
        (RATE, "learning_rate: '0,001'", "Write 0.001, with a point"),
        (RANK, "dropout: 10%", "Write 0.1"),
        (RANK, "dropout: 10", "As a share of 1, 10 % is 0.1"),
        (STEPS, "steps: 8, warmup_ratio: 3", "As a share of 1, 3 % is 0.03"),
        (STEPS, "steps: 8, eval_steps: -1", "For none, leave it out"),
        (STEPS, "steps: 8, save_steps: 0", "For none, leave it out"),
        (STEPS, "steps: 8, eval_steps: None", "For none, leave it out"),
        (STEPS, "steps: 8, max_grad_norm: 0", "For none, write null"),
        (RATE, "learning_rate: {log: [0, 1e-3]}", "From 0 on, write uniform"),
    ],
)
def test_a_wrong_number_is_followed_by_the_one_that_was_meant(
    workdir: Path, old: str, new: str, advice: str
) -> None:
    assert message(workdir, old, new).partition(". Allowed: ")[0].endswith(f". {advice}")


@pytest.mark.parametrize("new", ["learning_rate: 0", "learning_rate: fast", "learning_rate: -1"])
def test_a_number_that_means_nothing_is_followed_by_no_guess(workdir: Path, new: str) -> None:
    assert message(workdir, RATE, new).endswith("; allowed: a number, above 0")


def test_the_keys_that_are_allowed_are_listed_in_the_same_order_whatever_was_written() -> None:
    keys = ["name", "question", "model", "data", "stages", "methods", "train", "search", "resources"]
    for written in ("trian", "serch", "resource", "metods", "modle"):
        listed = unknown_key_message(written, keys).partition("Allowed: ")[2].partition(", ...")[0]
        assert listed.split(", ") == [key for key in keys if key in listed.split(", ")]
