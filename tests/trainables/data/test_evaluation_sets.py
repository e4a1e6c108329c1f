"""Further evaluation sets: which rows they are, of which kind, and that nothing of them is trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.helpers.own_rows import questions, write_lines
from trainables.config.data import DataConfig
from trainables.config.evaluation_sets import PlannedSet
from trainables.data.errors import DataError
from trainables.data.loading import load
from trainables.data.rows import Conversation, Text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_lines(tmp_path / "rows.jsonl", questions(40))
    others = [{"prompt": f"other {n}", "completion": "cd"} for n in range(30)]
    write_lines(tmp_path / "general.jsonl", [*others, *questions(2)])
    write_lines(tmp_path / "held.jsonl", [{"prompt": f"held {n}", "completion": "ab"} for n in range(20)])
    (tmp_path / "text.txt").write_text("\n\n".join(f"text number {n}" for n in range(5)))
    return tmp_path


def config(folder: Path, **settings: Any) -> DataConfig:
    given = {"train": "rows.jsonl", "eval_fraction": 0.25, "folder": folder, **settings}
    return DataConfig.model_validate(given)


def test_the_first_set_is_held_out_as_a_file_alone_is(folder: Path) -> None:
    alone = load(config(folder, eval="held.jsonl"))
    named = load(config(folder, eval={"mine": "held.jsonl", "text": "text.txt"}))
    assert (named.train, named.validation, named.test) == (alone.train, alone.validation, alone.test)
    assert named.sha256 == alone.sha256
    assert alone.sets == ()


def test_a_first_set_that_is_null_is_what_the_fraction_holds_out(folder: Path) -> None:
    sets = {"mine": None, "text": "text.txt"}
    assert load(config(folder, eval=sets)).test == load(config(folder)).test
    with pytest.raises(ValidationError, match="steers the search and is null, and eval_fraction: 0"):
        config(folder, eval=sets, eval_fraction=0)


def test_a_further_set_has_all_of_its_rows_or_the_first_of_them_by_hash(folder: Path) -> None:
    sets = {"mine": "held.jsonl", "general": "general.jsonl"}
    (whole,) = load(config(folder, eval=sets)).sets
    (part,) = load(config(folder, eval=sets, eval_rows=10)).sets
    assert (whole.name, whole.source, whole.row_type) == ("general", "general.jsonl", Conversation)
    assert (len(whole.rows), whole.total, len(part.rows), part.total) == (32, 32, 10, 32)
    assert list(part.rows) == list(whole.rows)[:10]
    turned = (folder / "general.jsonl").read_text().splitlines()[::-1]
    (folder / "turned.jsonl").write_text("\n".join(turned))
    (same,) = load(config(folder, eval=sets | {"general": "turned.jsonl"}, eval_rows=10)).sets
    assert list(same.rows) == list(part.rows)


@pytest.mark.parametrize("fewer", [{"num_samples": 10}, {"num_samples": [10]}, {"max_samples": 10}])
def test_a_further_set_is_the_same_for_every_number_of_training_rows(
    fewer: dict[str, Any], folder: Path
) -> None:
    sets = {"mine": "held.jsonl", "general": "general.jsonl"}
    (whole,) = load(config(folder, eval=sets)).sets
    (same,) = load(config(folder, eval=sets, **fewer)).sets
    assert (list(same.rows), same.total, same.sha256) == (list(whole.rows), 32, whole.sha256)


def test_training_rows_that_a_further_set_has_are_left_out(folder: Path) -> None:
    before = load(config(folder, eval="held.jsonl"))
    data = load(config(folder, eval={"mine": "held.jsonl", "general": "general.jsonl"}))
    left_out = {row.prompt[0]["content"] for row in before.train} - {
        row.prompt[0]["content"] for row in data.train
    }
    assert left_out == {"say 00", "say 01"}
    assert data.overlap - before.overlap == 2


def test_running_text_stays_running_text_whatever_columns_the_other_files_have(folder: Path) -> None:
    write_lines(folder / "rows.jsonl", [{"q": f"say {n}", "a": "ab"} for n in range(40)])
    settings = {"columns": {"prompt": "q", "response": "a"}, "eval": {"mine": None, "text": "text.txt"}}
    (text,) = load(config(folder, **settings)).sets
    assert text.row_type is Text
    assert all(row.text.startswith("text number") for row in text.rows)


def test_a_set_may_lack_the_group_and_the_variables_of_the_other_files(folder: Path) -> None:
    rows = [{"prompt": f"say {n} {{{{how}}}}", "completion": "ab", "user": n % 9} for n in range(60)]
    write_lines(folder / "rows.jsonl", rows)
    settings = {"group": "user", "variables": {"how": "loudly"}, "eval": {"mine": None, "text": "text.txt"}}
    data = load(config(folder, **settings))
    assert len(data.sets[0].rows) > 0
    assert "loudly" in data.train[0].prompt[0]["content"]


def test_what_is_wrong_with_a_set_is_said_at_its_name(folder: Path) -> None:
    with pytest.raises(DataError, match="no file") as missing:
        load(config(folder, eval={"mine": None, "general": "gone.jsonl"}))
    assert missing.value.setting == ("eval", "general")
    write_lines(folder / "odd.jsonl", [{"weight": 3}])
    with pytest.raises(DataError) as unreadable:
        load(config(folder, eval={"mine": None, "general": "odd.jsonl"}))
    assert unreadable.value.setting == ("eval", "general")


def test_a_set_that_has_changed_since_the_planning_is_refused(folder: Path) -> None:
    sets = {"mine": None, "general": "general.jsonl"}
    (planned,) = load(config(folder, eval=sets)).sets
    known = {"general": PlannedSet(sha256=planned.sha256)}
    assert load(config(folder, eval=sets, planned_sets=known)).sets
    write_lines(folder / "general.jsonl", questions(3))
    with pytest.raises(DataError, match="has changed since this was planned"):
        load(config(folder, eval=sets, planned_sets=known))


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        *((nothing, "got no evaluation set") for nothing in ({}, [], "")),
        *(({"mine": nothing}, "the evaluation set mine has no data") for nothing in ([], "")),
        ({"a b": "held.jsonl"}, "can't name an evaluation set"),
        (
            {"mine": None, "general_low": "text.txt", "general": "text.txt"},
            "general and general_low would share the column set_general_low",
        ),
        ({"mine": None, "b": "text.txt", "b_sha256": "text.txt"}, "b and b_sha256 would share the column"),
        ({"mine": None, "wiki": "text.txt", "Wiki": "held.jsonl"}, "wiki and Wiki differ in case alone"),
        ({"mine": "held.jsonl", "general": None}, "the evaluation set general has no data"),
    ],
)
def test_sets_that_say_nothing_are_refused(folder: Path, sets: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(folder, eval=sets)


def test_a_config_of_an_earlier_version_reads_as_it_was(folder: Path) -> None:
    written = json.loads(config(folder, eval=("held.jsonl",)).model_dump_json())
    del written["planned_sets"]
    read = DataConfig.model_validate_json(json.dumps(written))
    assert (read.eval_names, read.further_sets, read.set_names) == (("held.jsonl",), {}, ())


def test_a_number_of_rows_for_each_data_set_is_drawn_and_counted(folder: Path) -> None:
    given = {"train": ["rows.jsonl", "held.jsonl"], "eval_fraction": 0, "num_samples": [12, 5]}
    data = load(config(folder, **given))
    assert data.mixture == {"rows.jsonl": 12, "held.jsonl": 5}
    assert len(data.train) == 17
    more = load(config(folder, **given | {"num_samples": [20, 5]}))
    drawn, others = ({row.prompt[0]["content"] for row in each.train} for each in (data, more))
    assert drawn < others
    few = load(config(folder, **given | {"num_samples": [12, 30]}))
    assert any("held.jsonl has 20 usable rows, fewer than num_samples: 30" in each for each in few.warnings)
    with pytest.raises(ValidationError, match="num_samples has 3 numbers for 2 data sets"):
        config(folder, **given | {"num_samples": [1, 2, 3]})


def test_what_is_held_out_keeps_its_rows_where_each_data_set_has_a_number(folder: Path) -> None:
    whole = load(config(folder, train=["rows.jsonl", "general.jsonl"], eval="held.jsonl"))
    drawn = load(config(folder, train=["rows.jsonl", "general.jsonl"], eval="held.jsonl", num_samples=[9, 9]))
    assert (drawn.validation, drawn.test) == (whole.validation, whole.test)


def test_the_mixture_is_what_is_drawn_and_not_what_was_asked_for(folder: Path) -> None:
    given = {"train": ["rows.jsonl", "held.jsonl"], "eval_fraction": 0, "mix": "interleave_under"}
    data = load(config(folder, **given, weights=[1, 1]))
    contents = [row.prompt[0]["content"] for row in data.train]
    counts = {
        "rows.jsonl": sum(each.startswith("say") for each in contents),
        "held.jsonl": sum(each.startswith("held") for each in contents),
    }
    assert data.mixture == counts
    assert counts["rows.jsonl"] != counts["held.jsonl"]
    assert load(config(folder)).mixture == {}
