"""How many rows a proposed spec holds out: enough to tell anything, where the data has as many."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.drafting.budget import usual_share
from sweeps.drafting.held_out import held_out_share
from sweeps.planning.assessment.few_rows import LEAST_ROWS
from tests.helpers.own_rows import questions, write_lines
from trainables.config.data import DataConfig
from trainables.data.loading import load
from trainables.data.rows import Conversation


def data_of(folder: Path, rows: int, **settings: object) -> DataConfig:
    path = write_lines(folder / "my.jsonl", questions(rows))
    return DataConfig.model_validate({"train": str(path), "split_by": "first_turn", **settings})


@pytest.mark.parametrize("rows", [150, 200, 260])
def test_of_few_rows_the_smallest_share_is_held_out_that_leaves_enough_in_both_halves(
    tmp_path: Path, rows: int
) -> None:
    data = data_of(tmp_path, rows)
    share = held_out_share(data, Conversation, usual_share(rows))

    def smaller_half(value: float) -> int:
        split = load(data.model_copy(update={"eval_fraction": value}), Conversation)
        return min(len(split.validation), len(split.test))

    assert smaller_half(share.value) >= LEAST_ROWS
    if share.value > usual_share(rows):
        assert smaller_half(share.value - 0.05) < LEAST_ROWS
        assert share.note is not None
        assert f"a smaller share leaves fewer than {LEAST_ROWS} rows in a half" in share.note


def test_where_a_half_of_the_rows_is_not_enough_the_usual_share_stays_and_it_is_said_why(
    tmp_path: Path,
) -> None:
    share = held_out_share(data_of(tmp_path, 60), Conversation, 0.3)
    assert share.value == 0.3
    assert share.note is not None
    assert (
        f"the data has too few for {LEAST_ROWS} of each half, so the comparison will mostly show chance"
        in share.note
    )


def test_many_rows_and_rows_that_the_user_divided_need_no_word(tmp_path: Path) -> None:
    assert held_out_share(data_of(tmp_path, 1000), Conversation, 0.1).note is None
    given = data_of(tmp_path, 60, eval_fraction=0.2)
    assert held_out_share(given, Conversation, 0.3).note is None
