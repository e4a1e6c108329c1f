"""`paretune evaluate` of two results, of a text they should still know, and by benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.evaluations import evaluated, lines, metrics, paretune, record_of, rows_of
from tests.helpers.small_runs import make_run


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def methods(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A run of full and lora and their base, on 48 rows of a file of which 7 are the test part."""
    return make_run(tmp_path_factory.mktemp("methods"), tiny_model, (None, "full", "lora"))


# Two results


def test_two_results_are_compared_row_by_row(methods: Path) -> None:
    found = evaluated(f"{methods}:sft-full", f"{methods}:sft-base")
    one, other = metrics(found, 0), metrics(found, 1)
    loss = found["comparison"]["differences"]["loss"]
    assert loss["difference"] == one["loss"] - other["loss"]
    assert loss["low"] < loss["difference"] < loss["high"] < 0
    assert loss["settled"]
    assert found["comparison"]["sentence"].startswith(
        f"{methods}:sft-full is better than {methods}:sft-base by loss"
    )
    assert found["comparison"]["differences"]["exact_match"]["mcnemar_p"] == 1.0  # neither is ever right
    assert [row["row"] for row in rows_of(found)] == [
        row["row"] for row in rows_of(found, "predictions-other")
    ]
    assert metrics(found, 1)["loss"] == record_of(methods, "sft-base").metrics["loss"]


def test_a_result_is_no_better_than_itself(methods: Path) -> None:
    lora = f"{methods}:sft-lora"
    found = evaluated(lora, lora, "--by", "rougeL")
    assert found["comparison"]["by"] == "rougeL"
    assert "can't be told apart by rougeL" in found["comparison"]["sentence"]
    assert found["comparison"]["differences"]["loss"]["difference"] == 0


def test_what_is_measured_of_all_rows_at_once_is_compared_too(methods: Path, here: Path) -> None:
    found = evaluated(f"{methods}:sft-full", f"{methods}:sft-base", "--by", "chrf")
    chrf = found["results"][0]["metrics"]["chrf"]
    assert chrf["low"] <= chrf["value"] <= chrf["high"]
    difference = found["comparison"]["differences"]["chrf"]
    assert difference["low"] <= difference["difference"] <= difference["high"]
    assert "by chrf" in found["comparison"]["sentence"]

    labelled = [
        {"prompt": f"say {number}", "completion": said, "label": said == str(number)}
        for number in range(8)
        for said in (str(number), "zebra")
    ]
    file = lines(here / "labels.jsonl", labelled)
    found = evaluated(f"{methods}:sft-full", f"{methods}:sft-base", "--data", file)
    auc = found["results"][0]["metrics"]["auc"]
    assert auc["low"] <= auc["value"] <= auc["high"]
    assert found["comparison"]["by"] == "auc"
    assert found["comparison"]["differences"]["auc"]["rows"] == 16


def test_a_measure_that_is_not_there_loses_nothing(methods: Path) -> None:
    found = evaluated(f"{methods}:sft-full", f"{methods}:sft-base", "--no-generate", "--by", "bleu")
    assert found["comparison"]["by"] == "loss"
    assert any(
        "--by bleu: both results have no measure of that name by row; they have loss" in each for each in found["warnings"]
    )


