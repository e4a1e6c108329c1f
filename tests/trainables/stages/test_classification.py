"""Classification: the loss and the measures against computations by hand, what the head reads, and what is saved."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tests.helpers.classified_rows import classified_rows
from tests.helpers.trials import curve, make_config, make_trainer, run, seeded_policy
from trainables.data import loading
from trainables.data.embedded.command_kinds import KINDS
from trainables.data.rows import Classified
from trainables.memory.measurement import measure
from trainables.scoring.class_probabilities import ClassProbabilities
from trainables.scoring.label_scores import are_labels, label_scores, macro_f1, written_label_scores
from trainables.stages import Classification
from trainables.tokenization.encode import IGNORED
from trainables.trial.config import TrialConfig
from trainables.trial.tokenizer import load_tokenizer

LABELS = sorted(set(KINDS.values()))
MANY = {"eval_rows": 16, "eval_fraction": 0.95}


def classifying(
    model: Path, rows: Path | str = "command-kinds", method: Any = "lora", **leaves: Any
) -> TrialConfig:
    stage = {"kind": "classification", "labels": LABELS, "multi_label": False, **leaves.pop("stage", {})}
    return make_config(model, rows, method, stage=stage, **{**MANY, **leaves})


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(rows))
    return path


# What is learned


@pytest.mark.parametrize("weights", [None, "balanced", {"a": 3.0, "b": 1.0, "c": 0.5}])
def test_the_loss_is_the_cross_entropy_counted_by_hand(tiny_model: Path, weights: Any) -> None:
    """In 64 bits, row by row with no padding: -w ln softmax(logits)[right], a plain mean over rows."""
    stage = {"labels": ["a", "b", "c"], "class_weights": weights}
    config = classifying(tiny_model, method="full", precision="fp32", stage=stage)
    policy, rows = seeded_policy(config), classified_rows("a", "a", "b", "c")
    trainer = make_trainer(config, policy, rows, cutoff=64)
    batch = trainer.data_collator([trainer.train_dataset[n] for n in range(4)])

    found = trainer.compute_loss(trainer.model, batch).item()

    by_label = {"a": 4 / 6, "b": 4 / 3, "c": 4 / 3} if weights == "balanced" else weights or {}
    double, terms = copy.deepcopy(policy.model).double(), []
    for row in rows:
        (example,) = config.stage.encode(policy.tokenizer, row, 64)
        state = double.model(input_ids=torch.tensor([example.input_ids])).last_hidden_state[0, -1]
        logprobs = (double.score.weight @ state).log_softmax(0)
        terms.append(-by_label.get(row.label, 1.0) * logprobs["abc".index(row.label)].item())
    assert found == pytest.approx(np.mean(terms), abs=1e-5)


def test_the_loss_of_several_labels_is_binary_cross_entropy_of_each(tiny_model: Path) -> None:
    stage = {"labels": ["a", "b", "c"], "multi_label": True}
    config = classifying(tiny_model, method="full", precision="fp32", stage=stage)
    policy, rows = seeded_policy(config), classified_rows(("a", "c"), ())
    trainer = make_trainer(config, policy, rows, cutoff=64)
    batch = trainer.data_collator([trainer.train_dataset[n] for n in range(2)])

    found = trainer.compute_loss(trainer.model, batch).item()

    probabilities = config.stage.probabilities(policy, rows, 64)
    assert found == pytest.approx(-probabilities.likelihoods([("a", "c"), ()]).mean(), abs=1e-4)
    one = np.exp(probabilities.logprobs)
    by_hand = [one[0, 0], 1 - one[0, 1], one[0, 2], *(1 - one[1])]
    assert found == pytest.approx(-np.log(by_hand).mean(), abs=1e-4)


def test_a_classifier_learns_its_labels_and_its_file_gives_them_with_plain_transformers(
    tiny_model: Path, tmp_path: Path
) -> None:
    rows = [{"text": f"It is {word} {n}", "label": word} for n in range(30) for word in ("hot", "cold")]
    config = classifying(
        tiny_model,
        write(tmp_path / "rows.json", rows),
        "full",
        stage={"labels": ["cold", "hot"]},
        steps=40,
        learning_rate=3e-3,
        eval_fraction=0.25,
    )

    record = run(config, tmp_path)

    assert (record.quality_name, record.quality, record.metrics["accuracy"]) == ("macro_f1", 1.0, 1.0)
    assert record.metrics["roc_auc"] == 1.0
    assert record.metrics["loss"] < 0.3
    saved = tmp_path / "trials" / config.trial_id() / "model"
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(saved), load_tokenizer(saved)
    assert model.config.id2label == {0: "cold", 1: "hot"}
    for row in loading.load(config.data, Classified).test:
        (example,) = config.stage.encode(tokenizer, row, 64)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([example.input_ids])).logits[0]
        assert model.config.id2label[int(logits.argmax())] == row.label


def test_several_labels_are_learned_each_on_its_own(tiny_model: Path, tmp_path: Path) -> None:
    rows = [
        {"text": f"{n} {' and '.join(words) or 'nothing'}", "labels": words}
        for n in range(12)
        for words in ([], ["hot"], ["wet"], ["hot", "wet"])
    ]
    config = classifying(
        tiny_model,
        write(tmp_path / "rows.json", rows),
        "full",
        stage={"labels": ["hot", "wet"], "multi_label": True},
        steps=40,
        learning_rate=3e-3,
        eval_fraction=0.25,
    )

    record = run(config, tmp_path)

    assert record.quality is not None
    assert record.quality > 0.6  # by chance 0.25
    assert "roc_auc" not in record.metrics
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "trials" / config.trial_id() / "predictions.parquet")
    assert {"[]", '["hot", "wet"]'} <= set(table["reference"].to_pylist())


def test_freeze_without_a_block_trains_the_head_alone(tiny_model: Path) -> None:
    config = classifying(tiny_model, method={"kind": "freeze", "layers": 0, "head": True})

    trained = {n: p for n, p in seeded_policy(config).model.named_parameters() if p.requires_grad}

    assert [(name, tuple(p.shape)) for name, p in trained.items()] == [
        ("score.weight", (len(LABELS), seeded_policy(config).causal.config.hidden_size))
    ]


# What the head reads


def test_the_head_reads_where_a_language_model_would_begin_its_answer(tiny_model: Path) -> None:
    tokenizer, (row,) = load_tokenizer(tiny_model), classified_rows("a")

    (example,) = Classification().encode(tokenizer, row, 64)

    text = tokenizer.decode(example.input_ids)
    assert text == tokenizer.apply_chat_template(list(row.prompt), tokenize=False, add_generation_prompt=True)
    last = len(example.labels) - 1
    assert [place for place, label in enumerate(example.labels) if label != IGNORED] == [last]


def test_a_conversation_that_ends_with_an_answer_is_read_to_its_end(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]

    (example,) = Classification().encode(tokenizer, Classified(tuple(messages), ("a",)), 64)

    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    assert whole.startswith(tokenizer.decode(example.input_ids).rstrip())
    assert "So." in tokenizer.decode(example.input_ids)


def test_a_long_text_is_cut_whatever_its_label_and_the_templates_tokens_stay(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    prompt = ({"role": "user", "content": "Why? " * 200},)

    short, long = (
        Classification().encode(tokenizer, Classified(prompt, (label,)), 48)[0] for label in ("a", "b" * 99)
    )

    assert short == long
    assert len(short.input_ids) <= 48
    assert short.truncated
    assert tokenizer.decode(short.input_ids).endswith("<|im_start|>assistant\n")


# Measures


def test_macro_f1_is_the_mean_over_the_labels_that_rows_have() -> None:
    """scikit-learn: f1_score([a, a, a, b, b, c], [a, a, b, b, x, a], average="macro", labels=[a, b, c])."""
    right = [("a",), ("a",), ("a",), ("b",), ("b",), ("c",)]
    given = [("a",), ("a",), ("b",), ("b",), ("x",), ("a",)]

    scores = label_scores(right, given)

    assert list(scores) == ["a", "b", "c"]
    assert (scores["a"].precision, scores["a"].recall) == (2 / 3, 2 / 3)
    assert macro_f1(scores) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert macro_f1({}) == 0.0
    assert label_scores([("a",)], [("b",)])["a"].precision is None


def test_thoughts_are_no_part_of_a_written_label() -> None:
    scores = written_label_scores(["a", "b"], ["<think>It is.</think> a", "<think>Perhaps.</think>a"])
    assert (scores["a"].hits, scores["a"].given, scores["b"].given) == (1, 2, 0)


def test_answers_are_labels_where_few_values_are_shared_by_many_rows() -> None:
    assert are_labels(["a", "b"] * 5)
    assert not are_labels(["a"] * 10)
    assert not are_labels([str(n) for n in range(10)])


def test_probabilities_stay_finite_for_extreme_logits() -> None:
    for several in (False, True):
        found = ClassProbabilities(np.array([[900.0, -900.0]]), ("a", "b"), several)
        assert np.isfinite(list(found.measures([("b",)]).values())).all()
        assert found.given == [("a",)]


def test_rows_without_any_label_are_judged_by_accuracy() -> None:
    found = ClassProbabilities(np.array([[1.0, -1.0], [-1.0, -1.0]]), ("a", "b"), several=True)
    rows = classified_rows((), ())
    assert "macro_f1" not in found.measures([row.labels for row in rows])
    stage = Classification(labels=("a", "b"), multi_label=True)
    for test, name in ((rows, "accuracy"), (classified_rows((), ("a",)), "macro_f1"), ([], "macro_f1")):
        assert stage.quality(loading.Data("rows", [], [], test, False, "")).name == name


# Around it


def test_its_memory_is_measured_and_the_head_is_counted(tiny_model: Path) -> None:
    config = classifying(tiny_model, cutoff=48)
    found = measure(config)
    trainable = sum(p.numel() for p in seeded_policy(config).model.parameters() if p.requires_grad)
    assert found.gradient_bytes == 4 * trainable
    rows = loading.load(config.data, Classified).train
    _, length = config.stage.longest_row(load_tokenizer(tiny_model), rows, 48)
    batch = config.stage.forward_pass(2, length)
    assert batch is not None
    assert (batch.outputs, length.tokens) == (len(LABELS), found.row_tokens)


def test_the_untrained_base_is_scored_with_its_new_head(tiny_model: Path, tmp_path: Path) -> None:
    record = run(classifying(tiny_model, method=None), tmp_path)
    assert (record.status, record.steps) == ("done", None)
    assert record.metrics["loss"] == pytest.approx(np.log(len(LABELS)), abs=0.3)


def test_the_objective_is_minus_the_loss_on_the_validation_rows(tiny_model: Path, tmp_path: Path) -> None:
    config = classifying(tiny_model, steps=4, eval_steps=2)
    run(config, tmp_path)
    objectives = curve(config, tmp_path, "objective")
    assert [step for step, _ in objectives][-1] == 4
    assert all(value < 0 for _, value in objectives)
    assert curve(config, tmp_path, "validation_macro_f1")


# Settings


def test_labels_may_be_numbers_or_truth_values_and_are_texts() -> None:
    assert Classification(labels=[1, True, "x"]).labels == ("1", "true", "x")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels": ["a"]}, "two labels or more"),
        ({"labels": ["a", "a"]}, "a label is given twice"),
        ({"class_weights": {"a": 0.0}}, "must be above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Classification.model_validate(settings)


def problems(train: list[Any], test: list[Any] | None = None, **settings: Any) -> list[str]:
    data = loading.Data("rows", train, train, train if test is None else test, False, "0" * 64)
    stage = Classification.model_validate(settings)
    stage = stage.model_copy(update=stage.filled_by(data))
    trial: Any = None
    return [f"{key}: {what}" for key, what in stage.problems(trial, data)]


TWO = classified_rows(*"aabb")


@pytest.mark.parametrize(
    ("train", "test", "settings", "message"),
    [
        (
            classified_rows(*"aaa"),
            None,
            {},
            "kind: every training row has the label a, and there are two or more",
        ),
        (
            TWO,
            classified_rows("z"),
            {},
            "labels: test rows have the label z (1 row), and the head has 2 labels: a, b",
        ),
        (TWO, None, {"labels": ["a", "b", "c"]}, "labels: no training row has the label c"),
        (classified_rows(*"abcd"), None, {}, "kind: the 4 training rows have 4 different labels"),
        (TWO, None, {"class_weights": {"a": 1.0}}, "class_weights: give each label one weight"),
        (
            classified_rows(("a",), ("a", "b"), ("b",), ()),
            None,
            {"class_weights": "balanced"},
            "class_weights: rows have",
        ),
        (
            classified_rows(("a",), ("a", "b"), ("b",), ()),
            None,
            {"multi_label": False},
            "multi_label: rows have lists",
        ),
    ],
)
def test_what_cannot_be_classified_is_a_problem_of_the_plan(
    train: list[Any], test: list[Any] | None, settings: dict[str, Any], message: str
) -> None:
    assert any(each.startswith(message) for each in problems(train, test, **settings))


def test_planning_takes_the_labels_from_the_training_rows() -> None:
    assert problems(TWO) == []
    data = loading.Data("rows", TWO, [], [], False, "0" * 64)
    assert Classification().filled_by(data) == {"labels": ["a", "b"], "multi_label": False}
    assert Classification(labels=("b", "a"), multi_label=True).filled_by(data) == {}
