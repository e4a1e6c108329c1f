"""``paretune studies``: the shipped studies with what they ask, who published it, and what came out."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from reports.studies.stored_study import claim_statement
from sweeps.commands import studies
from sweeps.spec.spec import read, shipped_specs

NAMES = [name for name in shipped_specs() if name.startswith(studies.PREFIX)]


def stored(name: str) -> dict[str, Any]:
    """What is kept of a study, each of whose claims was supported but the first one."""
    claims = [
        {
            "values": claim.statement,
            "statement": f"statement {place}",
            "outcome": "supported" if place else "not settled",
            "figures": [f"figure {place}"],
            "reason": None if place else "9 seeds would settle it",
        }
        for place, claim in enumerate(read(name).claims)
    ]
    return {
        "seconds": 720.0,
        "machine": "2 cores, Intel Xeon CPU",
        "claims": claims,
        "note": f"of {name}",
    }


def listed(*arguments: str, without: str | None = None) -> str:
    app = typer.Typer()
    known = {name: stored(name) for name in NAMES if name != without}
    studies.add(app, lambda: studies.StoredStudies(lambda: known, claim_statement))
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_each_of_the_eight_studies_has_a_question_minutes_and_claims_with_outcomes() -> None:
    values = json.loads(listed("--json"))
    assert [study["name"] for study in values] == NAMES
    assert len(NAMES) == 8
    for study in values:
        assert study["question"]
        assert (study["minutes"], study["minutes_are"]) == (12.0, "measured")
        assert study["claims"]
        assert study["claims"][0]["outcome"] == "not settled"


def test_every_study_names_who_published_what_it_asks() -> None:
    for name in NAMES:
        assert any(claim.source for claim in read(name).claims), name


def test_the_list_says_what_came_out_and_what_would_settle_the_rest() -> None:
    lines = listed().splitlines()
    place = lines.index(
        "study-learning-rates: Is LoRA's best learning rate about ten times that of full fine-tuning?"
    )
    assert lines[place + 1] == "  12 minutes on 2 cores, Intel Xeon CPU"
    published = "published by Schulman and others, 2025 (LoRA Without Regret)"
    assert lines[place + 2] == f"  not settled: statement 0 (figure 0); {published}"
    assert lines[place + 3] == "    9 seeds would settle it"
    assert lines[place + 4] == f"  supported: statement 1 (figure 1); {published}"
    assert lines[place + 5] == "  note: of study-learning-rates"


def test_a_study_that_was_not_run_has_its_claims_in_words_and_the_minutes_of_a_plan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(studies, "_predicted_minutes", {"study-memory": 5.0}.get)
    lines = listed(without="study-memory").splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("study-memory: "))
    assert lines[place + 1] == "  5 minutes predicted on this machine"
    assert lines[place + 2].startswith(
        "  not run yet: rank-64 needs at most 105 % of rank-32's memory; published by "
    )
