"""Every stage with every method: it trains, scores, resumes bit for bit, and what it saves loads again as it was."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from torch.nn import Parameter

from reports.analysis.row_scores import estimate
from tests.helpers.trials import LETTER, METHODS, NEW, ScriptedControl, curve, make_config, run
from trainables.data import loading
from trainables.data.embedded.command_kinds import KINDS
from trainables.methods.adapter_dtypes import keep_input_dtype
from trainables.methods.virtual_tokens import enter_decoder
from trainables.models.precision import choose_dtypes
from trainables.quantizers.bnb import keep_cpu_gradients_correct
from trainables.results import gather_run
from trainables.stages.rewards.rules import RULES
from trainables.training.policy import Policy, default_device
from trainables.training.trainer_setup import clean_process
from trainables.trial.config import TrialConfig
from trainables.trial.loading import LOADERS, load_base
from trainables.trial.tokenizer import load_tokenizer

STAGES = ["pretrain", "sft", "classification", "reward", "ppo", "grpo", "dpo", "kto", "orpo", "simpo"]
OWN: dict[str, dict[str, Any]] = {
    "ppo": {"reward": "letter", "max_new_tokens": NEW},
    "grpo": {"reward": "letter", "max_new_tokens": NEW, "num_generations": 2, "beta": 0.1},
    # As planning takes them from the rows.
    "classification": {"labels": sorted(set(KINDS.values())), "multi_label": False},
}
# 8-bit layers differ from 4-bit ones by what quantizes them: where they are wrong, they are for every stage.
# GRPO's trainer treats methods as PPO's does; `test_grpo` trains one whose reference is a copy.
QUICK = {
    (stage, method)
    for stage in STAGES
    for method in METHODS
    if method != "qlora-8bit" and (stage != "grpo" or method == "lora")
} | {
    ("sft", "qlora-8bit"),
    ("reward", "qlora-8bit"),
}
CELLS = [
    pytest.param(stage, method, marks=() if (stage, method) in QUICK else pytest.mark.slow)
    for stage in STAGES
    for method in METHODS
]
# PPO's distance from where it started: that is not in what it saves, unless its adapters are switched off.
NOT_SAVED = ("kl",)


@pytest.fixture(autouse=True)
def letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "letter", LETTER)


@pytest.mark.parametrize(("stage", "method"), CELLS)
def test_every_cell_trains_resumes_exactly_and_saves_what_it_was_scored_as(
    tiny_model: Path, tmp_path: Path, stage: str, method: str
) -> None:
    check_cell(tiny_model, tmp_path, stage, method)


def check_cell(
    model: Path, tmp_path: Path, stage: str, method: str | dict[str, Any], precision: str = "bf16"
) -> None:
    """Trains a cell for four steps, once undisturbed and once interrupted; scores what it saved again."""
    with pytest.MonkeyPatch.context() as patch:  # where it is called from other files
        patch.setitem(RULES, "letter", LETTER)
        _check_cell(model, tmp_path, stage, method, precision)


def _check_cell(
    model: Path, tmp_path: Path, stage: str, method: str | dict[str, Any], precision: str
) -> None:
    config = make_config(
        model,
        "commands",
        method,
        stage={"kind": stage, **OWN.get(stage, {})},
        steps=4,
        learning_rate=1e-2,
        eval_rows=8,
        cutoff=128,
        precision=precision,
    )
    done = run(config, tmp_path / "undisturbed")
    assert (done.status, done.steps, done.stage) == ("done", 4, stage)
    assert done.quality == done.metrics[str(done.quality_name)]
    assert done.objective is not None
    losses = curve(config, tmp_path / "undisturbed")
    assert [step for step, _ in losses] == [1, 2, 3, 4]
    assert len({loss for _, loss in losses}) > 1

    assert run(config, tmp_path / "resumed", control=ScriptedControl(interrupt_at=2)).status == "interrupted"
    again = run(config, tmp_path / "resumed")
    assert curve(config, tmp_path / "resumed") == losses
    assert (again.quality, again.objective, again.metrics) == (done.quality, done.objective, done.metrics)

    by_row = estimate(gather_run(tmp_path / "undisturbed"), [done])
    assert by_row is not None, "the report can give no error of this quality"
    assert by_row.quality == pytest.approx(done.quality, rel=1e-9)

    folder = tmp_path / "undisturbed" / "trials" / config.trial_id() / "model"
    for name, value in scored_again(config, folder).items():
        if name in NOT_SAVED:
            continue
        assert value == done.metrics[name], name


def scored_again(config: TrialConfig, folder: Path) -> dict[str, float]:
    """The metrics of what is in ``model/``, loaded with transformers and peft alone."""
    from peft import PeftModel

    clean_process()
    kinds, tokenizer = choose_dtypes(config.train.precision, config.model.dtype), load_tokenizer(folder)
    model: Any
    if (folder / "adapter_config.json").exists():
        assert config.model.path is not None
        base = load_base(config, config.model.path)
        keep_cpu_gradients_correct(base)  # and with them the kernel that 4-bit layers use
        model = PeftModel.from_pretrained(base, folder, autocast_adapter_dtype=False)
        if model.active_peft_config.is_prompt_learning:
            enter_decoder(model)
        keep_input_dtype(model)
        # PEFT holds adapters of 8-bit layers in 32 bits, and random projections on any.
        for name, tensor in chain(model.named_parameters(), model.named_buffers()):
            if tensor.is_floating_point() and (isinstance(tensor, Parameter) or "default" in name.split(".")):
                tensor.data = tensor.data.to(kinds.frozen)
    else:
        loader = LOADERS[config.stage.task]
        model = loader.from_pretrained(folder, dtype=kinds.frozen, attn_implementation="eager")
    model.config.pad_token_id = tokenizer.pad_token_id
    policy = Policy(model, tokenizer, config.method, kinds, default_device())
    rows = loading.load(config.data, config.stage.row_type)
    return config.stage.score(policy, rows, rows.test, config.data.cutoff).metrics
