"""How learning rates were searched, as the report shows it: curves, edges, random search, the expected best."""

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.text import Text
from optuna.distributions import FloatDistribution

from reports.analysis.comparison import compare
from reports.analysis.group import Group
from reports.analysis.search.rate_search import expected_best_of, rate_search, search_sentences
from reports.pages.trial_tables import expected_bests
from reports.plots import figures, learning_rates
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
            **{"objective": value, **(changes if place in (statuses or {}) else {})},
            status=(statuses or {}).get(place, "done"),
            config={"method": {"kind": "lora"}, "train": {"learning_rate": RATES[place]}},
        )
        for place, value in enumerate(objectives)
    ]
    run = write_run(folder, records)
    study: list[tuple[dict[str, Any], float]] = [
        ({"train.learning_rate": rate}, value) for rate, value in zip(RATES, objectives, strict=False)
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
    assert len(drawing.figure.axes[0].patches) == 1  # its interval
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


def halved(folder: Path, compared_by: str = "training", done: int = 1, **environment: Any) -> Path:
    """A run of five trials whose first ``done`` ran to the end, and that were compared at step 4 before."""
    run = run_of(folder, statuses=dict.fromkeys(range(done, 5), "stopped"), objective=None)
    curve_name = results.TRAINING_OBJECTIVE if compared_by == "training" else "objective"
    for place, value in enumerate(OBJECTIVES):
        points = [
            {"step": 4, "name": curve_name, "value": value - 2},
            {"step": 4, "name": "train_loss", "value": 9},
        ]
        (run / "trials" / f"t{place}" / "curve.jsonl").write_text("\n".join(map(json.dumps, points)))
    (run / "environment.json").write_text(json.dumps({"rungs": {"sft-lora": [4, 12]}, **environment}))
    results.write_tables(run)
    return run


def test_where_few_trials_ran_to_the_end_the_curve_goes_through_the_values_of_all_at_the_first_rung(
    tmp_path: Path,
) -> None:
    search = rate_search(group_of(halved(tmp_path / "run")).rows[0].cell)
    assert search is not None
    assert search.rung is not None
    assert (search.rung.step, search.rung.compared_by, len(search.points)) == (4, "training", 5)
    whole = rate_search(group_of(run_of(tmp_path / "whole")).rows[0].cell)
    assert whole is not None
    assert search.curve is not None
    assert whole.curve is not None
    assert search.curve.optimum == pytest.approx(whole.curve.optimum)
    assert whole.interval == whole.curve.interval
    assert search.interval is None  # what is best at the end may be elsewhere
    assert search.tried == (2e-4, 8e-3)


def test_five_trials_that_ran_to_the_end_are_enough_for_a_curve_of_the_end(tmp_path: Path) -> None:
    search = rate_search(group_of(halved(tmp_path / "run", done=5)).rows[0].cell)
    assert search is not None
    assert search.rung is None
    assert [point.value for point in search.points] == OBJECTIVES


@pytest.mark.parametrize(
    "rungs", [{"sft-lora": []}, {"sft-full": [4]}, {"sft-lora": [8]}, {"sft-lora": 4}, [4]]
)
def test_without_the_values_of_a_rung_the_curve_is_that_of_the_end(tmp_path: Path, rungs: Any) -> None:
    group = group_of(halved(tmp_path / "run", done=2, rungs=rungs))
    search = rate_search(group.rows[0].cell)
    assert search is not None
    assert (search.rung, search.curve, len(search.points)) == (None, None, 2)


@pytest.mark.parametrize(
    ("compared_by", "label", "shown"),
    [("training", "training loss", 1.1), ("validation", "validation exact match", -1.1)],
)
def test_the_figure_says_what_a_curve_of_the_first_rung_goes_through(
    tmp_path: Path, compared_by: str, label: str, shown: float
) -> None:
    group = group_of(halved(tmp_path / "run", compared_by))
    drawing = learning_rates.draw(group, palette([group]), "rates")
    assert drawing is not None
    by = f"{'training loss' if compared_by == 'training' else 'validation rows'}, step 4, 5 trials"
    assert f"lora, {by}: optimum 1." in drawing.alt
    assert " at this step, at the end unknown." in drawing.alt
    (axes,) = drawing.figure.axes
    assert not axes.patches
    assert any(text.get_text().endswith(f"\n{by}") for text in axes.texts)
    assert drawing.figure.get_supylabel() == label
    (first,) = (line for line in axes.lines if list(line.get_xdata()) == [1e-3])
    assert list(first.get_ydata()) == pytest.approx([shown])
    assert any(f"{label} at step 4: " in mark.text for mark in drawing.marks.values())


@pytest.mark.filterwarnings("error:constrained_layout not applied")
def test_panels_side_by_side_are_as_wide_as_they_can_be_beneath_long_words(tmp_path: Path) -> None:
    runs = [results.read_run(halved(tmp_path / name)) for name in ("a", "b", "c", "d")]
    (group,) = compare(runs)
    drawing = learning_rates.draw(group, palette([group]), "rates")
    assert drawing is not None
    assert drawing.alt.count(" at this step, at the end unknown") == 4
    figures.png(drawing)  # which lays it out
    width = drawing.figure.get_size_inches()[0]
    assert all(axes.get_position().width * width > 1.9 for axes in drawing.figure.axes)


@pytest.mark.filterwarnings("error:constrained_layout not applied")
def test_long_names_of_panels_side_by_side_do_not_run_into_one_another(tmp_path: Path) -> None:
    name = "classification-of-many-labels-by-all-linear-layers"
    runs = [results.read_run(halved(tmp_path / f"{name}-{end}")) for end in ("a", "b")]
    (group,) = compare(runs)
    drawing = learning_rates.draw(group, palette([group]), "rates")
    assert drawing is not None
    drawing.figure.draw_without_rendering()
    left, right = (axes.get_title(loc="left") for axes in drawing.figure.axes)
    assert left.replace("\n", "").replace(" ", "") == f"{name}-a:sft-lora"
    assert left.count("\n") == right.count("\n") > 0
    first, second = (
        next(each for each in axes.findobj(Text) if each.get_text() == title).get_window_extent()
        for axes, title in zip(drawing.figure.axes, (left, right), strict=True)
    )
    assert first.x1 < second.x0
    assert second.x1 <= drawing.figure.bbox.x1


def test_the_best_rate_is_no_end_of_those_tried_where_others_beyond_it_were_behind_at_a_rung(
    tmp_path: Path,
) -> None:
    # Done are 2e-4, 6e-4 and the best, 1e-3; 4e-3 and 8e-3 were behind at step 4.
    kept = write([halved(tmp_path / "run", done=3)]).read_text(encoding="utf-8")
    assert "of those tried" not in kept
    behind = run_of(tmp_path / "behind", statuses={3: "stopped", 4: "stopped"})
    assert "of those tried" not in write([behind]).read_text(encoding="utf-8")
    highest = write([run_of(tmp_path / "highest", [0.9, 0.5, 0.8])]).read_text(encoding="utf-8")
    assert "is the highest of those tried" in highest


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
