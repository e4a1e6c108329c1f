"""`paretune evaluate`: results measured as their trials measured themselves, on other data, and against one another."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.helpers.evaluations import evaluation, metrics, paretune, record_of, rows_of, write_jsonl
from tests.helpers.small_runs import make_run, trial_id_of
from tests.helpers.tiny_model import make_model
from tests.helpers.trials import make_config, run, write_rows
from trainables import results
from trainables.data import loading
from trainables.data.embedded import commands
from trainables.data.embedded.command_kinds import KINDS
from trainables.storage import files
from trainables.trial import starting_weights

STAGES: dict[str, dict[str, Any]] = {
    "sft": {},
    "pretrain": {},
    "dpo": {},
    "orpo": {},
    "reward": {},
    "kto": {},
    "ppo": {"reward": "commands", "max_new_tokens": 8},
    # As planning takes them from the rows.
    "classification": {"labels": sorted(set(KINDS.values())), "multi_label": False},
}


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A run with a lora trial of each stage, on eight rows of the embedded data."""
    folder = tmp_path_factory.mktemp("stages") / "run"
    for kind, options in STAGES.items():
        config = make_config(tiny_model, "commands", "lora", stage={"kind": kind, **options}, eval_rows=8)
        run(config, folder, memory_gauge=None)
    results.write_tables(folder)
    return folder


# As the trial measured itself


@pytest.mark.parametrize("kind", STAGES)
def test_a_trial_on_its_own_test_part_is_what_its_record_says(stages: Path, kind: str) -> None:
    record = record_of(stages, f"{kind}-lora")
    evaluated = evaluation(f"{stages}:{record.trial_id}")
    assert record.quality_name is not None
    assert metrics(evaluated)[record.quality_name] == record.quality
    if "auc" in record.metrics:  # the measure that preference stages have in common
        assert metrics(evaluated)["auc"] == record.metrics["auc"]
    assert evaluated["results"][0]["main_metric"] == record.quality_name
    assert evaluated["results"][0]["trial_id"] == record.trial_id
    assert (evaluated["data"]["part"], evaluated["data"]["sha256"]) == ("test", record.data_sha256)
    assert evaluated["warnings"] == []


@pytest.mark.parametrize("cell", ["sft-base", "sft-full", "sft-lora"])
def test_every_method_has_the_loss_of_its_record_and_measures_of_its_answers(
    methods: Path, cell: str
) -> None:
    record, evaluated = record_of(methods, cell), evaluation(f"{methods}:{cell}")
    assert metrics(evaluated)["loss"] == record.metrics["loss"]
    assert {"perplexity", "bits_per_byte", "exact_match", "bleu", "chrf", "rougeL"} < metrics(
        evaluated
    ).keys()


