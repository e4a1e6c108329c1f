"""What a report says of claims, on run folders."""

from __future__ import annotations

import csv
import json
import shutil
from math import log10
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from reports.analysis.search.rate_search import rate_search
from reports.claims.best_setting import BestSetting
from reports.claims.finding import Finding
from reports.claims.rate_ratio import RateRatio
from reports.claims.wording import claim_sentences
from reports.pages.report import build_report
from reports.write import write
from sweeps.execution.settling import looks
from tests.helpers.run_folders import MIB, failed, record, write_journal, write_run, write_scores
from trainables import results

ROWS = 200
SEEDS = 3
PROMPTS = [json.dumps([{"role": "user", "content": f"row {row}"}]) for row in range(ROWS)]
WITHIN = {"kind": "within", "a": "lora", "b": "full", "margin": 0.05, "added": False}
BETTER = {"kind": "better", "a": "full", "b": "freeze", "added": False}
# How many of the first rows each method gets right: all seeds nearly the same.
RIGHT = {"full": 160, "lora": 159, "freeze": 80}
PEAKS = {"full": 1000, "lora": 400, "freeze": 390}


def make_run(folder: Path, *claims: dict[str, Any], seeds: int = SEEDS, **changes: Any) -> Path:
    """A run of three methods, each with a searched trial and finalists."""
    scores: dict[str, list[float]] = {}
    trials = []
    for method, right in RIGHT.items():
        for number in range(seeds + 1 if seeds > 1 else 1):
            name = f"{method}-{number}"
            scores[name] = [1.0] * (right + number % 2) + [0.0] * (ROWS - right - number % 2)
            quality = sum(scores[name]) / ROWS
            more = {"role": "finalist" if number else "search", "seed": number, "test_rows": ROWS}
            peak = {"peak_train_bytes": PEAKS[method] * MIB}
            trials.append(record(name, method, quality=quality, **more | peak | changes))
    run = write_run(folder, trials, claims=list(claims))
    for name, values in scores.items():
        write_scores(run, name, values, prompt=PROMPTS)
    return run


def found(run: Path, *further: dict[str, Any]) -> list[Finding]:
    return list(build_report([results.read_run(run)], further).findings)


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


def test_flat_over_a_setting_compares_the_best_trial_at_each_value(tmp_path: Path) -> None:
    trials, scores = [], {}
    for number, (rank, right) in enumerate([(4, 160), (4, 100), (8, 160), (16, 159)]):
        config = {"method": {"kind": "lora", "rank": rank}, "train": {"learning_rate": 1e-3, "steps": 4}}
        name = f"t{number}"
        scores[name] = [1.0] * right + [0.0] * (ROWS - right)
        trials.append(
            record(
                name,
                config=config,
                objective=right / ROWS - number / 1000,
                quality=right / ROWS,
                test_rows=ROWS,
            )
        )
    for seed in range(1, 4):
        name = f"f{seed}"
        scores[name] = scores["t0"]
        trials.append(
            record(name, config=trials[0].config, quality=0.8, test_rows=ROWS, role="finalist", seed=seed)
        )
    claim = {"kind": "flat", "of": ["lora"], "setting": "method.rank", "margin": 0.05, "added": False}
    run = write_run(tmp_path / "run", trials, claims=[claim, claim | {"setting": "method.alpha"}])
    for name, values in scores.items():
        write_scores(run, name, values)
    # Which values there were to choose from is known of the study alone.
    assert all("recorded no list of values" in (each.reason or "") for each in found(run))
    ranks = [({"method.rank": trial.config["method"]["rank"]}, 0.5) for trial in trials[:4]]
    domain = {"method.rank": CategoricalDistribution([4, 8, 16])}
    write_journal(run, "sft-lora", ranks, domain)
    flat, unknown = found(run)
    assert flat.outcome == "supported"
    assert flat.statement == "lora's quality differs by at most 5.0 points over rank 4, 8 and 16"
    assert flat.figures[0].value == pytest.approx(1 / ROWS)
    assert "recorded no list of values" in (unknown.reason or "")
    (run / "study-sft-lora.journal").unlink()
    write_journal(run, "sft-lora", ranks, {"method.rank": CategoricalDistribution([4, 8, 16, 64])})
    untried, _ = found(run)
    assert untried.outcome == "not settled"
    assert untried.reason == "no trial of sft-lora had rank 64 (search.trials)"
    assert "over rank 4, 8, 16 and 64" in untried.statement


