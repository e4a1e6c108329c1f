"""The answer's sentences, in the plain case and at the edges."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.analysis.comparison import compare
from reports.analysis.recommendation.answer import Answer, answer
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


def answer_by_row(tmp_path: Path, *records: Record, **scores: list[float]) -> Answer:
    """The answer where the trials, named by their ids, have these scores by row."""
    run = write_run(tmp_path / "run", list(records))
    for trial_id, values in scores.items():
        write_scores(run, trial_id, values)
    (group,) = compare([results.read_run(run)])
    return answer(group)


def rows(right: int, count: int = 1000) -> list[float]:
    return [1.0] * right + [0.0] * (count - right)


def test_the_example_run_is_answered_with_what_the_test_rows_carry(tmp_path: Path) -> None:
    (group,) = compare([results.read_run(example_run(tmp_path / "methods"))])
    result = answer(group)
    assert result.sentences == (
        "Use full (learning rate 0.0002): its exact match of 98.4 % (untuned: 3.1 %) is the best measured, and "
        "needs the most memory: 2.51 GiB at the peak.",
        "If memory is short: lora may be up to 4.2 points worse (1.6 points as measured) at 40 % of that memory and "
        "qlora-4bit may be up to 9.8 points worse (5.5 points as measured) at 34 % of that memory. 'Up to' is a "
        "one-sided bound, which lies nearer than the end of an interval.",
        "The memory of full was measured with weights and gradients in 32 bits (precision bf16, optimizer adamw).",
    )
    assert result.open_questions is not None
    assert (
        "lora against full (-1.6 points, 95 %: -4.5 to 1.5, p = 0.5, McNemar's exact test on 128 rows; "
        in (result.text)
    )
    assert "1 trial failed (full); 1 trial did not fit in memory (qlora-4bit)" in result.text
    assert result.open_questions.endswith(
        "each cell was trained once (seed 0), so that all of this is about these trained models on these test rows: "
        "trained again, they may come out otherwise."
    )


def test_a_cheaper_cell_is_recommended_where_it_is_as_good_within_the_margin(tmp_path: Path) -> None:
    full = record("aaa", "full", quality=0.951, **mib(2048, test_rows=1000))
    lora = record("bbb", "lora", quality=0.95, **mib(1024, test_rows=1000))
    base = record("ccc", "base", quality=0.2, test_rows=1000)
    result = answer_by_row(tmp_path, full, lora, base, aaa=rows(951), bbb=rows(950), ccc=rows(200))
    assert result.sentences[0] == (
        "Use lora: its exact match of 95.0 % (untuned: 20.0 %) is as good as the best, full's 95.1 %, within the "
        "margin of 2.0 points (at most 0.4 points worse); it keeps 99.9 % of what training gained. It needs 50 % of "
        "full's memory (1.00 GiB against 2.00 GiB at the peak)."
    )


@pytest.mark.parametrize(
    ("precisions", "said"),
    [
        (
            ("pure_bf16",),
            "The memory of full was measured with weights and gradients in 16 bits (precision pure_bf16",
        ),
        (
            ("bf16", "pure_bf16"),
            "of sft-full-a was measured with weights and gradients in 32 bits (precision bf16",
        ),
        ((None,), None),
    ],
)
def test_the_answer_names_the_precision_that_full_was_measured_in(
    precisions: tuple[str | None, ...], said: str | None, tmp_path: Path
) -> None:
    fulls = [
        record(
            f"{place}aa",
            "full",
            cell="sft-full" if len(precisions) == 1 else f"sft-full-{'ab'[place]}",
            config={"method": {"kind": "full"}, "train": {"precision": precision, "optimizer": "adamw"}},
            **mib(2000),
        )
        for place, precision in enumerate(precisions)
    ]
    text = answer_of(tmp_path, *fulls, record("bbb", quality=0.8, **mib(500))).text
    assert said in text if said else "was measured with weights" not in text


def test_the_answer_names_an_optimizer_that_has_settings(tmp_path: Path) -> None:
    train = {"precision": "bf16", "optimizer": {"kind": "galore", "rank": 64}}
    full = record("aaa", "full", config={"method": {"kind": "full"}, "train": train}, **mib(2000))
    text = answer_of(tmp_path, full, record("bbb", quality=0.8, **mib(500))).text
    assert "(precision bf16, optimizer galore)" in text


def test_the_best_of_several_has_an_interval_that_is_not_flattered(tmp_path: Path) -> None:
    dice = np.random.default_rng(3)
    methods = ("full", "lora", "freeze", "qlora-4bit")
    scores = {method: (dice.random(200) < 0.8).astype(float).tolist() for method in methods}
    run = write_run(
        tmp_path / "run", [record(name, name, quality=sum(scores[name]) / 200) for name in methods]
    )
    for name, values in scores.items():
        write_scores(run, name, values)
    (group,) = compare([results.read_run(run)])
    best = group.scored_rows[0]
    assert group.choice is not None
    assert best.own_interval is not None
    flattered = best.quality - group.choice.expected_quality  # type: ignore[operator]
    assert flattered > 0.01
    extended = best.own_interval[0] - flattered, best.own_interval[1]
    assert group.interval(best) == pytest.approx(extended)
    low, high = (f"{100 * end:.1f}" for end in extended)
    assert (
        f"expected to have {100 * group.choice.expected_quality:.1f} % (95 %: {low} to {high}) on new ones."
        in (answer(group).text)
    )


def test_not_told_apart_is_not_as_good(tmp_path: Path) -> None:
    """Of 64 rows, full gets 51 right and LoRA 48: truly equal, or truly ten points apart."""
    few = {"test_rows": 64}
    full = record("aaa", "full", quality=51 / 64, **mib(2048, **few))
    lora = record("bbb", "lora", quality=48 / 64, **mib(1024, **few))
    mixed = [1.0] * 44 + [0.0] * 7 + [1.0] * 4 + [0.0] * 9
    result = answer_by_row(tmp_path, full, lora, aaa=rows(51, 64), bbb=mixed)
    use = "Nothing is settled; by what was measured, use full: its exact match of 79.7 % is the best measured"
    assert result.sentences[0].startswith(use)
    assert (
        "If memory is short: lora may be up to 14.1 points worse (4.7 points as measured) at 50 %"
        in result.text
    )
    assert (
        "lora against full (-4.7 points, 95 %: -15.2 to 6.1, p = 0.55, McNemar's exact test on 64 rows; "
        in result.text
    )


def test_a_small_difference_in_loss_does_not_cost_four_times_the_memory(tmp_path: Path) -> None:
    """0.0022 nats are more than twice 0.0010, and 99.97 % of a gain of 4 nats."""
    full = record("aaa", "full", quality=0.001, **mib(3700), **LOSS)
    lora = record("bbb", quality=0.0022, **mib(1000), **LOSS)
    base = record("ccc", "base", quality=3.998, **LOSS)
    noise = [0.5, 1.5] * 30
    result = answer_by_row(
        tmp_path, full, lora, base,
        aaa=[0.001 * n for n in noise], bbb=[0.0022 * n for n in noise], ccc=[3.998 * n for n in noise],
    )  # fmt: skip
    assert result.sentences[0].startswith(
        "Use lora: its loss of 0.0022 (untuned: 3.998) is as good as the best"
    )
    assert "keeps 99.9 % of what training gained" in result.sentences[0]


def test_a_best_that_nothing_equals_is_recommended_with_what_is_cheaper(tmp_path: Path) -> None:
    full = record("aaa", "full", quality=0.9, **mib(2048, **BIG))
    lora = record("bbb", "lora", quality=0.7, **mib(1024, **BIG))
    freeze = record("ccc", "freeze", quality=0.4, **mib(1536, **BIG))
    assert answer_of(tmp_path, full, lora, freeze).sentences == (
        "Use full: its exact match of 90.0 % is the best, and needs the most memory: 2.00 GiB at the peak.",
        "If memory is short: lora is 20.0 points worse (95 %: 18.3 to 21.7) at 50 % of that memory.",
    )


def test_a_best_that_is_also_the_cheapest_needs_one_sentence(tmp_path: Path) -> None:
    full = record("aaa", "full", quality=0.7, **mib(2048, **BIG))
    lora = record("bbb", "lora", quality=0.9, **mib(1024, **BIG))
    assert answer_of(tmp_path, full, lora).sentences == (
        "Use lora: its exact match of 90.0 % is the best, and needs the least memory: 1.00 GiB at the "
        "peak, 50 % of full's.",
    )


def test_memory_that_differs_by_less_than_it_repeats_recommends_nothing(tmp_path: Path) -> None:
    full = record("aaa", "full", quality=0.951, **mib(1000, test_rows=1000))
    lora = record("bbb", "lora", quality=0.95, **mib(990, test_rows=1000))
    result = answer_by_row(tmp_path, full, lora, aaa=rows(951), bbb=rows(950))
    assert result.sentences[0].startswith("Use full")


def test_without_an_untuned_model_a_loss_has_no_margin_and_that_is_said(tmp_path: Path) -> None:
    full, lora = (
        record("aaa", "full", quality=1.0, **mib(2048), **LOSS),
        record("b", quality=1.02, **mib(1), **LOSS),
    )
    noise = [0.5, 1.5] * 30
    result = answer_by_row(tmp_path, full, lora, aaa=noise, b=[1.02 * n for n in noise])
    assert (
        "it takes a margin, for which the model before training has to be scored (or set report.margin)"
        in result.text
    )


def test_few_rows_and_rows_of_few_prompts_are_open_questions(tmp_path: Path) -> None:
    few = {"test_rows": 20}
    result = answer_by_row(
        tmp_path, record("aaa", "full", quality=0.9, **few), record("bbb", quality=0.8, **few),
        aaa=rows(18, 20), bbb=rows(16, 20),
    )  # fmt: skip
    assert "20 independent test rows are few: with fewer than 50 the intervals are too narrow" in result.text


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
    assert "lora against the untuned base model (1.6 points, 95 %: " in result.text


def test_memory_that_was_not_measured_is_an_open_question(tmp_path: Path) -> None:
    nothing = {"peak_train_bytes": None}
    result = answer_of(tmp_path, record("aaa", "full", **nothing), record("bbb", quality=0.5, **nothing))
    assert result.sentences == ("Use full: its exact match of 90.0 % is the best.",)
    assert "memory was not measured" in result.text


def test_memory_of_several_workers_is_stated_per_worker(tmp_path: Path) -> None:
    result = answer_of(tmp_path, record("aaa", "full", workers=2), record("bbb", quality=0.89, workers=1))
    assert "full's memory is that of each of its 2 workers" in result.text
    assert "lora's memory is" not in result.text


def test_a_cell_of_unknown_memory_is_named_and_nothing_is_called_cheaper_than_it(tmp_path: Path) -> None:
    result = answer_of(tmp_path, record("aaa", "full", peak_train_bytes=None), record("bbb", quality=0.89))
    assert result.sentences[0].endswith("use full: its exact match of 90.0 % is the best measured.")
    assert "the memory of full was not measured" in result.text


def test_different_rows_are_an_open_question(tmp_path: Path) -> None:
    result = answer_of(tmp_path, record("aaa", data_sha256="1"), record("bbb", "full", data_sha256="2"))
    assert "did not train on the same rows" in result.text


def test_trainings_with_other_seeds_that_did_not_end_are_said(tmp_path: Path) -> None:
    """A cell may look good because its bad seeds have no quality."""
    finalists = [
        record(f"{method}{seed}", method, role="finalist", seed=seed, status=status, quality=0.4 * seed)
        for method, seed, status in (
            *(("full", 1, "done"), ("full", 2, "done")),
            *(("lora", 1, "done"), ("lora", 2, "failed"), ("lora", 3, "out_of_memory")),
        )
    ]
    run = write_run(tmp_path / "run", [record("full", "full"), record("lora", "lora"), *finalists])
    for trial_id in ("full1", "full2", "lora1"):
        write_scores(run, trial_id, rows(int(trial_id[-1]) * 400))
    (group,) = compare([results.read_run(run)])
    text = answer(group).text
    assert "2 of 3 trainings of lora with other seeds did not end, so that its figure may be too good" in text
    assert "trainings of full" not in text
    assert (
        "lora was trained once, so that how much other seeds change it is taken from the other cells" in text
    )


def test_cells_trained_with_several_seeds_need_no_word_on_the_seed(tmp_path: Path) -> None:
    trials = [record("aaa"), record("bbb", "full")]
    assert "each cell was trained once (seed 0)" in answer_of(tmp_path / "once", *trials).text
    for seed in (1, 2):
        trials += [
            record(f"{method}{seed}", method, role="finalist", seed=seed) for method in ("lora", "full")
        ]
    run = write_run(tmp_path / "run", trials)
    for one in trials:
        write_scores(run, one.trial_id, rows(90, 100))
    (group,) = compare([results.read_run(run)])
    assert "each cell was trained once" not in answer(group).text


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