def test_a_trial_that_generates_answers_records_the_same_measures_as_an_evaluation(
    tmp_path: Path, tiny_model: Path
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl")
    stage = {"kind": "sft", "predict_with_generate": True}
    config = make_config(tiny_model, rows, "lora", stage=stage)
    record = run(config, tmp_path / "run", memory_gauge=None)
    assert record.quality_name == "loss"
    evaluated = metrics(evaluation(f"{tmp_path}/run:{record.trial_id}"))
    texts = {"bleu", "sentence_bleu", "chrf", "sentence_chrf", "rouge1", "rouge2", "rougeL"}
    assert record.metrics == {name: evaluated[name] for name in ("loss", "exact_match", *texts)}
    predictions = pq.read_table(
        tmp_path / "run" / "trials" / record.trial_id / "predictions.parquet"
    ).to_pylist()
    assert all(row["prediction"] is not None for row in predictions)
    assert {"sacrebleu", "rouge-score"} <= record.packages.keys()


def test_a_function_that_a_run_folder_names_is_not_run_and_said(tmp_path: Path, tiny_model: Path) -> None:
    scores, ran = tmp_path / "scores.py", tmp_path / "ran"
    scores.write_text(f"def f(*_): return 1\nopen({str(ran)!r}, 'w').close()\n")
    config = make_config(tiny_model, write_rows(tmp_path / "rows.jsonl"))
    judged = {"quality": "scores:f", "quality_file": scores, "quality_sha256": files.file_sha256(scores)}
    config = config.model_copy(update={"data": config.data.model_copy(update=judged)})
    record = run(config, tmp_path / "run", memory_gauge=None)
    assert record.quality_name == "f"
    ran.unlink()
    evaluated = evaluation(f"{tmp_path}/run:{record.trial_id}")
    assert not ran.exists()
    assert evaluated["results"][0]["main_metric"] == "loss"
    assert any(
        "judged by scores:f, which is run with --scorer scores:f alone" in each
        for each in evaluated["warnings"]
    )


@pytest.mark.parametrize("quality", ["rouge_l", "chrf", "exact_match"])
def test_a_trials_own_rows_are_judged_as_the_trial_judged_them(
    tmp_path: Path, tiny_model: Path, quality: str
) -> None:
    config = make_config(tiny_model, write_rows(tmp_path / "rows.jsonl"))
    config = config.model_copy(update={"data": config.data.model_copy(update={"quality": quality})})
    record = run(config, tmp_path / "run", memory_gauge=None)
    evaluated = evaluation(f"{tmp_path}/run:{record.trial_id}")
    assert evaluated["results"][0]["main_metric"] == record.quality_name
    assert metrics(evaluated)[str(record.quality_name)] == record.quality


@pytest.mark.parametrize("bits", [4, 8])
def test_an_adapter_on_a_quantized_base_has_the_loss_of_its_record(
    tmp_path: Path, tiny_model: Path, bits: int
) -> None:
    run, cell = make_run(tmp_path, tiny_model, (f"qlora-{bits}bit",)), f"sft-qlora-{bits}bit"
    assert metrics(evaluation(f"{run}:{cell}"))["loss"] == record_of(run, cell).metrics["loss"]


def test_predictions_are_those_of_the_trial(stages: Path) -> None:
    record = record_of(stages, "sft-lora")
    own = pq.read_table(stages / "trials" / record.trial_id / "predictions.parquet").to_pylist()
    rows = rows_of(evaluation(f"{stages}:{record.trial_id}"))
    for mine, its in zip(rows, own, strict=True):
        assert {name: mine[name] for name in ("row", "prompt", "reference", "prediction")} == {
            name: its[name] for name in ("row", "prompt", "reference", "prediction")
        }
        assert mine["exact_match"] == its["score"]


def test_the_validation_part_is_what_steered_the_search(methods: Path) -> None:
    record = record_of(methods, "sft-lora")
    evaluated = evaluation(f"{methods}:sft-lora", "--part", "validation")
    assert metrics(evaluated)["loss"] == -(record.objective or 0)


# Other data


def test_all_rows_of_a_file_are_evaluated_and_those_trained_on_are_counted(
    methods: Path, workdir: Path
) -> None:
    # Spelled otherwise, they are the same questions.
    rows = [{**row, "prompt": f" {row['prompt'].upper()}"} for row in commands.rows()[:48]]
    file = write_jsonl(workdir / "seen.jsonl", [*rows, {"prompt": "Never seen?", "completion": "never"}])
    evaluated = evaluation(f"{methods}:sft-lora", "--data", file)
    held = len(commands.rows()[:48]) - evaluated["results"][0]["rows_trained_on"]
    assert (evaluated["data"]["rows"], evaluated["data"]["kind"], evaluated["data"]["part"]) == (
        49,
        "answers",
        None,
    )
    assert 0 < held < 24  # a quarter is held out
    assert any("was trained on" in warning for warning in evaluated["warnings"])
    assert len(rows_of(evaluated)) == 49


def test_what_an_earlier_stage_was_trained_on_counts_too(tiny_model: Path, workdir: Path) -> None:
    sums = [{"prompt": f"{n} + {n}?", "completion": f"{2 * n}"} for n in range(40)]
    first = make_config(tiny_model, write_jsonl(workdir / "sums.jsonl", sums), "full")
    run(first, workdir / "run", memory_gauge=None)
    later = make_config(tiny_model, "commands", "lora", stage={"kind": "dpo"}, eval_rows=4)
    start = starting_weights.find_trained_model(workdir / "run" / "trials" / first.trial_id())
    later = later.model_copy(update={"model": later.model.model_copy(update={"start": start})})
    run(later, workdir / "run", memory_gauge=None)
    name = f"run:{later.trial_id()}"
    held = loading.load(first.data)
    evaluated = evaluation(name, "--data", workdir / "sums.jsonl", "--no-generate")
    assert evaluated["results"][0]["rows_trained_on"] == len(held.train) < 40
    assert metrics(evaluation(name, "--no-generate"))["pair_accuracy"] >= 0


def test_some_rows_are_drawn_by_the_seed_and_keep_their_numbers(methods: Path, workdir: Path) -> None:
    file = write_jsonl(workdir / "rows.jsonl", commands.rows()[:48])
    some = [
        evaluation(f"{methods}:sft-lora", "--data", file, "--rows", 5, "--seed", seed) for seed in (1, 1, 2)
    ]
    numbers = [[row["row"] for row in rows_of(evaluated)] for evaluated in some[1:]]
    assert numbers[0] == sorted(numbers[0]) != numbers[1]
    assert metrics(some[0]) == metrics(some[1])
    prompts = [json.loads(row["prompt"])[-1]["content"] for row in rows_of(some[2])]
    assert prompts == [commands.rows()[number]["prompt"] for number in numbers[1]]


def test_drawn_answers_depend_on_the_seed_and_not_on_the_batch(methods: Path, workdir: Path) -> None:
    file = write_jsonl(workdir / "rows.jsonl", commands.rows()[:9])
    options = (f"{methods}:sft-full", "--data", file, "--top-k", 50, "--temperature", 1.5)
    drawn = {}
    for seed, batch in ((0, 9), (0, 2), (1, 9)):
        evaluated = evaluation(*options, "--seed", seed, "--batch-size", batch)
        drawn[seed, batch] = [row["prediction"] for row in rows_of(evaluated)]
    assert evaluated["settings"]["decoding"] == "sampled"
    same = sum(one == other for one, other in zip(drawn[0, 9], drawn[0, 2], strict=True))
    assert same >= 8  # arithmetic in 16 bits rounds by the batch, which may tip a near tie
    assert drawn[0, 9] != drawn[1, 9]


def test_sampling_from_the_most_likely_token_alone_is_greedy(methods: Path, workdir: Path) -> None:
    file = write_jsonl(workdir / "rows.jsonl", commands.rows()[:6])
    options = (f"{methods}:sft-full", "--data", file, "--batch-size", 1)
    ways: list[tuple[Any, ...]] = [(), ("--top-k", 1), ("--temperature", 0, "--top-p", 0.5)]
    greedy, drawn, cold = (rows_of(evaluation(*options, *more)) for more in ways)
    assert [row["prediction"] for row in greedy] == [row["prediction"] for row in drawn]
    assert greedy == cold


FORMATS: dict[str, tuple[list[dict[str, Any]], str, set[str]]] = {
    "alpaca": ([{"instruction": "Add", "input": "2 2", "output": "4"}], "answers", {"loss", "bleu"}),
    "messages": (
        [{"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]}],
        "answers",
        {"loss", "exact_match"},
    ),
    "text": ([{"text": "Once upon a time."}], "text", {"bits_per_byte", "loss", "perplexity"}),
    "pairs": ([{"prompt": "2?", "chosen": "2", "rejected": "three"}], "pairs", {"pair_accuracy", "margin"}),
    "labels": (
        [
            {"prompt": "2?", "completion": "2", "label": True},
            {"prompt": "2?", "completion": "three", "label": False},
        ],
        "labels",
        {"auc"},
    ),
    "prompts": ([{"messages": [{"role": "user", "content": "2 + 2?"}]}], "prompts", set()),
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_kind_of_rows_decides_what_is_measured(methods: Path, workdir: Path, name: str) -> None:
    rows, kind, expected = FORMATS[name]
    more = ("--max-new-tokens", 4) if name == "prompts" else ()
    evaluated = evaluation(f"{methods}:sft-lora", "--data", write_jsonl(workdir / "rows.jsonl", rows), *more)
    assert evaluated["data"]["kind"] == kind
    assert expected <= metrics(evaluated).keys()
    assert len(rows_of(evaluated)) == len(rows)


def test_data_is_found_by_its_name_in_a_dataset_info(methods: Path, workdir: Path) -> None:
    (workdir / "data").mkdir()
    write_jsonl(workdir / "data" / "odd.jsonl", [{"frage": "2 + 2?", "antwort": "4"}])
    entry = {"file_name": "odd.jsonl", "columns": {"prompt": "frage", "response": "antwort"}}
    (workdir / "data" / "dataset_info.json").write_text(json.dumps({"sums": entry}))
    (row,) = rows_of(evaluation(f"{methods}:sft-lora", "--data", "sums"))
    assert (json.loads(row["prompt"])[0]["content"], row["reference"]) == ("2 + 2?", "4")


def test_rows_may_be_taken_as_another_kind_and_missing_columns_are_an_error(
    methods: Path, workdir: Path
) -> None:
    file = write_jsonl(workdir / "rows.jsonl", FORMATS["text"][0])
    command = paretune("evaluate", f"{methods}:sft-lora", "--data", file, "--as", "pairs")
    assert command.exit_code == 2
    assert "these rows are running text" in command.stderr
    prompts = evaluation(
        f"{methods}:sft-lora",
        *(
            "--data",
            write_jsonl(workdir / "pairs.jsonl", FORMATS["pairs"][0]),
            "--as",
            "prompts",
            "--max-new-tokens",
            3,
        ),
    )
    assert prompts["data"]["kind"] == "prompts"


def test_pairs_are_ordered_by_the_mean_and_by_the_sum_of_log_probabilities(
    methods: Path, workdir: Path
) -> None:
    file = write_jsonl(workdir / "rows.jsonl", FORMATS["pairs"][0])
    evaluated = evaluation(f"{methods}:sft-lora", "--data", file)
    (row,) = rows_of(evaluated)
    assert row["margin"] == pytest.approx(row["chosen_worth"] - row["rejected_worth"])
    assert row["pair_accuracy"] == float(row["margin"] > 0)
    assert metrics(evaluated)["pair_accuracy_by_sum"] == 1  # a shorter answer has the larger sum


def test_a_reward_model_scores_pairs_and_refuses_other_rows(stages: Path, workdir: Path) -> None:
    reward = f"{stages}:reward-lora"
    pairs = evaluation(reward, "--data", write_jsonl(workdir / "pairs.jsonl", FORMATS["pairs"][0]))
    assert pairs["results"][0]["metrics"]["pair_accuracy"]["how"] == "by reward"
    for name in ("alpaca", "text"):
        command = paretune(
            "evaluate", reward, "--data", write_jsonl(workdir / f"{name}.jsonl", FORMATS[name][0])
        )
        assert command.exit_code == 2
        assert "is a reward model" in command.stderr


def test_a_classifier_is_evaluated_on_its_labels_and_on_nothing_else(stages: Path, workdir: Path) -> None:
    classifier = f"{stages}:classification-lora"
    rows = [{"text": f"Turn it {way}", "label": "switch"} for way in ("on", "off")]
    evaluated = evaluation(classifier, "--data", write_jsonl(workdir / "kinds.jsonl", rows))
    assert evaluated["results"][0]["main_metric"] == "macro_f1"
    assert {"accuracy", "macro_f1", "loss"} <= metrics(evaluated).keys()
    unknown = write_jsonl(workdir / "unknown.jsonl", [*rows, {"text": "Sing", "label": "opera"}])
    for model, file, what in (
        (classifier, unknown, "rows have the label opera (1 row), and the head has 8 labels"),
        (classifier, write_jsonl(workdir / "alpaca.jsonl", FORMATS["alpaca"][0]), "the head has 8 labels"),
    ):
        command = paretune("evaluate", model, "--data", file)
        assert (command.exit_code, what in command.stderr) == (2, True), command.stderr
    command = paretune("evaluate", f"{stages}:sft-lora", "--as", "classes", "--data", unknown)
    assert (command.exit_code, "is no classifier" in command.stderr) == (2, True)
    chat = paretune("chat", classifier)
    assert (chat.exit_code, "is a classifier" in chat.stderr) == (2, True), chat.stderr


def test_calls_that_the_models_template_has_no_place_for_are_a_warning(methods: Path, workdir: Path) -> None:
    called = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "tides", "arguments": {"at": "Oslo"}}}],
    }
    turns = [{"role": "user", "content": "Tide?"}, called, {"role": "tool", "content": "At one."}]
    answer = {"role": "assistant", "content": "One."}
    rows = [{"messages": [*turns, answer]}, {"messages": [turns[0], answer]}]
    evaluated = evaluation(
        f"{methods}:sft-base", "--data", write_jsonl(workdir / "calls.jsonl", rows), "--no-generate"
    )
    what = "in 1 of 2 rows the chat template has no place for the tool calls"
    assert any(what in warning for warning in evaluated["warnings"])


