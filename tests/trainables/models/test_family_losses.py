"""First steps beside plain transformers' in every family: which ways there are, and their table."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.plain_losses import STAGES
from tests.trainables.models import family_losses
from tests.trainables.models.family_losses import BEGIN, END, WAYS, Found, merged, table
from tests.trainables.models.family_matrix import write_table


def test_every_stage_with_a_formula_is_compared_with_each_attention_and_packed_where_it_can_be() -> None:
    assert {stage for stage, _, _ in WAYS.values()} == set(STAGES)
    assert {attention for _, attention, _ in WAYS.values()} == {"eager", "sdpa"}
    assert {stage for stage, _, packing in WAYS.values() if packing} == {"sft", "pretrain"}


def test_the_table_has_the_largest_differences_of_the_families_that_make_a_step() -> None:
    made = {"outcome": "ok", "loss": 1e-8, "gradient": 2e-7, "scores": 0.0}
    rows = {
        "alpha": {"dpo sdpa": made},
        "beta": {"dpo sdpa": {**made, "outcome": "wrong: first loss differs by 3.0e-02", "loss": 3e-2}},
        "gamma": {"dpo sdpa": {"outcome": "refused: models of type gamma support eager; leave it out"}},
    }
    assert table(rows).splitlines()[2:] == ["| dpo sdpa | 2 | 3.0e-02 | 2.0e-07 | 0.0e+00 | 1 | 1 |"]


def test_a_document_keeps_the_lines_of_ways_that_were_not_run(tmp_path: Path) -> None:
    made = {"outcome": "ok", "loss": 1e-8, "gradient": 2e-7, "scores": 0.0}
    document = tmp_path / "README.md"
    document.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    runs = [(["alpha"], ["kto eager", "dpo sdpa"]), (["alpha", "beta"], ["sft eager packed", "dpo sdpa"])]
    for families, ways in runs:
        found = table({family: dict.fromkeys(ways, made) for family in families})
        write_table(document, merged(document, found), BEGIN, END)
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    lines = [line.split("|")[1:3] for line in text.splitlines() if line[:1] == "|"]
    assert lines[2:] == [[" sft eager packed ", " 2 "], [" dpo sdpa ", " 2 "], [" kto eager ", " 1 "]]


def test_what_the_file_of_results_has_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    asked: list[tuple[str, list[str]]] = []

    def compare(kind: str, folder: Path, ways: list[str]) -> dict[str, Found]:
        asked.append((kind, ways))
        return {way: {"outcome": "ok", "loss": 1e-8, "gradient": 0.0, "scores": 0.0} for way in ways}

    monkeypatch.setattr(family_losses, "compare_family", compare)
    file = tmp_path / "losses.jsonl"
    family_losses.compare_families(["alpha"], ["dpo sdpa"], file)
    rows = family_losses.compare_families(["alpha", "beta"], ["dpo sdpa", "kto eager"], file)
    assert asked == [
        ("alpha", ["dpo sdpa"]),
        ("alpha", ["kto eager"]),
        ("beta", ["dpo sdpa", "kto eager"]),
    ]
    assert family_losses.compare_families(["alpha", "beta"], ["dpo sdpa", "kto eager"], file) == rows
    assert len(asked) == 3
