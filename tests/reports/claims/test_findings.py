"""What a report says of claims about qualities and memory, on run folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from reports.claims.wording import claim_sentences
from tests.helpers.claimed_runs import BETTER, RIGHT, ROWS, WITHIN, found, make_run
from tests.helpers.run_folders import failed, record, write_run
from trainables import results


def test_a_cell_that_is_hardly_worse_is_within_the_margin_and_one_that_is_far_worse_is_not(
    tmp_path: Path,
) -> None:
    far = WITHIN | {"a": "freeze"}
    equal = WITHIN | {"both": True}
    near, both, worse = found(make_run(tmp_path / "run", WITHIN, equal, far))
    assert near.outcome == both.outcome == "supported"
    assert worse.outcome == "contradicted"
    assert near.statement == "lora is at most 5.0 points worse than full"
    (figure,) = near.figures
    assert figure.value == pytest.approx(-1 / ROWS)
    assert figure.interval[0] < figure.value < figure.interval[1]  # type: ignore[operator]


def test_better_is_supported_or_contradicted_where_the_difference_is_settled(tmp_path: Path) -> None:
    turned = BETTER | {"a": "freeze", "b": "full"}
    equal = BETTER | {"b": "lora"}
    supported, contradicted, not_settled = found(make_run(tmp_path / "run", BETTER, turned, equal))
    assert (supported.outcome, contradicted.outcome) == ("supported", "contradicted")
    assert not_settled.outcome == "not settled"
    assert "would settle it" in (not_settled.settled_by_text or "") or "it takes" in (
        not_settled.settled_by_text or ""
    )


def test_less_memory_is_supported_by_measured_peaks_alone(tmp_path: Path) -> None:
    claim = {"kind": "least_memory", "a": "lora", "b": "full", "share": 0.5, "margin": 0.05, "added": False}
    tight, narrow = claim | {"share": 0.405}, claim | {"share": 0.3}
    supported, unclear, contradicted = found(make_run(tmp_path / "run", claim, tight, narrow))
    assert [each.outcome for each in (supported, unclear, contradicted)] == [
        "supported",
        "not settled",
        "contradicted",
    ]
    assert [figure.kind for figure in supported.figures] == ["share", "difference"]
    predicted = make_run(tmp_path / "predicted", claim, memory_source="predicted")
    (unmeasured,) = found(predicted)
    assert unmeasured.outcome == "not settled"
    assert "only predicted" in (unmeasured.reason or "")


def test_flat_is_about_every_two_cells(tmp_path: Path) -> None:
    claim = {"kind": "flat", "of": ["full", "lora"], "margin": 0.05, "added": False}
    wider = claim | {"of": ["full", "lora", "freeze"]}
    supported, contradicted = found(make_run(tmp_path / "run", claim, wider))
    assert (supported.outcome, contradicted.outcome) == ("supported", "contradicted")
    assert contradicted.figures[0].value == pytest.approx(80 / ROWS, abs=0.01)


def test_cells_that_were_trained_with_one_seed_settle_no_claim(tmp_path: Path) -> None:
    (once,) = found(make_run(tmp_path / "run", WITHIN, seeds=1))
    assert once.outcome == "not settled"
    assert "one seed" in (once.reason or "")


def test_what_cannot_be_answered_says_why(tmp_path: Path) -> None:
    absent = WITHIN | {"a": "dora"}
    itself = WITHIN | {"a": "full"}
    forgets = {"kind": "forgets_less", "a": "lora", "b": "full"}
    reasons = [each.reason for each in found(make_run(tmp_path / "run", absent, itself, forgets))]
    assert reasons[0] == "there is no cell dora in this report"
    assert reasons[1] == "full is not compared with itself"
    assert "second evaluation set" in (reasons[2] or "")


def test_nothing_is_settled_while_trials_are_to_go(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", WITHIN)
    environment = json.loads((run / "environment.json").read_text())
    plan = {"trials": {f"sft-{method}": 2 for method in RIGHT}, "finalists": {"seeds": 3, "top": 1}}
    (run / "environment.json").write_text(json.dumps(environment | {"plan": plan}))
    (open_claim,) = found(run)
    assert open_claim.outcome == "not settled"
    assert "unfinished" in (open_claim.reason or "")


def test_a_cell_without_a_result_settles_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [failed("a", "lora"), record("b", "full")], claims=[WITHIN])
    (claim,) = found(run)
    assert claim.outcome == "not settled"
    assert "lora has no quality" in (claim.reason or "")


def test_a_margin_of_points_settles_nothing_of_a_share(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", WITHIN | {"margin": 2.0}, WITHIN | {"margin": 0.99})
    points, wide = found(run)
    assert points.outcome == "not settled"
    assert "2 points are 0.02" in (points.reason or "")
    assert wide.outcome == "supported"


def test_of_cells_with_unequal_seeds_the_one_with_a_single_one_settles_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", WITHIN, BETTER)
    for seed in (2, 3):
        folder = run / "trials" / f"lora-{seed}"
        (folder / "result.json").unlink(missing_ok=True)
        shutil.rmtree(folder)
    results.write_tables(run)
    single, others = found(run)
    assert single.outcome == "not settled"
    assert (single.reason or "").startswith("lora was trained with one seed")
    assert others.outcome == "supported"


def test_a_tiny_p_is_a_bound_and_memory_that_decides_has_none(tmp_path: Path) -> None:
    less = {"kind": "least_memory", "a": "lora", "b": "full", "share": 0.3, "margin": 0.05, "added": False}
    run = make_run(tmp_path / "run", WITHIN | {"margin": 0.5}, less, less | {"share": 0.405})
    far, exceeds, unclear = found(run)
    sentence, *others = claim_sentences([far, exceeds, unclear])
    assert sentence.endswith("; p < 3e-6).")
    assert exceeds.p is unclear.p is None
    assert not any("p =" in other or "p <" in other for other in others)
    assert "repeat within 2 %" in others[1]