def test_cut_rows_are_a_warning_and_have_no_bits_per_byte(methods: Path, workdir: Path) -> None:
    long = {"prompt": "Say it.", "completion": "word " * 60}
    file = write_jsonl(
        workdir / "rows.jsonl", [long, *({"prompt": f"{n}?", "completion": f"{n}"} for n in range(3))]
    )
    evaluated = evaluation(f"{methods}:sft-lora", "--data", file, "--cutoff", 64)
    assert any("1 of 4 rows don't fit into 64 tokens" in warning for warning in evaluated["warnings"])
    rows = rows_of(evaluated)
    assert rows[0]["bits_per_byte"] is None
    assert rows[0]["loss"] > 0
    assert all(row["bits_per_byte"] > 0 for row in rows[1:])


def test_bits_per_byte_are_the_loss_over_the_answers_bytes(methods: Path, workdir: Path) -> None:
    file = write_jsonl(workdir / "rows.jsonl", [{"prompt": "Wie?", "completion": "Grüße, 你好"}])
    evaluated = metrics(evaluation(f"{methods}:sft-lora", "--data", file))
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(methods / "trials" / trial_id_of(methods, "sft-lora") / "model")
    tokens = len(tokenizer("Grüße, 你好<|im_end|>\n", add_special_tokens=False)["input_ids"])
    assert evaluated["bits_per_byte"] == pytest.approx(
        evaluated["loss"] * tokens / math.log(2) / len("Grüße, 你好".encode())
    )