def test_long_work_says_how_far_it_is(methods: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweeps.console import loading_progress

    monkeypatch.setattr(loading_progress, "LINE_SECONDS", 0.0)
    found = paretune("evaluate", f"{methods}:sft-lora", "--batch-size", 2)
    for line in ("computing log-likelihoods: 2 of 7", "computing log-likelihoods: 7 of 7", "generating answers: 2 of 7"):
        assert line in found.stderr


def test_the_table_says_it_for_people(methods: Path) -> None:
    found = paretune("evaluate", f"{methods}:sft-full", f"{methods}:sft-base", "--no-generate")
    said = " ".join(found.stdout.split())
    assert "the test part of rows.jsonl, 7 rows, as answers" in said
    assert "is better than" in said
    assert found.stderr == ""


# Forgetting


@pytest.mark.parametrize("cell", ["sft-full", "sft-lora"])
def test_forgetting_is_the_loss_before_and_after(methods: Path, here: Path, cell: str) -> None:
    (here / "known.txt").write_text("It was the best of times, it was the worst of times.\n" * 40)
    found = evaluated(f"{methods}:{cell}", "--forgetting", "known.txt", "--cutoff", 128)
    forgotten = found["results"][0]["forgetting"]
    base = evaluated(
        f"{methods}:sft-base",
        *("--data", lines(here / "known.jsonl", [{"text": Path("known.txt").read_text()}]), "--cutoff", 128),
    )
    before = {name: each["value"] for name, each in forgotten["before"].items()}
    assert before["loss"] == pytest.approx(metrics(base)["loss"], rel=1e-6)
    assert before["bits_per_byte"] == pytest.approx(metrics(base)["bits_per_byte"], rel=1e-6)
    loss = forgotten["differences"]["loss"]
    assert loss["difference"] == pytest.approx(forgotten["after"]["loss"]["value"] - before["loss"])
    assert loss["low"] <= loss["difference"] <= loss["high"]
    assert loss["rows"] > 3  # pieces
    assert found["data"] is None  # nothing else was asked for
    assert f"{methods}:{cell}" in forgotten["sentence"]


def test_a_base_model_has_nothing_to_forget(methods: Path, here: Path) -> None:
    (here / "known.txt").write_text("It was the best of times.")
    found = paretune("evaluate", f"{methods}:sft-base", "--forgetting", "known.txt")
    assert found.exit_code == 2
    assert "it was not trained" in found.stderr


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
    (folder / "opposites.yaml").write_text(TASK.format(file=lines(folder / "opposites.jsonl", rows)))
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
    found = evaluated(lora, f"{methods}:sft-base", "--part", "test", *benchmark)
    assert len(loads) == 1  # base, adapter, rows and benchmark
    assert found["results"][0]["harness"]["tasks"] == {"opposites": "1.0"}
    for place, name in enumerate(("benchmarks", "benchmarks-other")):
        scores = [json.loads(row["scores"])["acc"] for row in rows_of(found, name)]
        accuracy = found["results"][place]["benchmarks"]["opposites/acc"]
        assert accuracy["value"] == sum(scores) / 5
        assert 0 <= accuracy["low"] < accuracy["value"] < accuracy["high"] <= 1
    assert found["comparison"]["differences"]["opposites/acc"]["mcnemar_p"] is not None
    assert found["comparison"]["by"] == "loss"  # the rows' own
    assert metrics(found)["loss"] == record_of(methods, "sft-lora").metrics["loss"]


def test_the_answer_chosen_is_the_likeliest_by_our_own_count(methods: Path, tasks: Path) -> None:
    from reports.analysis.best_trials import recommended_trials
    from sweeps.runs.resolve import resolve
    from trainables.inference.model_pool import ModelPool
    from trainables.scoring.likelihood import log_likelihoods
    from trainables.tokenization.encode import IGNORED, Encoded

    name = f"{methods}:sft-full"
    found = evaluated(name, "--benchmark", "opposites", "--benchmark-folder", tasks)
    with ModelPool().load(resolve(name, recommended_trials)).active() as policy:
        for row, (word, choices, label) in zip(rows_of(found, "benchmarks"), QUESTIONS, strict=True):
            asked = policy.tokenizer(f"The opposite of {word} is")["input_ids"]
            whole = [policy.tokenizer(f"The opposite of {word} is {each}")["input_ids"] for each in choices]
            labels = [[IGNORED] * len(asked) + ids[len(asked) :] for ids in whole]
            rows = [Encoded(ids, own, len(asked), False) for ids, own in zip(whole, labels, strict=True)]
            likely = [judged.logprob for judged in log_likelihoods(policy, rows, 1)]
            assert json.loads(row["scores"])["acc"] == float(likely.index(max(likely)) == label)


def test_an_unknown_benchmark_is_said_before_a_model_is_loaded(methods: Path, tasks: Path) -> None:
    name = f"{methods}:sft-lora"
    found = paretune("evaluate", name, "--benchmark", "oposites", "--benchmark-folder", tasks)
    assert found.exit_code == 2
    assert "has no such task. Did you mean opposites" in found.stderr


def test_without_the_harness_what_to_install_is_said(methods: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainables.system import capabilities

    capabilities.check_capability.cache_clear()
    monkeypatch.setattr(capabilities, "find_spec", lambda name: None)
    found = paretune("evaluate", f"{methods}:sft-lora", "--benchmark", "opposites")
    capabilities.check_capability.cache_clear()
    assert found.exit_code == 2
    assert "pip install 'paretune[harness]'" in found.stderr
