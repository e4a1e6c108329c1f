"""Reward modelling: the loss against a computation by hand, where a reward is read, and that what is saved gives
the same rewards."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, set_seed

from tests.helpers.specs import ONE, SPEC, plan, spec_folder
from tests.helpers.trials import (
    METHODS,
    ScriptedControl,
    curve,
    make_config,
    make_trainer,
    run,
    seeded_policy,
)
from trainables.data import loading
from trainables.data.embedded import commands
from trainables.data.rows import Preference
from trainables.memory.measurement import measure
from trainables.models.folder import read_architecture
from trainables.models.precision import choose_dtypes
from trainables.stages.reward import rewards
from trainables.trial.config import TrialConfig
from trainables.trial.loading import attach, load_base, with_distinct_padding
from trainables.trial.tokenizer import load_tokenizer

CUT_SHORT = Preference(({"role": "user", "content": "Why? " * 50},), "Because " * 50, "No")


def rewarding(model: Path, rows: Path | str = "commands", method: Any = "lora", **leaves: Any) -> TrialConfig:
    stage = {"kind": "reward", **leaves.pop("stage", {})}
    return make_config(model, rows, method, stage=stage, **{"eval_rows": 8, "eval_fraction": 0.95, **leaves})


def some_rows(count: int) -> list[Any]:
    found = [
        Preference(({"role": "user", "content": row["prompt"]},), row["chosen"], row["rejected"])
        for row in commands.preferences()[: count - 1]
    ]
    return [*found, CUT_SHORT]


def write_pairs(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text(json.dumps(rows))
    return path


def stock_rewards(model: Any, ids: list[list[int]], pad: int) -> Tensor:
    """transformers' own answer for a batch that is padded on the right."""
    width = max(map(len, ids))
    batch = torch.tensor([row + [pad] * (width - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    with torch.no_grad():
        return model.eval()(input_ids=batch, attention_mask=mask).logits[:, 0].float()


# What is learned


@pytest.mark.parametrize("method", METHODS)
def test_what_a_trial_saves_loads_with_plain_libraries_and_gives_the_same_rewards(
    tiny_model: Path, tmp_path: Path, method: str
) -> None:
    config = rewarding(tiny_model, method=method, learning_rate=1e-2, precision="fp32")
    record = run(config, tmp_path)
    assert (record.status, record.quality_name, record.steps) == ("done", "pair_accuracy", 2)
    assert record.quality == record.metrics["pair_accuracy"]
    saved = tmp_path / "trials" / config.trial_id() / "model"
    model, tokenizer = reloaded(config, saved)
    set_seed(config.train.seed)
    before = load_base(config.model_copy(update={"method": None}), tiny_model).score.weight
    trained: Any = (model.get_base_model() if hasattr(model, "peft_config") else model).score
    assert (trained.weight - before).abs().min() > 1e-3
    assert_same_margin(
        config, model, tokenizer, record.metrics["margin"], 2e-3 if "qlora" in method else 1e-5
    )


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_the_head_is_saved_with_adapters_that_were_taken_from_the_base(
    tiny_model: Path, tmp_path: Path, init: str
) -> None:
    method = {"kind": "lora", "rank": 4, "init": init}
    config = rewarding(tiny_model, method=method, learning_rate=1e-2, precision="fp32")
    record = run(config, tmp_path)
    model, tokenizer = reloaded(config, tmp_path / "trials" / config.trial_id() / "model")
    assert_same_margin(config, model, tokenizer, record.metrics["margin"], 1e-4)


def reloaded(config: TrialConfig, saved: Path) -> tuple[Any, Any]:
    from peft import PeftModel

    assert config.method is not None
    tokenizer: Any = AutoTokenizer.from_pretrained(saved)
    if not (saved / "adapter_config.json").exists():
        return AutoModelForSequenceClassification.from_pretrained(saved), tokenizer
    kinds = choose_dtypes(config.train.precision, config.model.dtype)
    torch.manual_seed(1234)  # another head to begin with: the saved one must take its place
    base = AutoModelForSequenceClassification.from_pretrained(
        config.model.path,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
        dtype=kinds.frozen,
        **config.method.load_options(kinds),
    )
    return PeftModel.from_pretrained(base, saved), tokenizer


def assert_same_margin(config: TrialConfig, model: Any, tokenizer: Any, margin: float, close: float) -> None:
    rows = loading.load(config.data, Preference).test
    texts = [
        tokenizer.apply_chat_template([*row.prompt, {"role": "assistant", "content": answer}], tokenize=False)
        for row in rows
        for answer in (row.chosen, row.rejected)
    ]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    found = stock_rewards(model, ids, tokenizer.pad_token_id)
    assert (found[0::2] - found[1::2]).mean().item() == pytest.approx(margin, abs=close)
    before = stock_rewards(seeded_policy(config.model_copy(update={"method": None})).model, ids, 0)
    assert (found - before).abs().max() > 0.01  # training did something


def test_a_reward_model_learns_which_answers_are_chosen(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"Say {n}", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(60)]
    config = rewarding(
        tiny_model,
        write_pairs(tmp_path / "pairs.json", rows),
        steps=20,
        learning_rate=1e-2,
        eval_fraction=0.25,
    )
    record = run(config, tmp_path, evaluate_at=frozenset({1}))
    assert record.quality == 1.0
    assert record.metrics["margin"] > 0.5
    assert record.metrics["loss"] < 0.5
    first, last = (value for _, value in curve(config, tmp_path, "objective"))
    assert first < last


def test_the_loss_falls_on_pairs_of_the_embedded_data_set(tiny_model: Path, tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.json", commands.preferences()[:24])
    config = rewarding(tiny_model, path, steps=20, learning_rate=1e-2, batch_size=8, eval_fraction=0.25)
    run(config, tmp_path)
    losses = [value for _, value in curve(config, tmp_path)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


@pytest.mark.parametrize("center", [0.0, 0.5])
def test_the_loss_is_bradley_and_terrys_counted_by_hand(tiny_model: Path, center: float) -> None:
    """In 64 bits, row by row with no padding: -ln sigmoid(difference) + center x (sum)^2."""
    stage = {"center_rewards_coefficient": center}
    config = rewarding(tiny_model, method="full", precision="fp32", stage=stage)
    policy, rows = seeded_policy(config), some_rows(4)
    trainer = make_trainer(config, policy, rows, cutoff=64)
    batch = trainer.data_collator([trainer.train_dataset[n] for n in range(4)])
    found = trainer.compute_loss(trainer.model, batch).item()
    double = copy.deepcopy(policy.model).double()
    terms = []
    for pair in [config.stage.encode(policy.tokenizer, row, 64) for row in rows]:
        states = [double.model(input_ids=torch.tensor([one.input_ids])).last_hidden_state for one in pair]
        chosen, rejected = ((state[0, -1] @ double.score.weight[0]).item() for state in states)
        terms.append(np.log1p(np.exp(rejected - chosen)) + center * (chosen + rejected) ** 2)
    assert found == pytest.approx(np.mean(terms), abs=1e-5)


# Where a reward is read


def test_padding_does_not_change_a_reward(tiny_model: Path) -> None:
    config = rewarding(tiny_model, method="full", precision="fp32")
    policy = seeded_policy(config)
    rows = [one for row in some_rows(6) for one in config.stage.encode(policy.tokenizer, row, 64)]
    assert len({len(row.input_ids) for row in rows}) > 3
    np.testing.assert_allclose(rewards(policy, rows, 12), rewards(policy, rows, 1), atol=1e-5)


@pytest.fixture(scope="module")
def padded_with_its_end(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a tokenizer that pads with the end of sequence, which also ends its answers."""
    import shutil

    path = tmp_path_factory.mktemp("models") / "padded"
    shutil.copytree(tiny_model, path)
    tokenizer: Any = AutoTokenizer.from_pretrained(path)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_end|>\n", "<|im_end|>")
    tokenizer.save_pretrained(path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"pad_token_id": tokenizer.eos_token_id}))
    return path


def test_training_and_scoring_read_the_end_of_sequence_where_that_is_padding_too(
    padded_with_its_end: Path,
) -> None:
    config = rewarding(padded_with_its_end, method="full", precision="fp32")
    policy, rows = seeded_policy(config), some_rows(6)
    pairs = [config.stage.encode(policy.tokenizer, row, 64) for row in rows]
    ids = [pair[side].input_ids for side in (0, 1) for pair in pairs]
    end = policy.tokenizer.eos_token_id
    assert [row[-1] for row in ids].count(end) >= 10
    trainer = make_trainer(config, policy, rows, cutoff=64)
    batch = trainer.data_collator([trainer.train_dataset[n] for n in range(6)])
    with torch.no_grad():
        trained_on = trainer.model(**batch).logits[:, 0].numpy()
    alone = [stock_hidden(policy.model, row)[-1] for row in ids]
    np.testing.assert_allclose(trained_on, alone, atol=1e-5)
    np.testing.assert_allclose(rewards(policy, [p[s] for s in (0, 1) for p in pairs], 16), alone, atol=1e-5)
    policy.model.config.pad_token_id = end  # as it would have been: the token before the end is read
    np.testing.assert_allclose(
        stock_rewards(policy.model, ids[:5], end).numpy(),
        [stock_hidden(policy.model, row)[-2] for row in ids[:5]],
        atol=1e-5,
    )


def stock_hidden(model: Any, ids: list[int]) -> list[float]:
    """What the head says at every token of one row."""
    with torch.no_grad():
        return model.score(model.model(input_ids=torch.tensor([ids])).last_hidden_state)[0, :, 0].tolist()


def test_what_was_padded_with_its_end_loads_again_and_reads_the_same_token(
    padded_with_its_end: Path, tmp_path: Path
) -> None:
    for method in ("full", "lora"):
        config = rewarding(padded_with_its_end, method=method, precision="fp32", learning_rate=1e-2)
        record = run(config, tmp_path)
        model, tokenizer = reloaded(config, tmp_path / "trials" / config.trial_id() / "model")
        assert tokenizer.pad_token != tokenizer.eos_token
        assert_same_margin(config, model, tokenizer, record.metrics["margin"], 1e-5)


def test_padding_is_another_token_only_where_answers_end_with_it(
    tiny_model: Path, padded_with_its_end: Path
) -> None:
    own, ending = load_tokenizer(tiny_model), load_tokenizer(padded_with_its_end)
    assert with_distinct_padding(own) is own
    assert with_distinct_padding(ending).pad_token == "<|endoftext|>"
    assert with_distinct_padding(ending) is with_distinct_padding(
        ending
    )  # rows are encoded once for each tokenizer
    assert ending.pad_token == ending.eos_token  # what other stages share stays as it is


def test_padding_is_an_ordinary_token_where_there_is_no_special_one_to_spare(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(["<end>", "a", "b"])}
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="a")),
        eos_token="<end>",
        pad_token="<end>",
    )
    tokenizer.chat_template = "{% for message in messages %}{{ eos_token }}{% endfor %}"
    assert with_distinct_padding(tokenizer).pad_token == "b"


# The head


@pytest.mark.parametrize("method", METHODS)
def test_the_head_is_the_seeds_and_trains_in_full_precision_with_every_method(
    tiny_model: Path, method: str
) -> None:
    config = rewarding(tiny_model, method=method)
    policy, again = seeded_policy(config), seeded_policy(config)
    (name, head), *others = [
        (name, p) for name, p in policy.model.named_parameters() if "score" in name and p.requires_grad
    ]
    assert others == []
    assert head.dtype == torch.float32
    assert torch.equal(head, dict(again.model.named_parameters())[name])
    other = config.model_copy(update={"train": config.train.model_copy(update={"seed": 1})})
    assert not torch.equal(head, dict(seeded_policy(other).model.named_parameters())[name])
    # The same for every method, rounded as the base's weights are.
    set_seed(0)
    base = load_base(config.model_copy(update={"method": None}), tiny_model)
    torch.testing.assert_close(head.bfloat16(), base.score.weight, atol=0, rtol=0)


@pytest.mark.parametrize("method", ["qlora-4bit", "qlora-8bit"])
def test_the_head_is_not_quantized(tiny_model: Path, method: str) -> None:
    policy = seeded_policy(rewarding(tiny_model, method=method))
    kinds = {type(m).__name__ for n, m in policy.model.named_modules() if n.endswith("q_proj.base_layer")}
    assert kinds <= {"Linear4bit", "Linear8bitLt"}
    assert {
        type(m)
        for n, m in policy.model.named_modules()
        if n.endswith(("score.original_module", "score.modules_to_save.default"))
    } == {torch.nn.Linear}


def test_freeze_may_train_the_reward_head_alone(tiny_model: Path) -> None:
    config = rewarding(tiny_model, method={"kind": "freeze", "layers": 0, "head": True})
    policy = seeded_policy(config)
    assert [n for n, p in policy.model.named_parameters() if p.requires_grad] == ["score.weight"]


def test_a_reward_model_has_no_head_that_predicts_tokens_to_train(tiny_model: Path) -> None:
    found = read_architecture(tiny_model)
    assert found.trained_for("CAUSAL_LM").has_module("lm_head")
    assert not found.trained_for("SEQ_CLS").has_module("lm_head")
    assert found.trained_for("SEQ_CLS").has_module("q_proj")


def test_a_template_of_its_own_suits_a_reward_model(tiny_model: Path, tmp_path: Path) -> None:
    config = rewarding(tiny_model)
    config = config.model_copy(update={"data": config.data.model_copy(update={"template": "default"})})
    policy = attach(load_base(config, tiny_model), load_tokenizer(tiny_model, "default"), config)
    assert policy.tokenizer.pad_token_id == policy.causal.config.pad_token_id


def test_a_methods_dropout_stays_on(tiny_model: Path) -> None:
    config = rewarding(tiny_model, method={"kind": "lora", "rank": 4, "dropout": 0.3})
    policy = seeded_policy(config)
    make_trainer(config, policy, some_rows(4), cutoff=256)
    rates = {m.p for m in policy.model.modules() if isinstance(m, torch.nn.Dropout)}
    assert rates == {0.3}


# Around it


@pytest.mark.parametrize("method", [{"kind": "full"}, {"kind": "lora", "rank": 4, "dropout": 0.2}])
def test_an_interrupted_trial_resumes_to_the_same_curve(
    tiny_model: Path, tmp_path: Path, method: dict[str, Any]
) -> None:
    config = rewarding(tiny_model, method=method, steps=6, eval_steps=2)
    whole = run(config, tmp_path / "undisturbed")
    assert run(config, tmp_path, control=ScriptedControl(interrupt_at=3)).status == "interrupted"
    again = run(config, tmp_path)
    for name in ("train_loss", "grad_norm", "objective", "validation_pair_accuracy"):
        assert curve(config, tmp_path, name) == curve(config, tmp_path / "undisturbed", name)
    assert (again.objective, again.quality) == (whole.objective, whole.quality)


def test_the_base_model_is_scored_with_its_new_head(tiny_model: Path, tmp_path: Path) -> None:
    record = run(rewarding(tiny_model, method=None), tmp_path)
    assert (record.status, record.steps) == ("done", None)
    assert record.metrics["loss"] == pytest.approx(np.log(2), abs=0.1)


def test_its_memory_is_measured(tiny_model: Path) -> None:
    found = measure(rewarding(tiny_model, cutoff=48))
    trainable = sum(
        p.numel() for p in seeded_policy(rewarding(tiny_model)).model.parameters() if p.requires_grad
    )
    assert found.gradient_bytes == 4 * trainable
    assert found.row_tokens == 48
    assert found.peak_train_bytes is None or found.peak_eval_bytes is not None


def test_a_plan_refuses_rows_without_a_chosen_and_a_rejected_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    workdir, spec = spec_folder(tmp_path), SPEC.replace("kind: sft", "kind: reward")
    (error,) = plan(workdir, spec).errors
    assert "preferences need a chosen and a rejected answer" in error.what
    rows = [{"prompt": f"say {n}", "chosen": str(n), "rejected": str(-n - 1)} for n in range(60)]
    (workdir / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert plan(workdir, spec).errors == ()
    (error,) = plan(workdir, spec.replace(ONE, "  - {kind: lora, modules_to_save: [lm_head]}\n")).errors
    assert "no module 'lm_head' in the model" in error.what