def rates_run(folder: Path, best: dict[str, float], *claims: dict[str, Any]) -> Path:
    """A run whose cells have eight trials each, with objectives that are nearly a parabola about their best rates."""
    trials, journals = [], []
    for method, optimum in best.items():
        cell = f"sft-{method}"
        points = []
        for number in range(8):
            rate = 1e-5 * 10 ** (4 * number / 7)
            away = (number - 3.5) / 1000  # so that there is an error
            objective = 0.9 - 0.3 * log10(rate / optimum) ** 2 + away * (-1) ** number
            config = {"method": {"kind": method}, "train": {"learning_rate": rate, "steps": 4}}
            trials.append(record(f"{method}-{number}", method, config=config, objective=objective))
            points.append(({"train.learning_rate": rate}, objective))
        journals.append((cell, points))
    run = write_run(folder, trials, claims=list(claims))
    for cell, points in journals:
        write_journal(run, cell, points, {"train.learning_rate": FloatDistribution(1e-5, 1e-1, log=True)})
    return run


def test_the_best_learning_rate_of_one_cell_is_so_many_times_another_s(tmp_path: Path) -> None:
    claim = {"kind": "best_setting", "a": "lora", "b": "full", "at_least": 2.0, "added": False}
    run = rates_run(
        tmp_path / "run",
        {"lora": 5e-3, "full": 1e-4},
        claim,
        claim | {"at_least": 1500.0},
        claim | {"at_most": 1500.0},
    )
    supported, contradicted, between = found(run)
    assert (supported.outcome, contradicted.outcome, between.outcome) == (
        "supported",
        "contradicted",
        "supported",
    )
    (ratio,) = supported.figures
    assert ratio.value == pytest.approx(50, rel=0.05)
    # Curves that fall four times as quickly on one side would have the same trials.
    assert ratio.interval[0] < 50 / 5 < 50 * 5 < ratio.interval[1]  # type: ignore[operator]
    assert "if both curves are parabolas" in ratio.name
    assert between.statement == "lora's best learning rate is at least 2 and at most 1500 times full's"


def test_a_best_rate_at_the_edge_of_those_that_were_tried_settles_nothing(tmp_path: Path) -> None:
    claim = {"kind": "best_setting", "a": "lora", "b": "full", "at_least": 2.0, "added": False}
    (edge,) = found(rates_run(tmp_path / "run", {"lora": 0.5, "full": 2e-4}, claim))
    assert edge.outcome == "not settled"
    assert "at the edge" in (edge.reason or "")


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


def test_claims_are_corrected_together_and_later_ones_change_nothing_of_those_before(tmp_path: Path) -> None:
    alone = found(make_run(tmp_path / "alone", WITHIN))[0]
    several = [WITHIN | {"margin": 0.05 + extra / 1000} for extra in range(4)]
    together = found(make_run(tmp_path / "several", *several))[0]
    assert alone.p is not None
    assert together.p is not None
    assert together.p > alone.p
    run = make_run(tmp_path / "later", WITHIN)
    before, *later = found(run, *(claim | {"added": True} for claim in several[1:]))
    assert before.p == alone.p
    assert [each.added for each in later] == [True] * 3
    assert later[0].p is not None


def test_a_claim_of_another_version_has_its_line_and_the_others_are_answered(tmp_path: Path) -> None:
    unknown, known = found(make_run(tmp_path / "run", {"kind": "cheaper", "a": "lora", "b": "full"}, WITHIN))
    assert (unknown.outcome, known.outcome) == ("not settled", "supported")
    assert "can't be read: kind 'cheaper' is unknown" in (unknown.reason or "")
    assert "cheaper" in unknown.statement


