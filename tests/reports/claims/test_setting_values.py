"""Claims about a quality over the values of a setting, on run folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from reports.analysis.cells import collect_cells
from reports.claims.setting_values import domain_values
from reports.text import translated
from tests.helpers.claimed_runs import ROWS, found
from tests.helpers.run_folders import record, write_journal, write_run, write_scores
from trainables import results


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
    assert "随 rank 4、8 和 16 的变化" in translated(flat.statement, "zh")
    assert flat.figures[0].value == pytest.approx(1 / ROWS)
    assert "recorded no list of values" in (unknown.reason or "")
    (run / "study-sft-lora.journal").unlink()
    write_journal(run, "sft-lora", ranks, {"method.rank": CategoricalDistribution([4, 8, 16, 64])})
    untried, _ = found(run)
    assert untried.outcome == "not settled"
    assert untried.reason == "no trial of sft-lora had rank 64 (search.trials)"
    assert "over rank 4, 8, 16 and 64" in untried.statement


@pytest.mark.parametrize(
    ("domain", "shown"),
    [
        (IntDistribution(4, 8, step=2), ("4", "6", "8")),
        (FloatDistribution(0.0, 0.3, step=0.1), ("0", "0.1", "0.2", "0.3")),
        (CategoricalDistribution([0.12341, 0.12342]), ("0.12341", "0.12342")),
        (CategoricalDistribution(['["q_proj"]', "all"]), ('["q_proj"]', "all")),
        (FloatDistribution(1e-4, 1e-2, log=True), None),
        (IntDistribution(1, 1000), None),
    ],
)
def test_the_values_of_a_setting_are_those_of_the_recorded_domain(
    tmp_path: Path, domain: BaseDistribution, shown: tuple[str, ...] | None
) -> None:
    run = write_run(tmp_path / "run", [record("a")])
    low = domain.choices[0] if isinstance(domain, CategoricalDistribution) else domain.low  # type: ignore[attr-defined]
    write_journal(run, "sft-lora", [({"method.x": low}, 0.5)], {"method.x": domain})
    (cell,) = collect_cells([results.read_run(run)])
    assert domain_values(cell, "method.x") == shown
