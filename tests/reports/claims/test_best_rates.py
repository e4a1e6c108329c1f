"""Claims about the ratio of best learning rates, on run folders."""

from __future__ import annotations

from math import log10
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution

from reports.analysis.search.rate_search import rate_search
from reports.claims.best_setting import BestSetting
from reports.claims.rate_ratio import RateRatio
from reports.pages.report import build_report
from tests.helpers.claimed_runs import found
from tests.helpers.run_folders import record, write_journal, write_run
from trainables import results


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
