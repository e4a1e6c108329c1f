"""How learning rates were searched, as the report shows it: curves, edges, random search, the expected best."""

from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution

from reports.analysis.comparison import compare
from reports.analysis.group import Group
from reports.analysis.search.rate_search import expected_best_of, rate_search, search_sentences
from reports.pages.trial_tables import expected_bests
from reports.plots import learning_rates
from reports.plots.style import palette
from reports.write import write
from tests.helpers.run_folders import record, write_journal, write_run
from trainables import results

RATES = [1e-3, 2e-4, 6e-4, 4e-3, 8e-3]
OBJECTIVES = [0.9, 0.5, 0.8, 0.7, 0.5]
QUASI_RANDOM = ["start", *["quasi-random"] * 4]
DOMAIN = {"train.learning_rate": FloatDistribution(1e-4, 1e-2, log=True)}


def run_of(
    folder: Path,
    objectives: list[float] = OBJECTIVES,
    origins: list[str] | None = None,
    statuses: dict[int, str] | None = None,
    **changes: Any,
) -> Path:
    records = [
        record(
            f"t{place}",
            objective=value,
            **(changes if place in (statuses or {}) else {}),
            status=(statuses or {}).get(place, "done"),
            config={"method": {"kind": "lora"}, "train": {"learning_rate": RATES[place]}},
        )
        for place, value in enumerate(objectives)
    ]
    run = write_run(folder, records)
    study: list[tuple[dict[str, Any], float]] = [
        ({"train.learning_rate": rate}, value) for rate, value in zip(RATES, objectives, strict=True)
    ]
    write_journal(run, "sft-lora", study, DOMAIN, [each.trial_id for each in records], origins or [])
    return run


def group_of(run: Path) -> Group:
    (group,) = compare([results.read_run(run)])
    return group


def test_the_curve_goes_through_the_finished_trials_over_the_searched_range(tmp_path: Path) -> None:
    found = rate_search(group_of(run_of(tmp_path / "run")).rows[0].cell)
    assert found is not None
    assert found.curve is not None
    assert (found.low, found.high, len(found.points)) == (1e-4, 1e-2, 5)
    assert 1e-3 < found.curve.optimum < 2.5e-3
    stopped = rate_search(
        group_of(run_of(tmp_path / "stopped", statuses={4: "stopped", 3: "stopped"})).rows[0].cell
    )
    assert stopped is not None
    assert stopped.curve is not None
    assert len(stopped.points) == 5  # drawn, but not fitted
    assert stopped.curve.interval is None


def test_the_figure_says_the_optimum_or_that_the_best_is_at_the_edge(tmp_path: Path) -> None:
    group = group_of(run_of(tmp_path / "run"))
    drawing = learning_rates.draw(group, palette([group]), "rates")
    assert drawing is not None
    assert "lora, 5 trials: optimum 1." in drawing.alt
    rising = group_of(run_of(tmp_path / "rising", [0.6, 0.1, 0.4, 0.9, 0.99]))
    drawing = learning_rates.draw(rising, palette([rising]), "rates")
    assert drawing is not None
    assert "lora, 5 trials: at the highest tried or beyond: 8.0e-3" in drawing.alt
    assert any("at the highest tried or beyond" in text.get_text() for text in drawing.figure.axes[0].texts)


def test_a_curve_ends_at_the_rates_that_were_tried_and_one_that_opens_upwards_has_no_optimum(
    tmp_path: Path,
) -> None:
    group = group_of(run_of(tmp_path / "valley", [0.9, 0.5, 0.3, 0.5, 0.8]))
    drawing = learning_rates.draw(group, palette([group]), "rates")
    assert drawing is not None
    assert "no optimum: the curve has none" in drawing.alt
    search = rate_search(group.rows[0].cell)
    assert search is not None
    (curve,) = (line for line in drawing.figure.axes[0].lines if len(line.get_xdata()) > 2)
    rates = [float(rate) for rate in curve.get_xdata()]
    assert (min(rates), max(rates)) == pytest.approx(search.tried)


def test_without_two_learning_rates_there_is_no_figure(tmp_path: Path) -> None:
    group = group_of(write_run(tmp_path / "run", [record("aaa"), record("bbb")]))
    assert learning_rates.draw(group, palette([group]), "rates") is None


def test_the_expected_best_is_of_draws_that_ran_to_the_end(tmp_path: Path) -> None:
    group = group_of(run_of(tmp_path / "run", origins=QUASI_RANDOM))
    # Of 0.5, 0.8, 0.7, 0.5: the start is no draw.
    assert expected_best_of(group.rows[0].cell) == pytest.approx(
        [0.625, (0.5 + 2 * 0.7 + 3 * 0.8) / 6, 0.775, 0.8]
    )
    assert expected_bests(group).rows == [("lora", "0.625", "0.717", "0.775", "0.8")]
    stopped = group_of(run_of(tmp_path / "stopped", origins=QUASI_RANDOM, statuses={2: "stopped"}))
    assert expected_best_of(stopped.rows[0].cell) == []
    steered = ["start", "random", "random", "results", "results"]
    assert expected_best_of(
        group_of(run_of(tmp_path / "steered", origins=steered)).rows[0].cell
    ) == pytest.approx([0.65, 0.8])
    assert expected_best_of(group_of(run_of(tmp_path / "old")).rows[0].cell) == []


def test_the_report_calls_a_random_search_one(tmp_path: Path) -> None:
    drawn = run_of(tmp_path / "drawn", origins=QUASI_RANDOM)
    page = write([drawn]).read_text(encoding="utf-8")
    assert "Random search: no result steered the settings of lora." in page
    assert "best of 4 draws" in page
    steered = group_of(
        run_of(tmp_path / "steered", origins=["start", "random", "random", "results", "results"])
    )
    assert list(search_sentences(steered)) == ["Results steered the settings of lora from trial 4 on."]
    assert list(search_sentences(group_of(run_of(tmp_path / "old")))) == []


def test_the_report_says_which_trials_have_settings_that_an_earlier_run_found(tmp_path: Path) -> None:
    origins = ["earlier", "earlier", "random", "random", "random"]
    assert list(search_sentences(group_of(run_of(tmp_path / "run", origins=origins)))) == [
        "The first 2 trials of lora have the best settings of an earlier run (search.from)."
    ]


def test_a_draw_that_diverged_counts_with_its_objective_where_it_is_the_worst(tmp_path: Path) -> None:
    origins = ["start", *["random"] * 4]

    def expected(folder: str, objectives: list[float]) -> list[float]:
        run = run_of(
            tmp_path / folder, objectives, origins, {4: "stopped"}, stop_reason="its training loss rose"
        )
        return expected_best_of(group_of(run).rows[0].cell)

    diverged = expected("diverged", [0.9, 0.5, 0.8, 0.7, 0.1])
    assert diverged == expected_best_of(
        group_of(run_of(tmp_path / "whole", [0.9, 0.5, 0.8, 0.7, 0.1], origins)).rows[0].cell
    )
    assert len(diverged) == 4
    assert expected("better", [0.9, 0.5, 0.8, 0.7, 0.6]) == []
