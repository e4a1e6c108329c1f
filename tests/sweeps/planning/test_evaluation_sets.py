"""What `plan` says of evaluation sets: their rows, how they are scored, and rows that are trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeps.planning.plan_json import plan_json
from sweeps.planning.times import speeds
from sweeps.planning.times.speeds import Speed, sets_key, similarity_key
from tests.helpers.own_rows import write_lines
from tests.helpers.specs import SPEC, own_spec_folder, plan, problems

SETS = SPEC.replace(
    "eval_fraction: 0.4", "eval_fraction: 0.4, eval: {mine: null, text: text.txt, general: b.jsonl}"
)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "text.txt").write_text("\n\n".join(f"a text of number {n}" for n in range(40)))
    long = "an answer of more than forty characters, which is long"
    write_lines(tmp_path / "b.jsonl", [{"prompt": f"other {n}", "completion": long} for n in range(35)])
    return own_spec_folder(tmp_path, monkeypatch)


def test_the_plan_has_the_sets_their_rows_and_their_measures(workdir: Path) -> None:
    planned = plan(workdir, SETS)
    assert not planned.errors
    for cell in planned.cells:
        assert [(each.name, each.total, each.metric.name) for each in cell.evaluation_sets][1] == (
            "general",
            35,
            "loss",
        )
    (note,) = [each for each in planned.notes if each.startswith("evaluation set text")]
    assert note.endswith("rows of text.txt, scored by loss (nats per token); it steers nothing")
    values = plan_json(planned)["cells"][0]["evaluation_sets"]
    assert [each["name"] for each in values] == ["text", "general"]
    assert values[1] == {
        "name": "general", "data": "b.jsonl", "rows": 35, "total_rows": 35, "quality_name": "loss",
        "quality_unit": "nats per token",
    }  # fmt: skip


def test_the_fraction_decides_what_is_held_out_where_the_first_set_is_null(workdir: Path) -> None:
    def told(text: str) -> bool:
        return any("data.eval decides which rows are held out" in each for each in problems(workdir, text))

    assert not told(SETS)
    write_lines(workdir / "held.jsonl", [{"prompt": f"held {n}", "completion": "x"} for n in range(60)])
    assert told(SETS.replace("mine: null", "mine: held.jsonl"))


def test_each_set_has_the_measure_that_suits_its_answers_unless_the_spec_says_one(workdir: Path) -> None:
    data = plan(workdir, SETS).cells[0].first().data
    assert (data.quality, data.planned_sets["general"].quality) == ("exact_match", "loss")
    said = plan(workdir, SETS, ("data.quality=rouge_l",)).cells[0].evaluation_sets[1]
    assert said.metric.name == "rougeL"


def test_what_is_held_in_a_set_is_part_of_what_a_trial_is_and_where_it_lies_is_not(workdir: Path) -> None:
    before = plan(workdir, SETS).cells[0].first().trial_id()
    assert plan(workdir, SPEC).cells[0].first().trial_id() != before
    (workdir / "b.jsonl").rename(workdir / "c.jsonl")
    assert plan(workdir, SETS.replace("b.jsonl", "c.jsonl")).cells[0].first().trial_id() == before
    write_lines(workdir / "c.jsonl", [{"prompt": f"further {n}", "completion": "x"} for n in range(35)])
    assert plan(workdir, SETS.replace("b.jsonl", "c.jsonl")).cells[0].first().trial_id() != before


def test_rows_that_steer_the_search_and_sets_of_few_rows_are_warned_of_at_their_name(workdir: Path) -> None:
    rows = (workdir / "rows.jsonl").read_text().splitlines()
    (workdir / "b.jsonl").write_text("\n".join(rows[:30]))
    (workdir / "text.txt").write_text("one text")
    found = problems(workdir, SETS)
    assert any("data.eval.text: evaluation set text has 1 row: its figures" in each for each in found)
    assert any(
        "data.eval.general: evaluation set general" in each and "of a validation row, by which" in each
        for each in found
    )


def test_turns_of_a_set_that_are_trained_on_are_warned_of(workdir: Path) -> None:
    turns = [
        {"messages": [{"role": "user", "content": f"say {n}"}, {"role": "assistant", "content": "x"}]}
        for n in range(60)
    ]
    for row in turns:  # another opening, so that the split does not know them
        row["messages"][:0] = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    write_lines(workdir / "b.jsonl", turns)
    assert any("evaluation set general" in each and "trained on" in each for each in problems(workdir, SETS))


def test_running_text_is_refused_where_a_model_predicts_none(workdir: Path) -> None:
    pairs = [{"prompt": f"say {n}", "chosen": "a", "rejected": "b"} for n in range(60)]
    (workdir / "rows.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    text = SETS.replace("kind: sft", "kind: reward").replace(", general: b.jsonl", "")
    (problem,) = {each for each in problems(workdir, text) if "text" in each}
    assert (
        "data.eval.text: text is running text, and reward trains a model that gives texts a score" in problem
    )


@pytest.mark.parametrize(
    ("sets", "problem"),
    [
        ("{mine: null, general: gone.jsonl}", "data.eval.general: no file gone.jsonl"),
        ("{mine: rows.jsonl, b c: b.jsonl}", "data.eval: 'b c' can't name an evaluation set"),
        ("3", "data.eval: got 3; allowed: "),
    ],
)
def test_a_mistake_in_a_set_is_reported_where_it_is(workdir: Path, sets: str, problem: str) -> None:
    text = SPEC.replace("eval_fraction: 0.4", f"eval_fraction: 0.4, eval: {sets}")
    assert any(problem in each for each in problems(workdir, text))


def test_a_path_of_set_is_relative_to_where_one_stands(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = workdir / "here"
    write_lines(here / "mine.jsonl", [{"prompt": f"mine {n}", "completion": "x"} for n in range(35)])
    monkeypatch.chdir(here)
    planned = plan(workdir, SETS, ("data.eval.general=mine.jsonl",))
    assert planned.cells[0].evaluation_sets[1].source == "mine.jsonl"


def test_the_time_of_the_sets_is_that_of_the_same_sets_as_soon_as_they_were_scored_once(
    workdir: Path,
) -> None:
    cell = plan(workdir, SETS).cells[0]
    config = cell.suggested()
    known = {"similarity": similarity_key(config, 1), "hardware": speeds.hardware(False)}
    known |= {"model": config.model.label, "parameters": 1000, "cpus": cell.resources.cpus, "data": ""}
    times = {"tokens": 100, "rows": 10, "train_seconds": 1.0, "test_rows": 10, "test_seconds": 10.0}
    other = Speed(**known, **times, other_seconds=0.0)  # type: ignore[arg-type]
    speeds.store({"a": other})
    scored = sum(each.rows for each in cell.evaluation_sets)
    time = plan(workdir, SETS).times().cells[cell.name]
    assert time is not None
    assert time.trial.sets == pytest.approx(scored)  # a second a row, as of the test rows
    own = {"sets": sets_key(config), "set_rows": 10, "set_seconds": 30.0}
    speeds.store({"b": Speed(**known, **times, other_seconds=0.0, **own)})  # type: ignore[arg-type]
    time = plan(workdir, SETS).times().cells[cell.name]
    assert time is not None
    assert time.trial.sets == pytest.approx(3 * scored)
    without = plan(workdir, SPEC).times().cells[cell.name]
    assert without is not None
    assert without.trial.sets == 0


def test_shares_that_are_compared_are_cells_of_their_own_with_what_is_really_drawn(workdir: Path) -> None:
    weights = "mix: interleave_under, weights: {compare: [[1, 1], [3, 1]]}"
    planned = plan(workdir, SETS.replace("train: rows.jsonl", f"train: [rows.jsonl, c.jsonl], {weights}"))
    assert planned.errors  # there is no c.jsonl yet
    write_lines(workdir / "c.jsonl", [{"prompt": f"more {n}", "completion": "x"} for n in range(60)])
    planned = plan(workdir, SETS.replace("train: rows.jsonl", f"train: [rows.jsonl, c.jsonl], {weights}"))
    assert not planned.errors
    even, uneven = planned.cells[:2]
    assert (even.name, uneven.name) == ("sft-full-weights1-1", "sft-full-weights3-1")
    shares = [each.mixture["rows.jsonl"] / sum(each.mixture.values()) for each in (even, uneven)]
    assert shares[0] < shares[1]
    rows = ", ".join(f"{count} of {name}" for name, count in even.mixture.items()).split(", ")[0]
    assert any(f"training rows are {rows} (" in note for note in planned.notes)
    assert plan_json(planned)["cells"][0]["mixture"] == even.mixture
    assert [base.cell for base in planned.bases] == ["sft-base"]  # which sees nothing of the shares
