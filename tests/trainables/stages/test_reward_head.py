"""Reward models of families for which transformers have no class with a reward head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from tests.helpers.exports import export_successfully
from tests.helpers.model_families import make_family
from tests.helpers.trials import NEW, ScriptedControl, make_config, make_policy, run
from trainables import results
from trainables.data import loading
from trainables.models.architecture.reward_model import DecoderWithRewardHead, RewardModels, loading_code
from trainables.models.folder import ModelError
from trainables.stages.reward import rewards
from trainables.stages.rewards.reward_model import rewards as ppo_rewards
from trainables.trial import starting_weights
from trainables.trial.config import TrialConfig

# Scaled logits; hidden states in 32 bits; a decoder by another name; experts; the text part of a model with images.
KINDS = ("granite", "mamba", "llama4", "olmoe", "qwen4_exp")
FEW: dict[str, Any] = {
    "eval_rows": 6,
    "eval_fraction": 0.95,
    "cutoff": 80,
    "precision": "fp32",
    "dtype": "float32",
}


@pytest.fixture(scope="module")
def granite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_family(tmp_path_factory.mktemp("families") / "granite", "granite")


def rewarding(model: Path, method: str, **leaves: Any) -> TrialConfig:
    return make_config(
        model, "commands", method, stage={"kind": "reward"}, learning_rate=1e-2, **FEW, **leaves
    )


@pytest.mark.parametrize("kind", KINDS)
def test_rewards_are_read_at_the_last_token_however_texts_are_padded(tmp_path: Path, kind: str) -> None:
    folder = make_family(tmp_path / kind, kind)
    torch.manual_seed(0)
    model = RewardModels.from_pretrained(folder, num_labels=1).eval()
    assert (model.base_model is not model, model.score.weight.shape[0]) == (True, 1)
    long, short = torch.randint(3, 500, (1, 9)), torch.randint(3, 500, (1, 5))
    pad = torch.zeros(1, 4, dtype=torch.long)
    mask = torch.tensor([[1] * 9, [1] * 5 + [0] * 4])
    with torch.no_grad():
        alone = [model(ids).logits.item() for ids in (long, short)]
        batch = torch.cat([long, torch.cat([short, pad], 1)])
        assert model(batch, attention_mask=mask).logits[:, 0].tolist() == pytest.approx(alone, abs=1e-5)
        last = model.base_model(input_ids=short, use_cache=False).last_hidden_state[0, -1]
        assert alone[1] == pytest.approx(float(model.score(last)), abs=1e-5)
        half = RewardModels.from_pretrained(folder, num_labels=1, dtype=torch.bfloat16).eval()
        assert half(batch, attention_mask=mask).logits.dtype == torch.bfloat16
    model.save_pretrained(tmp_path / "saved")
    again = RewardModels.from_pretrained(tmp_path / "saved").eval()
    assert all(torch.equal(p, again.state_dict()[name]) for name, p in model.state_dict().items())
    # The code of an export makes a class that reads the same rewards.
    registered = dict(AutoModelForSequenceClassification._model_mapping._extra_content)
    try:
        exec("\n".join(loading_code(AutoConfig.from_pretrained(folder))), {})
        plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
        with torch.no_grad():
            assert plain(short).logits.item() == pytest.approx(alone[1], abs=1e-5)
    finally:
        AutoModelForSequenceClassification._model_mapping._extra_content = registered


def test_a_family_with_a_class_has_transformers_own(tiny_model: Path) -> None:
    model = RewardModels.from_pretrained(tiny_model, num_labels=1)
    assert not isinstance(model, DecoderWithRewardHead)
    assert loading_code(AutoConfig.from_pretrained(tiny_model)) == []


@pytest.mark.parametrize("method", ["full", "lora"])
def test_such_a_reward_model_is_used_by_evaluate_export_and_ppo(
    granite: Path, tmp_path: Path, method: str
) -> None:
    config = rewarding(granite, method)
    record = run(config, tmp_path / "run")
    results.write_tables(tmp_path / "run")
    name = f"{tmp_path / 'run'}:{config.trial_id()}"
    command = export_successfully(name, tmp_path / "out", "--dtype", "float32")
    assert "lines of Python" in " ".join(command.stdout.split())
    card = (tmp_path / "out" / "README.md").read_text()
    assert "class GraniteForSequenceClassification(GranitePreTrainedModel)" in card
    saved = starting_weights.find_trained_model(tmp_path / "run" / "trials" / config.trial_id())
    assert saved.folder is not None
    rows = loading.load(config.data, config.stage.row_type).test
    policy = make_policy(config)
    answers = list(config.stage.tokens(policy.tokenizer, rows, 80, scoring=True))
    whole = make_policy(config.model_copy(update={"method": None, "model": _at(config, tmp_path / "out")}))
    exported = rewards(whole, answers, 4)
    assert float((exported[0::2] - exported[1::2]).mean()) == pytest.approx(
        record.metrics["margin"], abs=1e-4
    )
    optimizing = make_config(
        granite, "commands", method, stage={"kind": "ppo", "max_new_tokens": NEW, "reward": saved}, **FEW
    )
    found = ppo_rewards(make_policy(optimizing), saved.folder, answers)
    assert found == pytest.approx(exported.tolist(), abs=1e-4)


def _at(config: TrialConfig, folder: Path) -> Any:
    return config.model.model_copy(update={"path": folder})


def test_such_a_trial_resumes_where_it_was_interrupted(granite: Path, tmp_path: Path) -> None:
    config = rewarding(granite, "lora", steps=3)
    whole = run(config, tmp_path / "whole")
    assert run(config, tmp_path / "cut", control=ScriptedControl(interrupt_at=2)).status == "interrupted"
    assert run(config, tmp_path / "cut").metrics == whole.metrics


def test_a_family_whose_rows_change_with_padding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="when padding follows it"):
        make_policy(rewarding(make_family(tmp_path / "cpmant", "cpmant"), "full"))