def test_chinese_is_compared_by_characters_unless_words_are_asked_for(methods: Path, workdir: Path) -> None:
    file = write_jsonl(workdir / "rows.jsonl", [{"prompt": "天气?", "completion": "今天天气很好"}])
    for options, rule in (((), "characters"), (("--words",), "words")):
        evaluated = evaluation(f"{methods}:sft-lora", "--data", file, *options)
        assert evaluated["results"][0]["libraries"]["words_or_characters"] == rule


def test_a_custom_score_is_a_measure_like_others(methods: Path, workdir: Path) -> None:
    (workdir / "my_scores.py").write_text(
        "def brief(messages, reference, answer):\n"
        "    assert messages[-1]['role'] == 'user'\n"
        "    return 1.0 if len(answer) <= len(reference) else 0.0\n"
    )
    file = write_jsonl(workdir / "rows.jsonl", commands.rows()[:5])
    evaluated = evaluation(f"{methods}:sft-lora", "--data", file, "--scorer", "my_scores:brief")
    rows = rows_of(evaluated)
    assert evaluated["results"][0]["main_metric"] == "brief"
    assert [row["brief"] for row in rows] == [
        float(len(row["prediction"]) <= len(row["reference"])) for row in rows
    ]


# What is kept, and what is refused


def test_an_evaluation_is_written_completely_and_not_overwritten(methods: Path, workdir: Path) -> None:
    command = paretune("evaluate", f"{methods}:sft-lora", "--no-generate")
    folder = workdir / command.stdout.splitlines()[-1]
    assert folder == workdir / "evaluations" / "run-sft-lora-rows.jsonl-test"
    assert sorted(path.name for path in folder.iterdir()) == ["evaluation.json", "predictions.parquet"]
    kept = json.loads((folder / "evaluation.json").read_text())
    assert kept["packages"]["torch"]
    assert kept["results"][0]["metrics"]["loss"]["low"] < kept["results"][0]["metrics"]["loss"]["value"]
    again = paretune("evaluate", f"{methods}:sft-lora", "--no-generate")
    assert again.exit_code == 2
    assert "--force" in again.stderr
    assert paretune("evaluate", f"{methods}:sft-lora", "--no-generate", "--force").exit_code == 0


