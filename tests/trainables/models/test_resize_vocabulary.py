"""A tokenizer with tokens that its model has no embedding for: the model is taken with rows for them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from sweeps.planning.plan import make
from sweeps.spec.spec import read
from tests.helpers.sweeps import SPEC, write_spec
from tests.helpers.tiny_model import VOCAB, make_model
from tests.helpers.trials import make_config, write_rows
from trainables.config.model import ModelConfig
from trainables.models import locate, resize_vocabulary
from trainables.runner.run import TrialContext, run_trial

ANSWER = "<tool>"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))


def with_tokens(folder: Path, *tokens: str, special: bool = False, tied: bool = True) -> Path:
    """A tiny model whose tokenizer has got tokens of its own since."""
    make_model(folder, tied=tied)
    tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(list(tokens), special_tokens=special)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_are_the_mean_of_the_existing_ones_which_stay_the_same(tmp_path: Path, tied: bool) -> None:
    before = with_tokens(tmp_path / "model", ANSWER, "<end>", tied=tied)
    after = locate.model_folder(ModelConfig(path=before))
    assert after != before
    old, new = (AutoModelForCausalLM.from_pretrained(folder) for folder in (before, after))
    for part in ("get_input_embeddings", "get_output_embeddings"):
        was, now = getattr(old, part)().weight, getattr(new, part)().weight
        assert len(now) == VOCAB + 2 == new.config.vocab_size
        assert torch.equal(now[:VOCAB], was)
        assert torch.equal(now[VOCAB], was.float().mean(0).to(was.dtype))
    assert new.config.tie_word_embeddings is tied
    assert locate.read_architecture(after).added_rows == 2
    assert locate.model_folder(ModelConfig(path=before)) == after  # made once


def test_a_model_with_a_row_for_every_token_is_used_where_it_is(tiny_model: Path) -> None:
    assert locate.model_folder(ModelConfig(path=tiny_model)) == tiny_model
    assert locate.read_architecture(tiny_model).added_rows == 0


def test_special_tokens_that_the_template_does_not_use_need_no_row(tmp_path: Path) -> None:
    model = with_tokens(tmp_path / "model", "<image>", special=True)
    assert locate.model_folder(ModelConfig(path=model)) == model
    (model / "chat_template.jinja").write_text("{{ messages[0]['content'] }}<image>")
    assert resize_vocabulary.count_missing_rows(model) == 1


@pytest.mark.parametrize(
    ("described", "rows", "expected"),
    [
        ({"model": {"vocab": {"a": 0, "b": 5}}}, 4, 2),  # ids may have gaps
        ({"model": {"vocab": [["a", 0.0], ["b", -1.0]]}}, 1, 1),  # a unigram model's
        ({"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 1, "content": "<x>"}]}, 1, 1),
        ({"model": {"vocab": {"a": 0}}}, 8, 0),  # padded, as many are
        ({}, 8, 0),
    ],
)
def test_the_number_of_rows_follows_from_the_tokenizers_file(
    tmp_path: Path, described: dict[str, Any], rows: int, expected: int
) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": rows}))
    assert resize_vocabulary.count_missing_rows(tmp_path) == expected


def test_without_a_vocabulary_size_no_row_is_missing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert resize_vocabulary.count_missing_rows(tmp_path) == 0
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 9}}}))
    assert resize_vocabulary.count_missing_rows(tmp_path) == 0


@pytest.mark.parametrize(
    "method", ["full", {"kind": "lora", "rank": 4, "modules_to_save": ["embed_tokens", "lm_head"]}]
)
def test_rows_with_new_tokens_are_learned_and_what_is_saved_has_them(tmp_path: Path, method: Any) -> None:
    model = with_tokens(tmp_path / "model", ANSWER)
    rows = write_rows(tmp_path / "rows.jsonl")
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    rows.write_text("".join(json.dumps({**row, "completion": ANSWER}) + "\n" for row in found))
    config = make_config(model, rows, method, steps=30, learning_rate=1e-2)
    record = run_trial(config, TrialContext(tmp_path / "run"))
    assert record.status == "done", record.error
    assert record.metrics["loss"] < 1.0  # ln(514) is 6.2
    saved = tmp_path / "run" / "trials" / config.trial_id() / "model"
    weights = load_file(next(saved.glob("*.safetensors")))
    assert any(len(weight) == VOCAB + 1 for weight in weights.values())


def test_the_plan_warns_of_new_rows_and_says_which_methods_train_them(tmp_path: Path) -> None:
    model = with_tokens(tmp_path / "model", ANSWER)
    made = make(read(str(write_spec(tmp_path / "spec", model, SPEC))))
    assert not made.errors
    assert ["its tokenizer has 1 tokens without an embedding" in w.what for w in made.warnings] == [True]
    assert "modules_to_save: [embed_tokens, lm_head]" in made.warnings[0].what


def test_two_models_with_the_same_missing_rows_have_separate_copies(tmp_path: Path) -> None:
    one = with_tokens(tmp_path / "one", ANSWER)
    other = tmp_path / "other"
    shutil.copytree(one, other)
    assert locate.model_folder(ModelConfig(path=one)) == locate.model_folder(
        ModelConfig(path=other)
    )  # the same contents
    described = json.loads((other / "generation_config.json").read_text())
    (other / "generation_config.json").write_text(json.dumps({**described, "temperature": 0.5}))
    assert locate.model_folder(ModelConfig(path=one)) != locate.model_folder(ModelConfig(path=other))