def test_the_report_leads_with_the_claims_and_its_files_have_them(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", WITHIN)
    further = [BETTER | {"added": True, "stated_at": "2026-01-02T00:00:00+00:00"}]
    page = write([run], None, further)
    text = (page.parent / "summary.md").read_text()
    claims = text.index("Supported: lora is at most 5.0 points worse than full")
    assert text.index("## The answer") < claims < text.index("Use ")
    assert "added after the run had begun" in text
    assert "Supported: lora is at most 5.0" in page.read_text().replace("\u00a0", " ")
    values = json.loads((page.parent / "report.json").read_text())["claims"]
    assert [(each["kind"], each["outcome"]) for each in values] == [
        ("within", "supported"),
        ("better", "supported"),
    ]
    rows = list(csv.DictReader((page.parent / "claims.csv").open()))
    assert [row["added"] for row in rows] == ["False", "True"]
    assert float(rows[0]["estimate"]) == pytest.approx(-1 / ROWS)


def test_a_report_without_claims_says_nothing_of_them(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    page = write([run])
    assert not (page.parent / "claims.csv").exists()
    assert "Claims" not in (page.parent / "summary.md").read_text()
    assert json.loads((page.parent / "report.json").read_text())["claims"] == []


def test_a_cell_without_a_result_settles_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [failed("a", "lora"), record("b", "full")], claims=[WITHIN])
    (claim,) = found(run)
    assert claim.outcome == "not settled"
    assert "lora has no quality" in (claim.reason or "")


HOSTILE: list[Any] = [
    7,
    None,
    ["within"],
    {},
    {"kind": ["within"], "a": "lora", "b": "full", "margin": 0.02},
    {"kind": {"within": 1}},
    {"kind": "within", "a": 3, "b": "full", "margin": 0.02},
    {"kind": "within", "a": "lora", "b": "full", "margin": "0.02"},
    {"kind": "within", "a": "lora", "b": "full", "margin": float("nan")},
    {"kind": "within", "a": "lora", "b": "full", "margin": float("inf")},
    {"kind": "within", "a": "lora", "b": "full", "margin": 0.02, "of_later": True},
    {"kind": "least_memory", "a": "lora", "b": "full", "margin": 0.02, "share": [0.5]},
    {"kind": "best_setting", "a": "lora", "b": "full"},
    {"kind": "best_setting", "a": "lora", "b": "full", "at_least": -1},
    {"kind": "flat", "of": [], "margin": 0.02},
    {"kind": "flat", "of": "lora", "margin": 0.02},
    {"kind": "flat", "of": [["lora"]], "setting": "method.rank", "margin": 0.02},
    {"kind": "flat", "of": ["lora"], "margin": 0.02},
    {"kind": "<script>alert(1)</script>" + "x" * 1000},
    {"kind": "better", "a": "", "b": "full"},
]


def test_claims_that_cannot_be_read_have_a_line_each_and_end_no_report(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", *HOSTILE, WITHIN | {"stated_at": 5, "added": "no"})
    page = write([run])
    *unread, read = json.loads((page.parent / "report.json").read_text())["claims"]
    assert len(unread) == len(HOSTILE)
    for each in unread:
        assert each["outcome"] == "not settled"
        assert each["reason"].startswith("this claim can't be read: ")
        assert each["p_holm"] is None
        assert len(each["claim"]) < 200
    # Damaged marks are those of a claim whose time is not known.
    assert (read["stated_at"], read["added"]) == (None, True)
    assert read["p_holm"] is not None
    assert "<script>alert" not in page.read_text()
    for damaged in ("within", {"kind": "within"}, 0):
        (run / "environment.json").write_text(json.dumps({"claims": damaged}))
        (one,) = found(run)
        assert "can't be read" in (one.reason or "")


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


def test_what_an_earlier_look_settled_is_kept_at_a_later_one(tmp_path: Path) -> None:
    # At the first look's error of 4 %, but not at the second's of 0.5 %.
    claim = {key: value for key, value in WITHIN.items() if key != "added"} | {"margin": 0.02}
    run = make_run(tmp_path / "run", claim | {"added": False})
    (first,) = found(run)
    assert first.p is not None
    assert (first.outcome, 0.005 < first.p < 0.04) == ("supported", True)
    write([run])
    looks.begin(run)
    looks.mark_reported(run)
    assert json.loads((run / "settle.json").read_text())["looks"][0]["claims"] == [claim]
    assert found(run)[0].outcome == "supported"
    # What no report had settled by then is judged by the later error.
    entries = [{"begun": "now", "reported": "then", "settled": [], "claims": []}]
    (run / "settle.json").write_text(json.dumps({"looks": entries}))
    (later,) = found(run)
    assert (later.outcome, later.p) == ("not settled", first.p)


def test_a_tiny_p_is_a_bound_and_memory_that_decides_has_none(tmp_path: Path) -> None:
    less = {"kind": "least_memory", "a": "lora", "b": "full", "share": 0.3, "margin": 0.05, "added": False}
    run = make_run(tmp_path / "run", WITHIN | {"margin": 0.5}, less, less | {"share": 0.405})
    far, exceeds, unclear = found(run)
    sentence, *others = claim_sentences([far, exceeds, unclear])
    assert sentence.endswith("; p < 3e-6).")
    assert exceeds.p is unclear.p is None
    assert not any("p =" in other or "p <" in other for other in others)
    assert "repeat within 2 %" in others[1]


def test_claims_of_a_file_are_answered_for_each_run_and_each_group(tmp_path: Path) -> None:
    one, other = make_run(tmp_path / "one", WITHIN), make_run(tmp_path / "other")
    third = make_run(tmp_path / "third", model="qwen-0.5b")
    page = write(
        [one, other, third], tmp_path / "report", [BETTER | {"added": True}, WITHIN | {"added": True}]
    )
    answered = json.loads((page.parent / "report.json").read_text())["claims"]
    assert [(each["kind"], each["run"], each["model"]) for each in answered] == [
        ("within", "one", "smollm2-135m"),
        ("better", "one", "smollm2-135m"),
        ("better", "other", "smollm2-135m"),
        ("better", "third", "qwen-0.5b"),
        ("within", "other", "smollm2-135m"),
        ("within", "third", "qwen-0.5b"),
    ]
    assert {each["outcome"] for each in answered} == {"supported"}
    assert answered[2]["sentence"].startswith(
        "Supported: in other, sft of smollm2-135m on commands: full is better"
    )
    rows = list(csv.DictReader((page.parent / "claims.csv").open()))
    assert [row["run"] for row in rows] == [each["run"] for each in answered]
    assert "settled_by_text" in rows[0]


def test_the_table_of_claims_says_in_words_what_would_settle_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", BETTER | {"b": "lora"})
    page = write([run])
    (row,) = csv.DictReader((page.parent / "claims.csv").open())
    assert "would settle it" in row["settled_by_text"] or row["settled_by_text"].startswith("it takes")


def test_what_would_settle_a_ratio_is_the_largest_need_of_bounds_that_are_open(tmp_path: Path) -> None:
    run = rates_run(tmp_path / "run", {"lora": 5e-3, "full": 1e-4})
    (group,) = build_report([results.read_run(run)]).groups
    one, other = (
        rate_search(next(row.cell for row in group.rows if row.name == name)) for name in ("lora", "full")
    )
    assert one is not None
    assert other is not None
    ratio = RateRatio(one, other)
    near, far = ratio.trials_to_tell(4.0, 0.01), ratio.trials_to_tell(1e6, 0.01)
    assert near is not None
    assert near > ratio.trials == far
    assert BestSetting("lora", "full", 4.0, 1e6).trials_needed(ratio, 0.01) == near
    stricter = ratio.trials_to_tell(4.0, 0.001)
    assert stricter is not None
    assert stricter > near
    # A bound that skewed curves reach is told by no number of trials.
    assert ratio.trials_to_tell(45.0, 0.01) is None
