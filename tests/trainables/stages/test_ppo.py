"""PPO on the tiny model: what is 0 and 1 at first; that it learns, resumes, and keeps its reference."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

from tests.helpers.model_families import make_family
from tests.helpers.specs import SPEC, plan, spec_folder
from tests.helpers.tiny_model import make_model
from tests.helpers.trials import (
    METHODS,
    NEW,
    ScriptedControl,
    curve,
    make_config,
    make_policy,
    rewarded_by_letters,
    run,
)
from tests.trainables.stages.test_reward import padded_with_its_end  # noqa: F401
from trainables.config.trained_model import TrainedModel
from trainables.data import loading
from trainables.data.embedded import commands
from trainables.data.errors import DataError
from trainables.data.rows import Prompt
from trainables.memory.measurement import measure
from trainables.runner.run import TrialContext, run_trial
from trainables.scoring.generation import continue_greedily
from trainables.scoring.likelihood import log_likelihoods
from trainables.stages.ppo.token_estimates import mask_early_ends
from trainables.stages.ppo.trainer import PPOTrainer
from trainables.stages.rewards.reward_model import LOADED
from trainables.stages.rewards.rules import RULES, Rule
from trainables.training.policy import Policy
from trainables.training.reference_policy import as_reference
from trainables.training.trainer_setup import clean_process, training_arguments
from trainables.trial import starting_weights
from trainables.trial.config import TrialConfig
from trainables.trial.tokenizer import tokenizer_of

pytestmark = pytest.mark.usefixtures("letter")
optimizing = partial(rewarded_by_letters, "ppo")


def make_trainer(config: TrialConfig, policy: Policy, rows: list[Any]) -> PPOTrainer:
    clean_process()
    options = training_arguments(config.train, 2, Path("/nonexistent"), 1, "cpu") | {"save_strategy": "no"}
    trainer: Any = config.stage.trainer(policy, rows, config.train, config.data.cutoff, options)
    return trainer


def seeded(config: TrialConfig, count: int = 4) -> tuple[Policy, PPOTrainer]:
    set_seed(config.train.seed)
    policy = make_policy(config)
    return policy, make_trainer(config, policy, some_rows(count))


def some_rows(count: int) -> list[Prompt]:
    rows = commands.prompts()[:count]
    return [Prompt(({"role": "user", "content": row["prompt"]},), row["reference"]) for row in rows]


def batch(trainer: Any, count: int = 4) -> Any:
    return trainer.data_collator([trainer.train_dataset[n] for n in range(count)])


# Of frozen layers and an 8-bit base, the reference is looked at below, and `test_stages_and_methods` trains them.
@pytest.mark.parametrize(
    "method",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in ("freeze", "qlora-8bit"))) for name in METHODS],
)
def test_every_method_starts_with_kl_0_and_ratio_1_and_runs_to_its_end(
    tiny_model: Path, tmp_path: Path, method: str
) -> None:
    config = optimizing(tiny_model, method, stage={"mini_batches": 2, "kl_target": 1.0})
    record = run(config, tmp_path)
    assert (record.status, record.quality_name, record.steps) == ("done", "reward", 2)
    assert curve(config, tmp_path, "kl")[0] == (1, 0.0)
    assert curve(config, tmp_path, "kl")[1][1] != 0.0
    assert curve(config, tmp_path, "ratio") == [(1, 1.0), (2, 1.0)]
    assert all(value != 0 for _, value in curve(config, tmp_path, "grad_norm"))
    assert (record.reference_bytes is None) == ("lora" in method)
    assert record.tokens is not None
    assert record.tokens > 8 * NEW
    saved = tmp_path / "trials" / config.trial_id() / "model"
    assert not [path for path in saved.rglob("*") if "value_head" in path.name or path.is_dir()]


def test_the_kept_weights_of_the_reference_take_the_dtype_they_came_in(tiny_model: Path) -> None:
    policy, _ = seeded(optimizing(tiny_model, "full"))
    trained = sum(p.numel() for p in policy.model.parameters())
    assert sum(t.numel() * t.element_size() for t in policy.reference_weights.values()) == 2 * trained


def test_it_learns_to_say_what_is_rewarded(tiny_model: Path, tmp_path: Path) -> None:
    config = optimizing(tiny_model, "full", steps=45, batch_size=8, stage={"kl_coefficient": 0.01})
    record = run(config, tmp_path)
    rewards = [value for _, value in curve(config, tmp_path, "reward")]
    assert sum(rewards[-4:]) > 3 * sum(rewards[:4])
    assert record.quality is not None
    assert record.quality > 3 * rewards[0]


def test_a_dearer_kl_keeps_the_policy_nearer_to_its_reference(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    found = {}
    for coefficient in (0.0, 1.0):
        stage = {"kl_coefficient": coefficient}
        config = optimizing(model, "full", steps=12, batch_size=8, stage=stage)
        run(config, tmp_path)
        found[coefficient] = curve(config, tmp_path, "kl")[-1][1]
    assert found[1.0] < 0.5 * found[0.0]


@pytest.mark.parametrize("method", ["full", "lora", "qlora-4bit"])
def test_an_interrupted_trial_resumes_to_the_same_curve(
    tiny_model: Path, tmp_path: Path, method: str
) -> None:
    stage = {"kl_target": 0.1, "kl_horizon": 20, "mini_batches": 2, "epochs": 2}
    config = optimizing(tiny_model, method, steps=5, eval_steps=2, stage=stage)
    whole = run(config, tmp_path / "undisturbed")
    assert run(config, tmp_path, control=ScriptedControl(interrupt_at=3)).status == "interrupted"
    again = run(config, tmp_path)
    for name in ("train_loss", "grad_norm", "objective", *config.stage.logged_metrics):
        assert len(curve(config, tmp_path, name)) >= 3
        assert curve(config, tmp_path, name) == curve(config, tmp_path / "undisturbed", name)
    assert len({value for _, value in curve(config, tmp_path, "kl_coefficient")}) == 5
    assert (again.quality, again.metrics, again.tokens) == (whole.quality, whole.metrics, whole.tokens)


def test_tokens_are_those_of_prompts_and_answers(tiny_model: Path, tmp_path: Path) -> None:
    config = optimizing(tiny_model, stage={"min_new_tokens": NEW})
    policy, _ = seeded(config)
    record = run(config, tmp_path)
    prompts = record.tokens - 2 * 4 * NEW if record.tokens else 0
    rows = loading.load(config.data, Prompt).train
    lengths = config.stage.tokens(policy.tokenizer, rows, config.data.cutoff).lengths
    assert 8 * lengths.min() <= prompts <= 8 * lengths.max()


@pytest.mark.parametrize("method", [*METHODS, "pissa"])
def test_the_reference_is_the_base_model_after_training_too(tiny_model: Path, method: str) -> None:
    how: Any = {"kind": "lora", "rank": 4, "init": "pissa"} if method == "pissa" else method
    config = optimizing(tiny_model, how, precision="fp32", learning_rate=1e-2)
    set_seed(0)
    policy = make_policy(config)
    rows = config.stage.tokens(policy.tokenizer, some_rows(4), 80)
    sampled = [type(row)([*row.input_ids, 9, 11], [*row.labels, 9, 11], 0, False) for row in rows]
    before = [found.logprob for found in log_likelihoods(policy, sampled, 4)]
    make_trainer(config, policy, some_rows(4)).train()
    after = [found.logprob for found in log_likelihoods(policy, sampled, 4)]
    with as_reference(policy):
        kept = [found.logprob for found in log_likelihoods(policy, sampled, 4)]
    assert kept == pytest.approx(before, abs=1e-5)
    assert max(abs(a - b) for a, b in zip(after, before, strict=True)) > 1e-3
    assert [found.logprob for found in log_likelihoods(policy, sampled, 4)] == after


@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_is_saved_gives_the_same_greedy_answers(tiny_model: Path, tmp_path: Path, method: str) -> None:
    from peft import PeftModel

    config = optimizing(tiny_model, method, precision="fp32", learning_rate=1e-2)
    run(config, tmp_path)
    trial = tmp_path / "trials" / config.trial_id()
    tokenizer: Any = AutoTokenizer.from_pretrained(trial / "model")
    model: Any = AutoModelForCausalLM.from_pretrained(trial / "model" if method == "full" else tiny_model)
    model = (model if method == "full" else PeftModel.from_pretrained(model, trial / "model")).float()
    import pyarrow.parquet as pq

    for row in pq.read_table(trial / "predictions.parquet").to_pylist()[:3]:
        text = tokenizer.apply_chat_template(
            json.loads(row["prompt"]), add_generation_prompt=True, tokenize=False
        )
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])[:, -(80 - NEW) :]
        sampled = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW)
        assert (
            tokenizer.decode(sampled[0, ids.shape[1] :], skip_special_tokens=True).strip()
            == row["prediction"]
        )


# Answers


@pytest.mark.parametrize("kind", [None, "recurrent_gemma"])  # whose states padding would enter
def test_padding_on_the_left_changes_nothing(tiny_model: Path, tmp_path: Path, kind: str | None) -> None:
    model = make_family(tmp_path / kind, kind) if kind else tiny_model
    _policy, trainer = seeded(optimizing(model, "full", precision="fp32"))
    prompts = batch(trainer)
    assert len(set(prompts["attention_mask"].sum(1).tolist())) > 1
    answers = torch.randint(5, 99, (4, 3))
    counted = torch.ones_like(answers, dtype=torch.bool)
    counted[1, 1:] = False
    mask = torch.cat([prompts["attention_mask"], counted.long()], 1)
    ids = torch.cat([prompts["input_ids"], answers], 1)
    torch.nn.init.normal_(trainer.value_head.linear.weight)
    with torch.no_grad():
        together = trainer._forward(ids, mask, counted)
        for row in range(4):
            own = mask[row].bool()
            alone = trainer._forward(
                ids[row, own][None], mask[row, own][None], counted[row, counted[row]][None]
            )
            for name in ("logprobs", "values", "entropy"):
                padded = getattr(together, name)[row, counted[row]]
                torch.testing.assert_close(getattr(alone, name)[0], padded, atol=1e-5, rtol=0)


@pytest.mark.parametrize("worth", [0.0, 1.0])
def test_one_row_and_equal_rewards_give_numbers(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, worth: float
) -> None:
    monkeypatch.setitem(RULES, "letter", Rule(lambda *_: worth, lambda _: True, ""))
    stage = {"max_new_tokens": 1, "normalize_scores": True, "whiten_rewards": True}
    _, trainer = seeded(optimizing(tiny_model, batch_size=1, stage=stage), count=1)
    trainer.train()
    assert all(torch.isfinite(p).all() for p in trainer._trained_parameters())


def test_an_answer_may_end_at_once_and_padding_may_be_the_end(
    padded_with_its_end: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = optimizing(padded_with_its_end, stage={"missing_eos_penalty": 1.0})
    policy, trainer = seeded(config)
    end = policy.tokenizer.eos_token_id
    assert policy.tokenizer.pad_token_id == end
    sampled = torch.full((4, 5), end)
    sampled[1, :2], sampled[2, :] = 7, 9
    monkeypatch.setattr("trainables.stages.ppo.trainer.sample_answers", lambda *_: sampled)
    found = trainer._sample_and_score(batch(trainer))
    assert found.counted.sum(1).tolist() == [1, 3, 5, 1]
    assert (found.logprobs[found.counted] < 0).all()
    assert (found.logprobs[~found.counted] == 0).all()
    shaped = trainer._shaped_scores(torch.zeros(4), sampled, found.counted)
    assert shaped.tolist() == [0.0, 0.0, -1.0, 0.0]
    trainer.train()


def test_no_answer_ends_before_it_may_and_the_ratio_stays_1(tiny_model: Path, tmp_path: Path) -> None:
    stage = {"min_new_tokens": 4, "max_new_tokens": 4, "temperature": 0.7}
    config = optimizing(tiny_model, stage=stage)
    run(config, tmp_path)
    assert [value for _, value in curve(config, tmp_path, "answer_tokens")] == [4.0, 4.0]
    assert [value for _, value in curve(config, tmp_path, "ratio")] == [1.0, 1.0]
    _, trainer = seeded(config)
    counted = torch.ones(1, 5, dtype=torch.bool)
    allowed = mask_early_ends(torch.zeros(5, 512), counted, trainer.ends, minimum=4)
    assert allowed[:, trainer.ends].isinf()[:, 0].tolist() == [True] * 4 + [False]


def test_accumulated_batches_are_one_round(tiny_model: Path, tmp_path: Path) -> None:
    config = optimizing(tiny_model, batch_size=2, gradient_accumulation=2, gradient_checkpointing=True)
    record = run(config, tmp_path)
    assert (record.status, record.steps) == ("done", 2)
    assert [value for _, value in curve(config, tmp_path, "ratio")] == [1.0, 1.0]


def test_a_prompt_that_is_too_long_keeps_its_end(tiny_model: Path) -> None:
    config = optimizing(tiny_model, cutoff=24)
    policy = make_policy(config)
    (row,) = some_rows(1)
    (whole,), (cut,) = (config.stage.encode(policy.tokenizer, row, cutoff) for cutoff in (256, 24))
    assert (len(cut.input_ids), cut.truncated, whole.truncated) == (24 - NEW, True, False)
    assert cut.input_ids == whole.input_ids[-(24 - NEW) :]


def test_memory_is_measured_with_answers_of_full_length(tiny_model: Path, tmp_path: Path) -> None:
    seen = measure(optimizing(tiny_model, cutoff=48))
    assert seen.row_tokens == 48
    assert seen.gradient_bytes is not None
    assert seen.peak_train_bytes is None or seen.peak_eval_bytes is not None


# Rewards


def rewarded(model: Path, tmp_path: Path, method: Any) -> TrainedModel:
    leaves = {"stage": {"kind": "reward"}, "eval_rows": 6, "eval_fraction": 0.95, "learning_rate": 1e-2}
    config = make_config(model, "commands", method, **leaves, precision="fp32")
    run(config, tmp_path)
    return starting_weights.find_trained_model(tmp_path / "trials" / config.trial_id())


def test_a_reward_trials_adapter_rewards_on_the_policys_own_base(tiny_model: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    saved = rewarded(tiny_model, tmp_path, "lora")
    config = optimizing(tiny_model, stage={"reward": saved}, precision="fp32")
    assert run(config, tmp_path).status == "done"
    assert [value for _, value in curve(config, tmp_path, "ratio")] == [1.0, 1.0]
    assert not [
        path for path in (tmp_path / "trials" / config.trial_id() / "model").rglob("*") if path.is_dir()
    ]
    policy, trainer = seeded(config)
    size = sum(p.numel() for p in policy.model.parameters())
    trainer.train()
    rows, sampled = some_rows(4), ["off fan", "on", "dim hall 4", ""]
    found = config.stage.answer_rewards(policy, rows, sampled, 80)
    assert sum(p.numel() for p in policy.model.parameters()) == size
    assert not any(p is w for p in policy.model.parameters() for w in LOADED[policy.model].down.values())
    stock: Any = AutoModelForSequenceClassification.from_pretrained(
        tiny_model, num_labels=1, dtype=torch.float32, pad_token_id=0
    )
    stock = PeftModel.from_pretrained(stock, str(saved.folder)).eval()
    for row, answer, reward in zip(rows, sampled, found, strict=True):
        turns = [*row.prompt, {"role": "assistant", "content": answer}]
        text: Any = policy.tokenizer.apply_chat_template(turns, tokenize=False)
        ids = torch.tensor([policy.tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            assert stock(input_ids=ids).logits.item() == pytest.approx(reward, abs=1e-4)


def test_a_whole_reward_model_rewards_where_the_base_trains(tiny_model: Path, tmp_path: Path) -> None:
    saved = rewarded(tiny_model, tmp_path, "full")
    config = optimizing(tiny_model, "full", stage={"reward": saved})
    record = run(config, tmp_path)
    assert record.status == "done"
    assert record.quality != 0.0
    assert measure(config).row_tokens is not None


def test_the_base_model_is_scored_by_a_reward_adapter(tiny_model: Path, tmp_path: Path) -> None:
    saved = rewarded(tiny_model, tmp_path, "lora")
    record = run(optimizing(tiny_model, None, stage={"reward": saved}), tmp_path)
    assert (record.status, record.metrics["kl"]) == ("done", 0.0)


def test_a_reward_adapter_is_refused_where_it_fits_nothing(tiny_model: Path, tmp_path: Path) -> None:
    saved = rewarded(tiny_model, tmp_path, "lora")
    stage = {"reward": saved}
    full = optimizing(tiny_model, "full", stage=stage)
    assert [leaf for leaf, what in full.stage.problems(full, None) if "adapter" in what] == ["reward"]
    error = run_trial(full, TrialContext(tmp_path / "full")).error
    assert error is not None
    assert "of method full or freeze" in error
    assert saved.folder is not None
    config = saved.folder.parent / "config.json"
    trained = json.loads(config.read_text())
    config.write_text(json.dumps(trained | {"model": {**trained["model"], "fingerprint": "other"}}))
    lora = optimizing(tiny_model, stage=stage)
    workdir = lora.model_copy(update={"model": lora.model.model_copy(update={"fingerprint": "mine"})})
    ((_, what),) = workdir.stage.problems(workdir, None)
    assert f"{saved.folder} was trained on other weights: " in what
    shutil.rmtree(saved.folder)
    saved.folder.mkdir()
    ((_, what),) = lora.stage.problems(lora, None)
    assert "holds no model" in what


def test_rows_without_a_reference_cant_be_rewarded_by_a_rule(tiny_model: Path) -> None:
    config = optimizing(tiny_model, stage={"reward": "commands"})
    rows = [Prompt(({"role": "user", "content": "off"},), reference) for reference in (None, "please")]
    for row in rows:
        with pytest.raises(DataError, match="reference"):
            config.stage.answer_rewards(make_policy(config), [row], ["off"], 80)


def test_a_right_answer_gets_the_whole_reward(tiny_model: Path) -> None:
    config = optimizing(tiny_model, stage={"reward": "commands"})
    (row,) = loading.load(config.data, Prompt).test[:1]
    assert config.stage.answer_rewards(make_policy(config), [row] * 2, [row.reference, "hm"], 80) == [
        1.0,
        0.0,
    ]


def test_a_plan_names_what_a_ppo_stage_lacks(tmp_path: Path) -> None:
    workdir = spec_folder(tmp_path)
    reported = {
        "{kind: ppo}": "ppo needs a reward",
        "{kind: ppo, reward: none}": "no rule and no folder",
        "{kind: ppo, reward: commands}": "needs a command as reference",
        "{kind: ppo, reward: letter, max_new_tokens: 5000}": "leave no room for a prompt",
        "{kind: ppo, reward: letter, mini_batches: 3}": "can't be shared by 3 mini-batches",
    }
    for stage, words in reported.items():
        errors = [str(error) for error in plan(workdir, SPEC.replace("{kind: sft}", stage)).errors]
        assert errors, stage
        assert all(words in error for error in errors), (stage, errors)
    assert plan(workdir, SPEC.replace("{kind: sft}", "{kind: ppo, reward: letter}")).errors == ()
    domain = "{kind: ppo, reward: letter, clip_range: {uniform: [0.1, 0.3]}, epochs: {int: [1, 4]}}"
    assert plan(workdir, SPEC.replace("{kind: sft}", domain)).errors == ()


def test_a_greedy_answer_stops_at_its_first_end(tiny_model: Path) -> None:
    config = optimizing(tiny_model, precision="fp32")
    policy = make_policy(config)
    tokens = config.stage.tokens(policy.tokenizer, some_rows(3), 80)
    sampled = continue_greedily(policy, [row.input_ids for row in tokens], NEW, 3)
    assert all(len(answer) <= NEW for answer in sampled)


def test_what_is_logged_is_averaged_over_rounds_and_workers(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, trainer = seeded(optimizing(tiny_model))
    monkeypatch.setattr(trainer, "_mean_over_workers", lambda value: (value + 3) / 2)  # another's is 3
    trainer._collect_logs(reward=1.0)
    trainer._collect_logs(reward=2.0, kl=5.0)
    assert trainer._mean_logs() == {"reward": 2.25, "kl": 4.0}
    assert trainer._mean_logs() == {}


def test_the_largest_row_has_the_longest_prompt_and_an_answer(tiny_model: Path) -> None:
    config = optimizing(tiny_model)
    tokenizer, rows = tokenizer_of(config), loading.load(config.data, Prompt).train
    longest = config.stage.longest_row(tokenizer, rows, 80)[1]
    # All tokens of a mini-batch of answers bear a loss, and those of encoded rows, the prompts, none.
    assert config.stage.largest_row(tokenizer, rows, 80) == longest
    assert longest.labels is None
