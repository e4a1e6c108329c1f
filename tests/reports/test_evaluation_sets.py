"""Further evaluation sets in the report: a column each with its interval, and what was gained and lost."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from reports import write
from reports.analysis.cell_table import table, table_rows
from reports.analysis.changes import gained, lost, steering_set
from reports.analysis.comparison import compare
from reports.pages import tables, trial_tables
from reports.plots.figures import draw_figures
from tests.helpers.run_folders import example_run
from tests.helpers.runs_with_sets import RIGHT, ROSE, ROWS, TEXTS, change_sets, make_run
from trainables import results


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "sets")


def test_what_a_cell_lost_is_how_much_its_loss_rose_row_by_row(run: Path) -> None:
    (group,) = compare([results.read_run(run)])
    (general,) = group.sets
    assert (general.name, general.rows, general.source) == ("general", TEXTS, "text.txt")
    for row in group.rows:
        loss, gain = lost(group, general, row), gained(group, row)
        assert loss is not None
        assert gain is not None
        assert loss.value == pytest.approx(ROSE[row.name], abs=0.05)
        assert gain.value == pytest.approx((RIGHT[row.name] - RIGHT["base"]) / ROWS)
        assert loss.interval is not None
        assert loss.interval[0] < loss.value < loss.interval[1]
        whole = general.interval(row)
        assert whole is not None
        # Texts differ by more than what training changes in each of them.
        assert whole[1] - whole[0] > loss.interval[1] - loss.interval[0]
    assert lost(group, general, group.bases[0]) is None


def test_every_table_has_a_column_for_the_set(run: Path) -> None:
    (group,) = compare([results.read_run(run)])
    assert steering_set(group) == "mine"
    shown = tables.comparison(group)
    assert shown.columns[2:4] == ("mine: exact match", "general: loss (nats per token)")
    full = next(row for row in shown.rows if row[0] == "full")
    assert full[3].startswith("3.5")
    assert " to " in full[3]
    changes = tables.gained_and_lost(group)
    assert changes.columns == ("cell", "gained on mine (points)", "lost on general (nats per token)")
    assert [row[0] for row in changes.rows] == ["full", "lora", "freeze"]


def test_csv_json_and_what_trackers_get_have_the_set_with_its_interval_and_loss(run: Path) -> None:
    index = write.write([run])
    with (index.parent / "comparison.csv").open(encoding="utf-8") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    lora = rows["lora"]
    assert float(lora["set_general_low"]) < float(lora["set_general"]) < float(lora["set_general_high"])
    assert float(lora["set_general_lost_low"]) < float(lora["set_general_lost"])
    assert (lora["set_general_quality_name"], lora["set_general_rows"]) == ("loss", str(TEXTS))
    assert rows["base"]["set_general_lost"] == ""
    cells = json.loads((index.parent / "report.json").read_text())["cells"]
    assert cells[0]["set_general_lost"] == pytest.approx(float(rows[cells[0]["method"]]["set_general_lost"]))
    assert table(results.read_run(run))[0]["set_general"] is not None


def test_the_page_and_the_summary_show_what_was_gained_against_what_was_lost(run: Path) -> None:
    index = write.write([run])
    page, summary = index.read_text(), (index.parent / "summary.md").read_text()
    assert "Gained and lost</h2>" in page
    assert "lost on general" in page
    assert (index.parent / "figures" / "forgetting.svg").exists()
    assert "| cell | gained on mine (points) | lost on general (nats per token) |" in summary
    drawn = draw_figures(compare([results.read_run(run)])).drawings
    ((_, drawing),) = [each for each in drawn.items() if each[0][0] == "forgetting"]
    assert (
        "exact match gained against loss lost on general: full gained 75.0 points and lost 0.5" in drawing.alt
    )
    points = [mark for mark in drawing.marks.values() if "lost" in mark.text]
    assert len(points) == 3


def test_without_the_untuned_model_there_is_a_column_and_no_figure(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", methods=("full", "lora"))
    (group,) = compare([results.read_run(run)])
    assert "general: loss (nats per token)" in tables.comparison(group).columns
    assert tables.gained_and_lost(group).columns == ("cell",)
    assert not [each for each in draw_figures([group]).drawings if each[0] == "forgetting"]
    assert "nothing is known of what was gained and lost" in write.write([run]).read_text()


def test_a_set_without_scores_by_row_has_its_figure_and_no_interval(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", seeds=1)
    for file in run.glob("trials/*/set-general.parquet"):
        file.unlink()
    (group,) = compare([results.read_run(run)])
    (general,) = group.sets
    row = group.rows[0]
    assert general.interval(row) is None
    loss = lost(group, general, row)
    assert loss is not None
    assert (loss.value, loss.interval) == (pytest.approx(ROSE[row.name], abs=0.05), None)
    assert write.write([run]).exists()


def test_a_run_without_further_sets_shows_nothing_of_them(tmp_path: Path) -> None:
    run = results.read_run(example_run(tmp_path / "example"))
    (group,) = compare([run])
    assert group.sets == ()
    assert steering_set(group) is None
    assert tables.comparison(group).columns[1:3] == ("answer", "exact match")
    assert not any(name.startswith("set_") for name in table(run)[0])


def test_the_shares_of_mixed_data_stand_beside_what_each_does_to_each_set(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", seeds=1)
    shares = {"full": {"a.jsonl": 75, "b.jsonl": 25}, "lora": {"a.jsonl": 50, "b.jsonl": 50}}
    for file in run.glob("trials/*/record.json"):
        record = json.loads(file.read_text())
        file.write_text(json.dumps(record | {"mixture": shares.get(record["method"], {})}))
    results.write_tables(run)
    (group,) = compare([results.read_run(run)])
    changes = tables.gained_and_lost(group)
    assert changes.columns[:2] == ("cell", "trained on")
    assert [row[1] for row in changes.rows] == [
        "75 % a.jsonl, 25 % b.jsonl",
        "50 % a.jsonl, 50 % b.jsonl",
        "",
    ]
    assert "trained on" in tables.comparison(group).columns
    assert table(results.read_run(run))[0]["mixture"] == "75 % a.jsonl, 25 % b.jsonl"


def test_each_trial_has_its_shares_and_its_sets_where_the_search_chose_them(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", seeds=2)
    for number, file in enumerate(sorted(run.glob("trials/*/record.json"))):
        record = json.loads(file.read_text())
        shares = {"a.jsonl": 75, "b.jsonl": 25} if number % 2 else {"a.jsonl": 50, "b.jsonl": 50}
        file.write_text(json.dumps(record | {"mixture": {} if record["role"] == "base" else shares}))
    results.write_tables(run)
    (group,) = compare([results.read_run(run)])
    shown = trial_tables.trials(group)
    drawn = {row[shown.columns.index("trained on")] for row in shown.rows}
    assert drawn == {"75 % a.jsonl, 25 % b.jsonl", "50 % a.jsonl, 50 % b.jsonl", ""}
    scores = [row[shown.columns.index("general: loss (nats per token)")] for row in shown.rows]
    assert sum(each.startswith("3.5") for each in scores) >= 2


def test_other_rows_under_the_same_name_are_another_set(tmp_path: Path) -> None:
    one, other = make_run(tmp_path / "one"), make_run(tmp_path / "other")
    change_sets(one, lambda _, general: general | {"sha256": "a" * 64})
    change_sets(other, lambda _, general: general | {"sha256": "b" * 64, "source": "wiki.txt"})
    (group,) = compare([results.read_run(one), results.read_run(other)])
    assert [each.title for each in group.sets] == ["general (text.txt)", "general (wiki.txt)"]
    for each, run in zip(group.sets, (one, other), strict=True):
        assert {row.cell.run.folder for row in group.rows if each.quality(row) is not None} == {run}
        assert all((lost(group, each, row) is None) == (each.quality(row) is None) for row in group.rows)
    columns = tables.comparison(group).columns
    assert {"general (text.txt): loss (nats per token)", "general (wiki.txt): loss (nats per token)"} < {
        *columns
    }
    rows = {row["cell"]: row for row in table_rows([group])}
    assert (
        rows["one: sft-lora"]["set_general_sha256"][0],
        rows["other: sft-lora"]["set_general_source"],
    ) == (
        "a",
        "wiki.txt",
    )


def test_a_part_of_the_rows_under_the_same_name_is_another_set(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", seeds=1)
    of_full = {"full": {"rows": 9}}
    change_sets(run, lambda method, general: general | {"sha256": "a" * 64} | of_full.get(method, {}))
    (group,) = compare([results.read_run(run)])
    assert [each.title for each in group.sets] == [
        "general (text.txt, aaaaaaaa, 9 rows)",
        "general (text.txt, aaaaaaaa, 60 rows)",
    ]
    (full,) = [row for row in group.rows if row.name == "full"]
    assert lost(group, group.sets[0], full) is None


def test_sets_of_one_run_that_differ_in_their_rows_are_compared_each_with_its_own_base(
    tmp_path: Path,
) -> None:
    """As ``eval: {mine: null, general: {compare: [a.txt, b.txt]}}`` gives them."""
    run = make_run(tmp_path / "run", seeds=1)
    hashes = {"base": "a", "full": "b", "lora": "a", "freeze": "a"}
    change_sets(run, lambda method, general: general | {"sha256": hashes[method] * 64})
    (group,) = compare([results.read_run(run)])
    losses = {row.name: [lost(group, each, row) is not None for each in group.sets] for row in group.rows}
    assert losses == {"full": [False, False], "lora": [False, True], "freeze": [False, True]}
    assert [each.title for each in group.sets] == [
        "general (text.txt, bbbbbbbb)",
        "general (text.txt, aaaaaaaa)",
    ]


def test_a_set_that_no_cell_was_scored_on_in_all_its_trials_is_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", methods=("full", "lora"))
    for trial in ("full-1", "lora-1"):
        file = run / "trials" / trial / "record.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"sets": {}}))
    results.write_tables(run)
    (group,) = compare([results.read_run(run)])
    assert group.sets == ()
    assert write.write([run]).exists()


def test_a_set_whose_measure_is_not_finite_was_not_measured_and_the_report_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", seeds=1)
    reason = {"quality": None, "not_measured": "its loss is inf", "metrics": {}}
    change_sets(run, lambda method, general: general | (reason if method == "full" else {}))
    (group,) = compare([results.read_run(run)])
    assert {row.name for row in group.rows if group.sets[0].quality(row) is not None} == {"lora", "freeze"}
    index = write.write([run])
    for page in (index, index.parent / "summary.md"):
        assert "full was not measured on general: its loss is inf" in page.read_text()
