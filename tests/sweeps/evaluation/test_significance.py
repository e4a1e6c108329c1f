"""`paretune evaluate` of two results, of a text they should still know, and by benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.evaluations import evaluation, metrics, paretune, record_of, rows_of, write_jsonl

# Two results


def test_two_results_are_compared_row_by_row(methods: Path) -> None:
    evaluated = evaluation(f"{methods}:sft-full", f"{methods}:sft-base")
    one, other = metrics(evaluated, 0), metrics(evaluated, 1)
    loss = evaluated["comparison"]["differences"]["loss"]
    assert loss["difference"] == one["loss"] - other["loss"]
    assert loss["low"] < loss["difference"] < loss["high"] < 0
    assert loss["settled"]
    assert evaluated["comparison"]["sentence"].startswith(
        f"{methods}:sft-full is better than {methods}:sft-base by loss"
    )
    assert evaluated["comparison"]["differences"]["exact_match"]["mcnemar_p"] == 1.0  # neither is ever right
    assert [row["row"] for row in rows_of(evaluated)] == [
        row["row"] for row in rows_of(evaluated, "predictions-other")
    ]
    assert metrics(evaluated, 1)["loss"] == record_of(methods, "sft-base").metrics["loss"]


def test_a_result_is_no_better_than_itself(methods: Path) -> None:
    lora = f"{methods}:sft-lora"
    evaluated = evaluation(lora, lora, "--by", "rougeL")
    assert evaluated["comparison"]["by"] == "rougeL"
    assert "can't be told apart by rougeL" in evaluated["comparison"]["sentence"]
    assert evaluated["comparison"]["differences"]["loss"]["difference"] == 0


def test_measures_of_all_rows_at_once_are_compared_too(methods: Path, workdir: Path) -> None:
    evaluated = evaluation(f"{methods}:sft-full", f"{methods}:sft-base", "--by", "chrf")
    chrf = evaluated["results"][0]["metrics"]["chrf"]
    assert chrf["low"] <= chrf["value"] <= chrf["high"]
    difference = evaluated["comparison"]["differences"]["chrf"]
    assert difference["low"] <= difference["difference"] <= difference["high"]
    assert "by chrf" in evaluated["comparison"]["sentence"]

    labelled = [
        {"prompt": f"say {number}", "completion": answer, "label": answer == str(number)}
        for number in range(8)
        for answer in (str(number), "zebra")
    ]
    file = write_jsonl(workdir / "labels.jsonl", labelled)
    evaluated = evaluation(f"{methods}:sft-full", f"{methods}:sft-base", "--data", file)
    auc = evaluated["results"][0]["metrics"]["auc"]
    assert auc["low"] <= auc["value"] <= auc["high"]
    assert evaluated["comparison"]["by"] == "auc"
    assert evaluated["comparison"]["differences"]["auc"]["rows"] == 16


def test_an_unknown_measure_to_compare_by_is_only_a_warning(methods: Path) -> None:
    evaluated = evaluation(f"{methods}:sft-full", f"{methods}:sft-base", "--no-generate", "--by", "bleu")
    assert evaluated["comparison"]["by"] == "loss"
    warning = "--by bleu: both results have no measure of that name by row; they have loss"
    assert any(warning in each for each in evaluated["warnings"])


def test_long_work_shows_progress(methods: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweeps.console import loading_progress

    monkeypatch.setattr(loading_progress, "LINE_SECONDS", 0.0)
    command = paretune("evaluate", f"{methods}:sft-lora", "--batch-size", 2)
    for line in (
        "computing log-likelihoods: 2 of 7",
        "computing log-likelihoods: 7 of 7",
        "generating answers: 2 of 7",
    ):
        assert line in command.stderr


def test_the_table_is_readable(methods: Path) -> None:
    command = paretune("evaluate", f"{methods}:sft-full", f"{methods}:sft-base", "--no-generate")
    output = " ".join(command.stdout.split())
    assert "the test part of rows.jsonl, 7 rows, as answers" in output
    assert "is better than" in output
    assert command.stderr == ""


# Forgetting


@pytest.mark.parametrize("cell", ["sft-full", "sft-lora"])
def test_forgetting_is_the_loss_before_and_after(methods: Path, workdir: Path, cell: str) -> None:
    (workdir / "known.txt").write_text("It was the best of times, it was the worst of times.\n" * 40)
    evaluated = evaluation(f"{methods}:{cell}", "--forgetting", "known.txt", "--cutoff", 128)
    forgotten = evaluated["results"][0]["forgetting"]
    base = evaluation(
        f"{methods}:sft-base",
        *(
            "--data",
            write_jsonl(workdir / "known.jsonl", [{"text": Path("known.txt").read_text()}]),
            "--cutoff",
            128,
        ),
    )
    before = {name: each["value"] for name, each in forgotten["before"].items()}
    assert before["loss"] == pytest.approx(metrics(base)["loss"], rel=1e-6)
    assert before["bits_per_byte"] == pytest.approx(metrics(base)["bits_per_byte"], rel=1e-6)
    loss = forgotten["differences"]["loss"]
    assert loss["difference"] == pytest.approx(forgotten["after"]["loss"]["value"] - before["loss"])
    assert loss["low"] <= loss["difference"] <= loss["high"]
    assert loss["rows"] > 3  # pieces
    assert evaluated["data"] is None  # nothing else was asked for
    assert f"{methods}:{cell}" in forgotten["sentence"]


def test_a_base_model_has_nothing_to_forget(methods: Path, workdir: Path) -> None:
    (workdir / "known.txt").write_text("It was the best of times.")
    command = paretune("evaluate", f"{methods}:sft-base", "--forgetting", "known.txt")
    assert command.exit_code == 2
    assert "it was not trained" in command.stderr


# Benchmarks

QUESTIONS = [
    ("hot", ["cold", "warm"], 0),
    ("big", ["large", "small"], 1),
    ("up", ["down", "over"], 0),
    ("dark", ["night", "light"], 1),
    ("fast", ["slow", "quick"], 0),
]
TASK = """
task: opposites
dataset_path: json
dataset_kwargs: {{data_files: {file}}}
test_split: train
output_type: multiple_choice
doc_to_text: "The opposite of {{{{word}}}} is"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{label}}}}"
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
metadata: {{version: 1.0}}
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a benchmark of five questions, each with two choices."""
    pytest.importorskip("lm_eval", reason="the extra `harness` is not installed")
    folder = tmp_path_factory.mktemp("tasks")
    rows = [{"word": word, "choices": choices, "label": label} for word, choices, label in QUESTIONS]
    (folder / "opposites.yaml").write_text(TASK.format(file=write_jsonl(folder / "opposites.jsonl", rows)))
    return folder


def test_a_benchmark_is_scored_by_the_harness_on_the_same_model(
    methods: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainables.inference import model_pool
    from trainables.trial import loading as policies

    loads: list[object] = []
    monkeypatch.setattr(
        model_pool, "load_base", lambda *given: loads.append(given) or policies.load_base(*given)
    )
    lora = f"{methods}:sft-lora"
    benchmark = ("--benchmark", "opposites", "--benchmark-folder", tasks)
    evaluated = evaluation(lora, f"{methods}:sft-base", "--part", "test", *benchmark)
    assert len(loads) == 1  # base, adapter, rows and benchmark
    assert evaluated["results"][0]["harness"]["tasks"] == {"opposites": "1.0"}
    for place, name in enumerate(("benchmarks", "benchmarks-other")):
        scores = [json.loads(row["scores"])["acc"] for row in rows_of(evaluated, name)]
        accuracy = evaluated["results"][place]["benchmarks"]["opposites/acc"]
        assert accuracy["value"] == sum(scores) / 5
        assert 0 <= accuracy["low"] < accuracy["value"] < accuracy["high"] <= 1
    assert evaluated["comparison"]["differences"]["opposites/acc"]["mcnemar_p"] is not None
    assert evaluated["comparison"]["by"] == "loss"  # the rows' own
    assert metrics(evaluated)["loss"] == record_of(methods, "sft-lora").metrics["loss"]


def test_the_harness_chooses_the_answer_that_is_most_likely_by_our_own_count(
    methods: Path, tasks: Path
) -> None:
    from reports.analysis.recommendation.best_trials import recommended_trials
    from sweeps.runs.resolve import resolve
    from trainables.inference.model_pool import ModelPool
    from trainables.scoring.likelihood import log_likelihoods
    from trainables.tokenization.encode import IGNORED, Encoded

    name = f"{methods}:sft-full"
    evaluated = evaluation(name, "--benchmark", "opposites", "--benchmark-folder", tasks)
    with ModelPool().load(resolve(name, recommended_trials)).active() as policy:
        for row, (word, choices, label) in zip(rows_of(evaluated, "benchmarks"), QUESTIONS, strict=True):
            asked = policy.tokenizer(f"The opposite of {word} is")["input_ids"]
            whole = [policy.tokenizer(f"The opposite of {word} is {each}")["input_ids"] for each in choices]
            labels = [[IGNORED] * len(asked) + ids[len(asked) :] for ids in whole]
            rows = [Encoded(ids, own, len(asked), False) for ids, own in zip(whole, labels, strict=True)]
            likely = [judged.logprob for judged in log_likelihoods(policy, rows, 1)]
            assert json.loads(row["scores"])["acc"] == float(likely.index(max(likely)) == label)


def test_an_unknown_benchmark_is_an_error_before_a_model_is_loaded(methods: Path, tasks: Path) -> None:
    name = f"{methods}:sft-lora"
    command = paretune("evaluate", name, "--benchmark", "oposites", "--benchmark-folder", tasks)
    assert command.exit_code == 2
    assert "has no such task. Did you mean opposites" in command.stderr


def test_without_the_harness_the_error_says_what_to_install(
    methods: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainables.system import capabilities

    capabilities.check_capability.cache_clear()
    monkeypatch.setattr(capabilities, "find_spec", lambda name: None)
    command = paretune("evaluate", f"{methods}:sft-lora", "--benchmark", "opposites")
    capabilities.check_capability.cache_clear()
    assert command.exit_code == 2
    assert "pip install 'paretune[harness]'" in command.stderr
