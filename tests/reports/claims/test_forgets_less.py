"""Whether one cell forgets less than another, by a further evaluation set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reports.claims.wording import claim_sentences
from reports.pages.report import build_report
from tests.helpers.runs_with_sets import FORGETS, change_sets, found, make_run
from tests.helpers.simulated_claims import tally_forgetting
from trainables import results


def test_the_cell_whose_loss_rises_by_less_forgets_less(tmp_path: Path) -> None:
    turned = FORGETS | {"a": "full", "b": "lora"}
    equal = FORGETS | {"b": "freeze"}
    supported, contradicted, open_claim = found(make_run(tmp_path / "run", FORGETS, turned, equal))
    assert [each.outcome for each in (supported, contradicted)] == ["supported", "contradicted"]
    assert open_claim.outcome == "not settled"
    assert open_claim.settled_by_text == "more seeds (finalists.seeds) or more rows of general"
    assert supported.statement == "lora forgets less of general than full"
    difference, lora, full = supported.figures
    assert difference.name == "general, loss of lora minus full"
    assert difference.value == pytest.approx(-0.4, abs=0.05)
    assert difference.interval[1] is not None
    assert difference.interval[1] < 0
    assert (lora.name, full.name) == ("lora lost", "full lost")
    assert full.value == pytest.approx(0.5, abs=0.05)
    (sentence, *_) = claim_sentences([supported])
    assert sentence.startswith("Supported: lora forgets less of general than full (general, loss of lora")


def test_what_cannot_be_answered_says_why(tmp_path: Path) -> None:
    unknown = FORGETS | {"set": "wiki"}
    (reason,) = [each.reason for each in found(make_run(tmp_path / "run", unknown))]
    assert reason == "there is no evaluation set wiki; there is general"
    (once,) = found(make_run(tmp_path / "once", FORGETS, seeds=1))
    assert "one seed" in (once.reason or "")
    run = make_run(tmp_path / "without", FORGETS)
    (run / "trials" / "lora-1" / "set-general.parquet").unlink()
    (missing,) = found(run)
    assert missing.reason == "the scores of lora by row of general are missing"


def test_cells_that_were_scored_on_other_data_are_not_compared(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", FORGETS)
    change_sets(run, lambda method, general: general | {"sha256": ("b" if method == "full" else "a") * 64})
    (claim,) = found(run)
    assert (claim.outcome, claim.p) == ("not settled", None)
    assert "was scored on other data called general" in (claim.reason or "")


def test_cells_of_one_run_are_compared_beside_a_run_of_other_data(tmp_path: Path) -> None:
    """The other run's rows come first, and its set of the same name is not that of the claim."""
    other, run = make_run(tmp_path / "other"), make_run(tmp_path / "run", FORGETS)
    change_sets(other, lambda _, general: general | {"sha256": "b" * 64})
    change_sets(run, lambda _, general: general | {"sha256": "a" * 64})
    (claim,) = build_report([results.read_run(other), results.read_run(run)]).findings
    assert claim.outcome == "supported"
    across = {"kind": "forgets_less", "a": "other: sft-lora", "b": "run: sft-full"}
    _, between = build_report([results.read_run(other), results.read_run(run)], [across]).findings
    assert between.p is None
    assert "other data called general" in (between.reason or "")


def test_a_claim_of_an_earlier_version_is_of_the_only_set(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", {"kind": "forgets_less", "a": "lora", "b": "full"})
    assert results.read_run(run).environment["claims"][0].get("set") is None
    (claim,) = found(run)
    assert claim.outcome == "supported"


def test_two_cells_that_forget_alike_are_told_apart_in_few_simulated_runs() -> None:
    tally = tally_forgetting(texts=40, repeats=100)
    # 5 %, and three standard errors of that many runs.
    bound = 0.05 + 3 * np.sqrt(0.05 * 0.95 / tally.runs)
    assert tally.supported / tally.runs <= bound
    assert tally.contradicted / tally.runs <= bound
    assert tally.covering / tally.intervals >= 0.85
