"""The answer's sentences, in the plain case and at the edges."""

from pathlib import Path
from typing import Any

import pytest

from reports.analysis.answer import Answer, answer
from reports.analysis.comparison import compare
from tests.helpers.run_folders import MIB, example_run, failed, record, write_journal, write_run, write_scores
from trainables import results
from trainables.results import Record

BIG = {"test_rows": 4000}
LOSS = {"quality_name": "loss", "quality_unit": None, "quality_higher_is_better": False}


def answer_of(tmp_path: Path, *records: Record) -> Answer:
    (group,) = compare([results.read_run(write_run(tmp_path / "run", list(records)))])
    return answer(group)


def mib(count: int, **more: Any) -> dict[str, Any]:
    return {"peak_train_bytes": count * MIB} | more


def test_the_cheapest_cell_that_ties_with_the_best_is_recommended(tmp_path: Path) -> None:
    (group,) = compare([results.read_run(example_run(tmp_path / "methods"))])
    result = answer(group)
    assert result.sentences == (
        "Use lora (rank 8, alpha 16, learning rate 0.002): its exact match of 96.9 % (untuned: 3.1 %) is "
        "98 % of the best, full's 98.4 %, at 40 % of full's memory (1.00 GiB against 2.51 GiB at the "
        "peak).",
        "If memory is short: qlora-4bit gives 93.0 % at 86 % of that memory.",
    )
    assert result.open_questions is not None
    assert (
        "lora and full differ by no more than the error (Newcombe's 95 % interval on 128 test rows)"
        in result.text
    )
    assert "1 trial failed (full); 1 trial did not fit in memory (qlora-4bit)" in result.text
    assert result.open_questions.endswith("only one seed (0) was used.")


def test_a_best_that_nothing_ties_with_is_recommended_with_what_is_cheaper(tmp_path: Path) -> None:
    full = record("aaa", "full", quality=0.9, **mib(2048, **BIG))
    lora = record("bbb", "lora", quality=0.7, **mib(1024, **BIG))
    freeze = record("ccc", "freeze", quality=0.4, **mib(1536, **BIG))
    assert answer_of(tmp_path, full, lora, freeze).sentences == (
        "Use full: its exact match of 90.0 % is the best, but it also needs the most memory: 2.00 GiB "
        "at the peak.",
        "If memory is short: lora gives 70.0 % at 50 % of that memory.",
    )


def test_a_best_that_is_also_the_cheapest_needs_one_sentence(tmp_path: Path) -> None:
    full = record("aaa", "full", quality=0.7, **mib(2048, **BIG))
    lora = record("bbb", "lora", quality=0.9, **mib(1024, **BIG))
    assert answer_of(tmp_path, full, lora).sentences == (
        "Use lora: its exact match of 90.0 % is the best, and no other cell needs less memory: it has a "
        "peak memory of 1.00 GiB, 50 % of full's.",
    )


def test_a_much_worse_cell_is_not_recommended_because_test_rows_are_few(tmp_path: Path) -> None:
    full = record("aaa", "full", quality=0.9, **mib(2048, test_rows=10))
    lora = record("bbb", "lora", quality=0.6, **mib(1024, test_rows=10))
    result = answer_of(tmp_path, full, lora)
    assert result.sentences[0].startswith("Use full")
    assert "lora and full differ by no more than the error" in result.text


def test_rows_can_settle_what_proportions_leave_open(tmp_path: Path) -> None:
    full, lora = record("aaa", "full", quality=1.0, **mib(2048)), record("bbb", quality=0.9375, **mib(1024))
    run = write_run(tmp_path / "run", [full, lora])
    write_scores(run, "aaa", [1.0] * 128)
    write_scores(run, "bbb", [1.0] * 120 + [0.0] * 8)
    (group,) = compare([results.read_run(run)])
    assert answer(group).sentences[0].startswith("Use full")


def test_a_loss_says_how_far_above_the_lowest_it_is(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run",
        [
            record("aaa", "full", quality=1.0, **mib(2048), **LOSS),
            record("bbb", quality=1.02, **mib(1024), **LOSS),
        ],
    )
    write_scores(run, "aaa", [0.5, 1.5] * 20)
    write_scores(run, "bbb", [1.52, 0.52] * 20)
    (group,) = compare([results.read_run(run)])
    assert answer(group).sentences[0] == (
        "Use lora: its loss of 1.02 is 2 % above the lowest, full's 1, at 50 % of full's memory (1.00 "
        "GiB against 2.00 GiB at the peak)."
    )


def test_a_loss_without_scores_by_row_has_no_known_error(tmp_path: Path) -> None:
    full, lora = (
        record("aaa", "full", quality=1.0, **mib(2048), **LOSS),
        record("b", quality=1.02, **mib(1024), **LOSS),
    )
    result = answer_of(tmp_path, full, lora)
    assert result.sentences[0].startswith("Use full")
    assert "the error of the difference between lora and full is unknown" in result.text


