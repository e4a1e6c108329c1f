"""A tokenizer with tokens that its model has no embedding for: the model is taken with rows for them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from sweeps.planning.plan import make
from sweeps.spec.spec import read
from tests.helpers.sweeps import SPEC, write_spec
from tests.helpers.tiny_model import VOCAB, make_model
from tests.helpers.trials import make_config, write_rows
from trainables.config.model import ModelConfig
from trainables.evaluation import evaluate
from trainables.evaluation.evaluate import EvaluationTask
from trainables.evaluation.evaluation_rows import load_named
from trainables.inference.generator import stream_answer
from trainables.inference.model_pool import ModelPool
from trainables.inference.prompts import UnknownToken, prompt_tokens
from trainables.inference.result import trial_result
from trainables.inference.sampling import Sampling
from trainables.models import conversion_process, locate, resize_vocabulary
from trainables.models.folder import ModelError
from trainables.models.vocabulary import MissingRows
from trainables.runner.run import TrialContext, run_trial

ANSWER = "<tool>"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))


@pytest.fixture(autouse=True)
def converted_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has models converted in this process: one of its own imports for seconds, and test_locate.py starts some."""

    def convert_model(source: Path, folder: Path, unsafe: Sequence[str] = ()) -> None:
        conversion_process.convert_model(source.resolve(), folder.resolve(), "remote_code" in unsafe)

    monkeypatch.setattr(resize_vocabulary, "convert_model", convert_model)


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
    assert locate.read_architecture(after).added_rows == MissingRows(2, (ANSWER, "<end>"))
    assert locate.model_folder(ModelConfig(path=before)) == after  # made once


def test_a_model_with_a_row_for_every_token_is_used_where_it_is(tiny_model: Path) -> None:
    assert locate.model_folder(ModelConfig(path=tiny_model)) == tiny_model
    assert locate.read_architecture(tiny_model).added_rows == MissingRows()


def test_special_tokens_get_rows_too_as_any_text_may_contain_them(tmp_path: Path) -> None:
    before = with_tokens(tmp_path / "model", "<image>", special=True)
    after = locate.model_folder(ModelConfig(path=before))
    assert locate.read_architecture(after).added_rows == MissingRows(1, ("<image>",))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(after), AutoTokenizer.from_pretrained(after)
    ids = torch.tensor([tokenizer("wake <image> me")["input_ids"]])
    assert VOCAB in ids
    assert model(ids).logits.isfinite().all()


def test_tokens_that_only_the_tokenizers_settings_name_get_rows(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "unk_token": "<unknown>"}))
    assert resize_vocabulary.find_missing_rows(folder) == MissingRows(1, ("<unknown>",))


