"""Cells of the same quality are equal wherever they are compared, whatever the last bits of their means are."""

from __future__ import annotations

from typing import Any

import pytest

from reports.analysis.comparison import compare
from reports.analysis.group import Group
from reports.analysis.pairs import pair_rows
from reports.analysis.recommendation.answer import answer
from reports.pages.tables import quality_details
from reports.statistics.rounding import rounded
from tests.helpers.run_folders import MIB, record, write_run, write_scores
from trainables import results

ROWS = 23
RIGHT = {"full": (22, 20), "lora": (21, 21), "freeze": (15, 14)}  # by finalist


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Group:
    peaks = {"full": 2000, "lora": 540, "freeze": 600}
    trials: list[Any] = [record("base", "base", quality=2 / ROWS, test_rows=ROWS)]
    scores = {"base": 2}
    for method, rights in RIGHT.items():
        memory = {"peak_train_bytes": peaks[method] * MIB, "test_rows": ROWS}
        trials.append(record(method, method, **memory))
        scores[method] = 21
        for seed, right in enumerate(rights, start=1):
            name = f"{method}{seed}"
            trials.append(record(name, method, role="finalist", seed=seed, quality=right / ROWS, **memory))
            scores[name] = right
    run = write_run(tmp_path_factory.mktemp("tied") / "run", trials)
    for name, right in scores.items():
        write_scores(run, name, [1.0] * right + [0.0] * (ROWS - right))
    (group,) = compare([results.read_run(run)])
    return group


def test_the_means_of_equal_cells_are_equal(tied: Group) -> None:
    assert (22 / 23 + 20 / 23) / 2 != (21 / 23 + 21 / 23) / 2
    by_name = {row.name: row for row in tied.rows}
    assert by_name["full"].quality == by_name["lora"].quality == rounded(21 / 23)


def test_of_equal_cells_the_one_of_less_memory_is_first_and_alone_on_the_front(tied: Group) -> None:
    assert [row.name for row in tied.rows] == ["lora", "full", "freeze"]
    assert [row.name for row in tied.rows if row.on_front] == ["lora"]
    assert tied.choice is not None
    assert tied.choice.best == "sft-lora"


def test_the_answer_names_the_cheaper_of_equal_cells_and_says_that_the_other_has_the_same(
    tied: Group,
) -> None:
    text = answer(tied).text
    assert "lora" in text.partition(":")[0]
    assert "is the best measured (full has the same), and needs the least memory: 0.53 GiB" in text


def test_equal_cells_keep_all_of_the_gain_and_differ_by_nothing(tied: Group) -> None:
    table = quality_details(tied)
    gains = {row[0]: row[table.columns.index("of the largest gain")] for row in table.rows}
    assert gains["full"] == gains["lora"] == "100 %"
    (pair,) = (
        pair for pair in pair_rows([tied]) if {pair["cell"], pair["other"]} == {"sft-full", "sft-lora"}
    )
    assert str(pair["difference"]) == "0.0"