def test_a_folder_with_other_files_is_never_replaced(methods: Path, workdir: Path) -> None:
    (workdir / "mine").mkdir()
    (workdir / "mine" / "letter.txt").write_text("Dear")
    command = paretune("evaluate", f"{methods}:sft-lora", "--output", workdir / "mine", "--force")
    assert command.exit_code == 2
    assert (workdir / "mine" / "letter.txt").read_text() == "Dear"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "nowhere.jsonl"), "no file"),
        (("--part", "train"), "--part train: give one of test, validation"),
        (("--as", "songs"), "--as songs: give one of answers, pairs, text, labels, prompts, classes"),
        (("--data", "commands", "--part", "test"), "give one of them"),
        (("--temperature", "-1"), "temperature is -1; it must be between 0 and 5"),
        (("--scorer", "nothing"), "give module:function"),
        (("--shots", "2"), "need a --benchmark"),
        (("--forgetting", "nowhere.txt"), "can't be read"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    methods: Path, options: tuple[str, ...], message: str
) -> None:
    command = paretune("evaluate", f"{methods}:sft-lora", *options)
    assert command.exit_code == 2, command.output
    assert message in command.stderr
    assert not Path("evaluations").exists()


def test_rows_with_tokens_that_the_model_has_no_embedding_for_are_evaluated(workdir: Path) -> None:
    from transformers import AutoTokenizer

    model = make_model(workdir / "model")
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    tokenizer.add_tokens(["<answer>"])
    tokenizer.save_pretrained(model)
    row = {"prompt": "what is on <image>?", "completion": "<answer> a cat <image>"}
    write_jsonl(Path("rows.jsonl"), [row])
    command = paretune("evaluate", model, "--data", "rows.jsonl", "--max-new-tokens", "4")
    assert command.exit_code == 0, command.output


def test_a_base_model_needs_data(tiny_model: Path) -> None:
    command = paretune("evaluate", tiny_model)
    assert command.exit_code == 2
    assert "--data" in command.stderr
