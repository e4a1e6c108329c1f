"""Stages: what each learns from, and its quality against a computation by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.helpers.trials import curve, make_config, make_policy, run
from trainables.auc import auc
from trainables.data import loading
from trainables.data.rows import Labelled, Preference, Text
from trainables.memory.measurement import measure
from trainables.stages.preference import Margins
from trainables.stages.reference_trainer import pair_columns
from trainables.tokenization.encode import IGNORED
from trainables.training.trainer_setup import training_arguments

TEXTS = ["Once upon a time there was a house.", "房子里很暖和。", "x" * 90, "The end of it, at last."]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    rows = [{"text": f"{TEXTS[n % 4]} {n}"} for n in range(48)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def pretraining(model: Path, rows: Path | str, method: Any = "full", **leaves: Any) -> Any:
    return make_config(model, rows, method, stage={"kind": "pretrain"}, **leaves)


def test_pre_training_is_scored_in_bits_per_byte(tiny_model: Path, texts: Path, tmp_path: Path) -> None:
    record = run(pretraining(tiny_model, texts, "lora", cutoff=32), tmp_path)
    assert (record.quality_name, record.quality_higher_is_better) == ("bits_per_byte", False)
    assert record.objective is not None
    assert record.objective < 0


def test_bits_per_byte_are_those_of_the_saved_model_counted_by_hand(
    tiny_model: Path, texts: Path, tmp_path: Path
) -> None:
    config = pretraining(tiny_model, texts, cutoff=512)
    record = run(config, tmp_path)
    folder = tmp_path / "trials" / record.trial_id / "model"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    nats = size = 0.0
    for row in loading.load(config.data, Text).test:
        ids = [start, *tokenizer(row.text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, :-1].float()
        nats -= logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None]).sum().item()
        size += len(row.text.encode())
    assert record.quality == pytest.approx(nats / math.log(2) / size, rel=0.01)


def test_a_text_longer_than_the_cutoff_is_trained_on_in_pieces_and_none_of_it_is_lost(
    tiny_model: Path, texts: Path
) -> None:
    config = pretraining(tiny_model, texts, cutoff=16)
    policy = make_policy(config)
    (row,) = [row for row in loading.load(config.data, Text).train if row.text.startswith("xxx")][:1]
    pieces = config.stage.encode(policy.tokenizer, row, 16)
    assert len(pieces) > 1
    assert all(len(piece.input_ids) <= 16 and piece.labels[0] == IGNORED for piece in pieces)
    learned = [label for piece in pieces for label in piece.labels[1:]]
    assert policy.tokenizer.decode(learned, skip_special_tokens=True) == row.text
    assert learned[-1] == policy.tokenizer.eos_token_id


def test_the_cutoff_changes_how_texts_are_cut_but_hardly_their_bits(tiny_model: Path, texts: Path) -> None:
    config = pretraining(tiny_model, texts)
    policy, rows = make_policy(config), loading.load(config.data, Text)
    found = [
        config.stage.score(policy, rows, rows.test, cutoff).metrics["bits_per_byte"] for cutoff in (16, 512)
    ]
    assert found[0] == pytest.approx(found[1], rel=0.1)


def test_memory_is_measured_on_the_longest_piece(tiny_model: Path, texts: Path) -> None:
    assert measure(pretraining(tiny_model, texts, cutoff=32)).row_tokens == 32


def test_the_embedded_data_set_serves_pre_training(tiny_model: Path, tmp_path: Path) -> None:
    record = run(pretraining(tiny_model, "commands", "lora", cutoff=64, eval_rows=4), tmp_path)
    assert record.status == "done"


# Preferences


def preferring(model: Path, rows: Path | str = "commands", method: Any = "full", **leaves: Any) -> Any:
    return make_config(model, rows, method, stage={"kind": "dpo"}, eval_rows=8, **leaves)


@pytest.mark.parametrize("method", ["full", "qlora-4bit"])
def test_dpo_starts_at_ln_2(tiny_model: Path, tmp_path: Path, method: str) -> None:
    """With the policy still its own reference every margin is 0: the loss is -ln sigmoid(0)."""
    config = preferring(tiny_model, method=method)
    record = run(config, tmp_path)
    assert (record.status, record.stage, record.quality_name) == ("done", "dpo", "pair_accuracy")
    assert record.quality is not None
    assert 0 <= record.quality <= 1
    (_, first), (_, second) = curve(config, tmp_path)
    assert first == pytest.approx(math.log(2), abs=0.02)  # other neighbours, other padding: bfloat16 differs
    assert second != first


def test_dpo_learns_to_prefer_what_was_chosen(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"Say {n}", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(60)]
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps(rows))
    record = run(preferring(tiny_model, path, steps=30, learning_rate=3e-3), tmp_path)
    assert record.quality == 1.0


def test_margins_are_mean_logprobs_of_the_answers_tokens(tiny_model: Path) -> None:
    config = preferring(tiny_model)
    policy, rows = make_policy(config), loading.load(config.data, Preference).test[:3]
    found = config.stage.margins(policy, rows, 512)
    for place, row in enumerate(rows):
        messages = [*row.prompt, {"role": "assistant", "content": row.chosen}]
        text = str(policy.tokenizer.apply_chat_template(messages, tokenize=False))
        head = str(
            policy.tokenizer.apply_chat_template(list(row.prompt), tokenize=False, add_generation_prompt=True)
        )
        ids = policy.tokenizer(text, add_special_tokens=False)["input_ids"]
        start = len(policy.tokenizer(head, add_special_tokens=False)["input_ids"])
        with policy.evaluating():
            logits = policy.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
        expected = [logits[at - 1, ids[at]].item() for at in range(start, len(ids))]
        assert found.chosen[place] == pytest.approx(sum(expected) / len(expected), rel=0.02)


def test_a_tie_counts_half_and_the_objective_is_the_bradley_terry_likelihood() -> None:
    found = Margins(np.array([-1.0, -2.0, -3.0]), np.array([-2.0, -1.0, -3.0]))
    assert found.accuracy == 0.5
    expected = -(math.log(1 + math.exp(-1)) + math.log(1 + math.exp(1)) + math.log(2)) / 3
    assert found.log_sigmoid == pytest.approx(expected)


def test_full_dpo_holds_no_second_copy_of_the_model(tiny_model: Path) -> None:
    config = preferring(tiny_model)
    policy = make_policy(config)
    options = training_arguments(config.train, 2, Path("/nonexistent"), 1, "cpu") | {"save_strategy": "no"}
    rows = loading.load(config.data, Preference).train[:8]
    trainer: Any = config.stage.trainer(policy, rows, config.train, 128, options)
    assert trainer.ref_model is None
    assert {"ref_chosen_logps", "ref_rejected_logps"} <= set(trainer.train_dataset.column_names)


def test_both_answers_of_a_pair_are_cut_and_keep_a_token(tiny_model: Path) -> None:
    config = preferring(tiny_model)
    policy = make_policy(config)
    row = Preference(({"role": "user", "content": "Why? " * 50},), "Because " * 50, "No")
    pair = config.stage.encode(policy.tokenizer, row, 24)
    assert all(len(one.input_ids) <= 24 and one.answer for one in pair)
    columns = pair_columns(*pair)
    assert len(columns["prompt_ids"]) + len(columns["chosen_ids"]) <= 24


@pytest.mark.parametrize("kind", ["dpo", "kto"])
def test_only_rows_that_training_reaches_get_reference_logprobs(tiny_model: Path, kind: str) -> None:
    config = make_config(tiny_model, "commands", "full", stage={"kind": kind}, batch_size=2)
    policy, rows = make_policy(config), loading.load(config.data, config.stage.row_type).train
    assert len(rows) > 1000
    options = training_arguments(config.train, 3, Path("/nonexistent"), 1, "cpu") | {"save_strategy": "no"}
    trainer: Any = config.stage.trainer(policy, rows, config.train, 128, options)
    assert len(trainer.train_dataset) == 6


@pytest.mark.parametrize(("kind", "first"), [("dpo", math.log(2)), ("kto", 0.5)])
def test_a_trial_starts_at_its_own_reference_whatever_ran_before_it(
    tiny_model: Path, tmp_path: Path, kind: str, first: float
) -> None:
    """Of another seed are other rows of the same model: their log-probabilities are no reference for these."""
    for seed in (0, 1):
        leaves = {"precision": "fp32", "eval_rows": 4, "seed": seed}
        config = make_config(tiny_model, "commands", "full", stage={"kind": kind}, **leaves)
        run(config, tmp_path)
        assert curve(config, tmp_path)[0][1] == pytest.approx(first, abs=1e-4)


# Labelled answers


def labelling(model: Path, rows: Path | str = "commands", method: Any = "full", **leaves: Any) -> Any:
    return make_config(model, rows, method, stage={"kind": "kto"}, eval_rows=16, **leaves)


@pytest.mark.parametrize("method", ["full", "qlora-4bit"])
def test_kto_starts_at_a_half(tiny_model: Path, tmp_path: Path, method: str) -> None:
    """With the policy still its own reference every reward and the KL are 0: the loss is 1 - sigmoid(0)."""
    config = labelling(tiny_model, method=method)
    record = run(config, tmp_path)
    assert (record.status, record.stage, record.quality_name) == ("done", "kto", "auc")
    assert record.quality is not None
    (_, first), (_, second) = curve(config, tmp_path)
    assert first == pytest.approx(0.5, abs=0.01)
    assert second != first


def test_kto_learns_to_find_good_answers_likelier_than_bad_ones(tiny_model: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Say {n}", "completion": f"{'yes' if n % 2 else 'no'} {n}", "label": n % 2 == 1}
        for n in range(100)
    ]
    path = tmp_path / "labelled.json"
    path.write_text(json.dumps(rows))
    record = run(labelling(tiny_model, path, steps=40, learning_rate=3e-3), tmp_path)
    assert record.quality is not None
    assert record.quality > 0.9


def test_the_area_under_the_curve_is_the_share_of_pairs_in_the_right_order() -> None:
    assert auc(np.array([2.0, 3.0]), np.array([1.0, 3.0])) == 0.625
    assert auc(np.array([1.0]), np.array([])) == 0.5


def test_an_answers_neighbour_is_the_one_before_it_in_its_batch(tiny_model: Path) -> None:
    config = labelling(tiny_model, batch_size=2)
    policy, rows = make_policy(config), loading.load(config.data, Labelled).train[:5]
    options = training_arguments(config.train, 2, Path("/nonexistent"), 1, "cpu") | {"save_strategy": "no"}
    trainer: Any = config.stage.trainer(policy, rows, config.train, 512, options)
    answers, neighbours = trainer.train_dataset["completion_ids"], trainer.train_dataset["KL_completion_ids"]
    assert list(neighbours) == [answers[place] for place in (1, 0, 3, 2)]
    assert trainer.ref_model is None


@pytest.mark.parametrize("kind", ["pretrain", "sft", "dpo", "kto"])
def test_how_many_rows_are_scored_at_a_time_changes_no_score(
    tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    leaves: dict[str, Any] = {"eval_rows": 8, "precision": "fp32", "dtype": "float32", "method": None}
    one, two = (
        run(make_config(tiny_model, "commands", stage={"kind": kind, **batch}, **leaves), tmp_path)
        for batch in ({}, {"eval_batch": 3})
    )
    assert one.trial_id != two.trial_id
    assert two.metrics == pytest.approx(one.metrics, rel=1e-5)