def test_no_finished_trial_is_no_answer(tmp_path: Path) -> None:
    result = answer_of(tmp_path, failed("aaa", "full"), failed("bbb"), record("ccc", status="stopped"))
    assert result.text == (
        "There is no answer: no trial of sft of smollm2-135m on commands finished "
        "(1 stopped early and 2 failed)."
    )


def test_a_cell_without_a_finished_trial_is_named(tmp_path: Path) -> None:
    result = answer_of(tmp_path, record("aaa", "full"), record("bbb"), failed("ccc", "freeze"))
    assert "freeze has no result" in result.text


def test_a_single_cell_is_not_compared(tmp_path: Path) -> None:
    result = answer_of(tmp_path, record("aaa", **mib(1024)))
    assert result.sentences == (
        "Only lora was tried, so there is nothing to compare it with: its exact match is 90.0 % with a "
        "peak memory of 1.00 GiB.",
    )


def test_one_cell_with_a_result_is_not_compared(tmp_path: Path) -> None:
    assert "Only lora has a finished trial" in answer_of(tmp_path, record("aaa"), failed("bbb", "full")).text


@pytest.mark.parametrize(("base", "verb"), [(0.95, "beats"), (0.9, "equals")])
def test_a_base_model_as_good_as_any_method_is_recommended(tmp_path: Path, base: float, verb: str) -> None:
    result = answer_of(
        tmp_path, record("aaa", "base", quality=base), record("bbb"), record("ccc", "full", quality=0.8)
    )
    assert result.sentences == (
        f"Use none of these methods: the untuned base model ({base * 100:.1f} %) {verb} the best result of "
        "training, lora's 90.0 %.",
    )


def test_a_base_model_within_the_error_is_an_open_question(tmp_path: Path) -> None:
    result = answer_of(
        tmp_path, record("aaa", "base", quality=0.88), record("bbb"), record("ccc", "full", quality=0.5)
    )
    assert "lora and the untuned base model differ by no more than the error" in result.text


def test_memory_that_was_not_measured_is_an_open_question(tmp_path: Path) -> None:
    nothing = {"peak_train_bytes": None}
    result = answer_of(tmp_path, record("aaa", "full", **nothing), record("bbb", quality=0.5, **nothing))
    assert result.sentences == ("Use full: its exact match of 90.0 % is the best.",)
    assert "memory was not measured" in result.text


def test_memory_of_several_workers_is_stated_per_worker(tmp_path: Path) -> None:
    result = answer_of(tmp_path, record("aaa", "full", workers=2), record("bbb", quality=0.89, workers=1))
    assert "full's memory is that of each of its 2 workers" in result.text
    assert "lora's memory is" not in result.text


def test_a_cell_of_unknown_memory_is_named_and_no_tie_is_called_cheaper_than_it(tmp_path: Path) -> None:
    result = answer_of(tmp_path, record("aaa", "full", peak_train_bytes=None), record("bbb", quality=0.89))
    assert result.sentences[0] == "Use full: its exact match of 90.0 % is the best."
    assert "the memory of full was not measured" in result.text


def test_different_rows_are_an_open_question(tmp_path: Path) -> None:
    result = answer_of(tmp_path, record("aaa", data_sha256="1"), record("bbb", "full", data_sha256="2"))
    assert "did not train on the same rows" in result.text


def test_a_winner_trained_again_with_another_seed_removes_the_open_question_of_the_seed(
    tmp_path: Path,
) -> None:
    trials = [record("aaa"), record("bbb", "full"), record("ccc", role="finalist", seed=1)]
    assert "seed" not in answer_of(tmp_path, *trials).text


@pytest.mark.parametrize(("rate", "edge"), [(4.9e-3, "high"), (1.05e-4, "low"), (7e-4, None)])
def test_a_learning_rate_at_the_edge_of_its_domain_is_an_open_question(
    tmp_path: Path, rate: float, edge: str | None
) -> None:
    from optuna.distributions import FloatDistribution

    trials = [
        record(name, objective=objective, config={"train": {"learning_rate": value}})
        for name, objective, value in (("aaa", 0.9, rate), ("bbb", 0.5, 1e-3))
    ]
    run = write_run(tmp_path / "run", trials)
    study = [({"train.learning_rate": rate}, 0.9), ({"train.learning_rate": 1e-3}, 0.5)]
    write_journal(run, "sft-lora", study, {"train.learning_rate": FloatDistribution(1e-4, 5e-3, log=True)})
    (group,) = compare([results.read_run(run)])
    sentence = f"lora's best learning rate lies at the {edge} end of its search domain"
    assert (sentence in answer(group).text) == (edge is not None)
