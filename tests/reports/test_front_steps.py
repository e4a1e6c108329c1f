"""The steps of the front in words and values, and the memory that places a cell on it."""

from pathlib import Path

from reports.analysis.cell_table import table_rows
from reports.analysis.comparison import compare
from reports.analysis.group import Group
from reports.analysis.recommendation.front_steps import front_json, front_sentence
from reports.pages.tables import cost_details
from tests.helpers.run_folders import MIB, example_run, record, write_run, write_scores
from trainables import results
from trainables.results import Record


def group_of(tmp_path: Path, *records: Record) -> Group:
    (group,) = compare([results.read_run(write_run(tmp_path / "run", list(records)))])
    return group


def test_each_step_says_what_the_best_cell_within_its_memory_has(tmp_path: Path) -> None:
    (group,) = compare([results.read_run(example_run(tmp_path / "methods"))])
    assert front_sentence(group) == (
        "Within 0.86 GiB: qlora-4bit 93.0 % (87.2 to 96.3); within 1.00 GiB: lora 96.9 % (92.2 to 98.8); "
        "within 2.51 GiB: full 98.4 % (94.5 to 99.6)."
    )
    steps = front_json(group)
    assert [(step["cell"], step["within_bytes"]) for step in steps] == [
        (row.cell.label, row.peak) for row in reversed(group.rows) if row.on_front
    ]
    assert all(0 < step["quality_low"] < step["quality"] < step["quality_high"] < 1 for step in steps)


def test_each_step_has_the_share_of_resamples_with_its_cell_on_the_front(tmp_path: Path) -> None:
    records = [
        record("aaa", "full", quality=0.9, peak_train_bytes=2000 * MIB, test_rows=100),
        record("bbb", "lora", quality=0.6, peak_train_bytes=1000 * MIB, test_rows=100),
        record("ccc", "freeze", quality=0.61, peak_train_bytes=1500 * MIB, test_rows=100),
    ]
    run = write_run(tmp_path / "run", records)
    for trial, right in (("aaa", range(90)), ("bbb", range(60)), ("ccc", range(30, 91))):
        write_scores(run, trial, [float(row in right) for row in range(100)])
    (group,) = compare([results.read_run(run)])
    shares = {step["cell"]: step["share_of_resamples"] for step in front_json(group)}
    assert group.choice is not None
    assert shares == group.choice.front_shares
    assert shares["sft-full"] == shares["sft-lora"] == 1.0
    assert 0.4 < shares["sft-freeze"] < 0.7  # better than lora by one row of 100


def test_a_cells_memory_is_the_largest_of_its_phases(tmp_path: Path) -> None:
    scoring = {"peak_load_bytes": 100 * MIB, "peak_train_bytes": 500 * MIB, "peak_eval_bytes": 900 * MIB}
    training = {"peak_load_bytes": 100 * MIB, "peak_train_bytes": 800 * MIB, "peak_eval_bytes": 300 * MIB}
    group = group_of(
        tmp_path,
        record("aaa", "lora", quality=0.7, **scoring),
        record("bbb", "full", quality=0.9, **training),
    )
    assert {row.name: (row.peak, row.on_front) for row in group.rows} == {
        "lora": (900 * MIB, False),
        "full": (800 * MIB, True),
    }
    assert record("ccc", peak_train_bytes=None, peak_load_bytes=MIB).peak_bytes is None


def test_what_the_allocator_held_stands_beside_what_was_allocated_where_it_was_measured(
    tmp_path: Path,
) -> None:
    on_gpu = group_of(tmp_path, record("aaa", reserved_bytes=1200 * MIB, memory_source="cuda"))
    table = cost_details(on_gpu)
    assert table.rows[0][table.columns.index("reserved by the allocator")] == "1.17 GiB"
    (values,) = table_rows([on_gpu])
    assert (values["peak_bytes"], values["reserved_bytes"]) == (1000 * MIB, 1200 * MIB)
    on_cpu = group_of(tmp_path / "cpu", record("bbb"))
    assert "reserved by the allocator" not in cost_details(on_cpu).columns