def test_a_vocabulary_without_a_tokenizer_json_is_counted_too(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    state = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(state["model"]["vocab"]))
    merges = [" ".join(pair) for pair in state["model"]["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges))
    settings = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|im_end|>", "bos_token": "<start>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert resize_vocabulary.find_missing_rows(folder) == MissingRows(1, ("<start>",))


def test_ids_that_are_skipped_get_rows_up_to_the_largest(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    state = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = state["model"]["vocab"]
    vocabulary["<far>"] = VOCAB + 4
    (folder / "tokenizer.json").write_text(json.dumps(state))
    after = locate.model_folder(ModelConfig(path=folder))
    assert locate.read_architecture(after).added_rows == MissingRows(5, ("<far>",))
    assert AutoModelForCausalLM.from_pretrained(after).config.vocab_size == VOCAB + 5


def test_a_model_with_more_rows_than_tokens_is_used_where_it_is(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(VOCAB + 8)
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<a>", "<b>"], special_tokens=True)
    tokenizer.save_pretrained(folder)
    assert locate.model_folder(ModelConfig(path=folder)) == folder


def test_a_reward_model_keeps_its_head_when_rows_are_added(tmp_path: Path) -> None:
    folder = with_tokens(tmp_path / "model", "<image>", special=True)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    model.save_pretrained(folder)
    after = resize_vocabulary.with_all_embeddings(folder)
    grown = AutoModelForSequenceClassification.from_pretrained(after)
    assert torch.equal(grown.score.weight, model.score.weight)
    assert len(grown.get_input_embeddings().weight) == VOCAB + 1


def test_what_was_trained_without_the_rows_is_used_with_them(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    config = make_config(model, write_rows(tmp_path / "rows.jsonl"), "full", steps=1)
    assert run_trial(config, TrialContext(tmp_path / "run")).status == "done"
    saved = tmp_path / "run" / "trials" / config.trial_id() / "model"
    tokenizer = AutoTokenizer.from_pretrained(saved)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    tokenizer.save_pretrained(saved)
    loaded = ModelPool().load(trial_result(saved))
    prompt = prompt_tokens(loaded, [{"role": "user", "content": "what is on <image>?"}])
    assert VOCAB in prompt
    assert isinstance("".join(stream_answer(loaded, prompt, Sampling(max_new_tokens=4))), str)


@pytest.mark.parametrize(
    "saved", [{"modules_to_save": ["embed_tokens"]}, {"target_modules": ["embed_tokens", "q_proj"]}, {}]
)
@pytest.mark.parametrize("added_to", ["base", "adapter"])
def test_an_adapter_finds_the_embedding_rows_that_it_was_trained_with(
    tmp_path: Path, saved: dict[str, list[str]], added_to: str
) -> None:
    """Tokens were added to the base model's tokenizer since, or before training to the adapter's alone."""
    base = with_tokens(tmp_path / "base", *(["<image>"] if added_to == "base" else []), special=True)
    model = AutoModelForCausalLM.from_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    if added_to == "adapter":
        tokenizer.add_tokens(["<a>", "<b>"])
        model.resize_token_embeddings(len(tokenizer))
    settings = {"target_modules": ["q_proj"], **saved}
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **settings))
    adapted.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    tokenizer.save_pretrained(tmp_path / "adapter")
    loaded = ModelPool().load(trial_result(tmp_path / "adapter"))
    ids = torch.tensor([tokenizer("wake me")["input_ids"]])
    with loaded.active() as policy, torch.no_grad():
        found, expected = (each(ids).logits.float() for each in (policy.model, adapted))
    own_rows = {"adapter": 2, "base": 0 if saved else 1}[added_to]
    assert found.shape[-1] == VOCAB + own_rows
    prompt = prompt_tokens(loaded, [{"role": "user", "content": "what is on <a> and <image>?"}])
    allowed = nullcontext() if own_rows else pytest.raises(UnknownToken, match=f"the token {VOCAB}")
    with allowed:
        list(stream_answer(loaded, prompt, Sampling(max_new_tokens=2)))
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"prompt": "what is on <image>?", "completion": "<a>"}) + "\n"
    )
    rows = load_named(loaded.result, str(tmp_path / "rows.jsonl"), "answers")
    allowed = nullcontext() if own_rows else pytest.raises(ModelError, match=f"{VOCAB} rows.*<image>")
    with allowed, loaded.active() as policy:
        evaluate.measure(policy, EvaluationTask(loaded.result, rows, evaluate.Settings(generate=False)))
    # The head's new rows were drawn at random before training, and such an adapter doesn't have them.
    torch.testing.assert_close(found[..., :VOCAB], expected[..., :VOCAB], atol=0.1, rtol=0.1)


def test_a_tokenizer_that_cannot_be_read_is_reported_where_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"vocab_size": 4}')
    (tmp_path / "tokenizer.json").write_text("{}")
    assert resize_vocabulary.find_missing_rows(tmp_path) == MissingRows()


def test_without_a_vocabulary_size_no_row_is_missing(tmp_path: Path) -> None:
    folder = with_tokens(tmp_path / "model", ANSWER)
    (folder / "config.json").write_text("{}")
    assert resize_vocabulary.find_missing_rows(folder) == MissingRows()


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize(
    "method", ["full", {"kind": "lora", "rank": 4, "modules_to_save": ["embed_tokens", "lm_head"]}]
)
def test_rows_with_new_tokens_are_learned_and_what_is_saved_has_them(
    tmp_path: Path, method: Any, special: bool
) -> None:
    model = with_tokens(tmp_path / "model", ANSWER, special=special)
    rows = write_rows(tmp_path / "rows.jsonl")
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    rows.write_text("".join(json.dumps({**row, "completion": f"yes {ANSWER}"}) + "\n" for row in found))
    config = make_config(model, rows, method, steps=30, learning_rate=1e-2)
    record = run_trial(config, TrialContext(tmp_path / "run"))
    assert record.status == "done", record.error
    assert record.metrics["loss"] < 1.0  # ln(514) is 6.2
    saved = tmp_path / "run" / "trials" / config.trial_id() / "model"
    weights = load_file(next(saved.glob("*.safetensors")))
    assert any(len(weight) == VOCAB + 1 for weight in weights.values())


@pytest.mark.parametrize("special", [True, False])
def test_the_plan_names_the_tokens_that_got_rows_and_the_methods_that_train_them(
    tmp_path: Path, special: bool
) -> None:
    model = with_tokens(tmp_path / "model", ANSWER, "<end>", special=special)
    made = make(read(str(write_spec(tmp_path / "spec", model, SPEC))))
    assert not made.errors
    (warning,) = (each for each in made.warnings if "embedding" in each.what)
    assert "its tokenizer has 2 tokens without an embedding (<tool>, <end>); rows were added" in warning.what
    assert "modules_to_save: [embed_tokens, lm_head]" in warning.what


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
