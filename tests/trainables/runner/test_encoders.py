"""Encoders with both stages that train them: training, exact resume, what is saved, scores, memory, exports."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    CONFIG_MAPPING,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from tests.helpers.tiny_encoders import ENCODERS, make_encoder
from tests.helpers.trials import METHODS, ScriptedControl, curve, make_config, make_policy, make_trainer, run
from tests.trainables.methods.test_peft_adapter import WITH_HEAD, check_merge
from tests.trainables.methods.test_peft_adapter import method as peft_method
from tests.trainables.runner.test_stages_and_methods import scored_again
from trainables.data import loading
from trainables.data.embedded.command_kinds import KINDS
from trainables.data.rows import Classified, Text
from trainables.memory.measuring_process import MeasuringProcess
from trainables.methods import peft_options
from trainables.methods.lora_targets import peft_task
from trainables.models.architecture.text_head import encoder_head, text_head
from trainables.templates import TemplateError
from trainables.tokenization.encode import IGNORED
from trainables.trial.config import TrialConfig
from trainables.trial.loading import with_distinct_padding
from trainables.trial.tokenizer import load_tokenizer

LABELS = sorted(set(KINDS.values()))
STAGES: dict[str, dict[str, Any]] = {
    "mlm": {"kind": "pretrain", "objective": "mlm"},
    "classification": {"kind": "classification", "labels": LABELS, "multi_label": False},
}
DATA = {"mlm": "commands", "classification": "command-kinds"}
QUICK = {("bert", "mlm", "lora"), ("modernbert", "classification", "full")}
OTHERS: dict[str, dict[str, Any]] = {
    "lisa": {"kind": "lisa", "layers": 1, "every": 2},
    "badam": {"kind": "badam", "every": 2},
    **{name: {"kind": "peft", "type": name} for name in ("ia3", "loha", "oft", "vera")},
}
# PEFT doesn't know which norms BERT has. Virtual tokens are refused (`tests/sweeps/planning/test_encoders.py`).
NORMS = {"kind": "peft", "type": "ln_tuning", "targets": ["LayerNorm"]}
TYPES = {
    name: NORMS if name == "ln_tuning" else peft_method(name)
    for name in WITH_HEAD
    if name not in peft_options.VIRTUAL_TOKENS
}
EVERY = [(kind, stage, method) for kind in ENCODERS for stage in STAGES for method in METHODS]
EVERY += [("bert", stage, method) for stage in STAGES for method in OTHERS]
EVERY += [("bert", "classification", name) for name in TYPES if name not in OTHERS]
CELLS = [pytest.param(*cell, marks=() if cell in QUICK else pytest.mark.slow) for cell in EVERY]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("encoders")
    return {kind: make_encoder(folder / kind, kind) for kind in ENCODERS}


def encoder_config(model: Path, stage: str, method: Any, **leaves: Any) -> TrialConfig:
    given = {"steps": 4, "eval_rows": 8, "max_samples": 100, "cutoff": 64, "dtype": "float32", **leaves}
    return make_config(model, DATA[stage], method, stage=dict(STAGES[stage]), learning_rate=1e-2, **given)


@pytest.mark.parametrize(("kind", "stage", "method"), CELLS)
def test_every_method_trains_an_encoder_resumes_exactly_and_saves_what_it_was_scored_as(
    encoders: dict[str, Path], tmp_path: Path, kind: str, stage: str, method: str
) -> None:
    config = encoder_config(encoders[kind], stage, {**TYPES, **OTHERS}.get(method, method))

    done = run(config, tmp_path / "whole")
    run(config, tmp_path / "resumed", control=ScriptedControl(interrupt_at=2))
    again = run(config, tmp_path / "resumed")

    assert (done.status, done.quality) == ("done", done.metrics[str(done.quality_name)])
    assert curve(config, tmp_path / "resumed") == curve(config, tmp_path / "whole")
    assert (again.metrics, again.objective) == (done.metrics, done.objective)
    folder = tmp_path / "whole" / "trials" / config.trial_id() / "model"
    assert scored_again(config, folder) == done.metrics


@pytest.mark.parametrize("kind", ENCODERS)
def test_the_loss_of_a_step_is_plain_transformers_loss_of_the_masked_tokens(
    encoders: dict[str, Path], kind: str
) -> None:
    """Without dropout: cross-entropy of all positions with a label, by the class's own forward pass."""
    config = encoder_config(encoders[kind], "mlm", "full", precision="fp32")
    policy = make_policy(config)
    rows = [Text("set an alarm for 4 pm " * 3), Text("call mum"), Text("what is the weather in Paris " * 4)]
    trainer = make_trainer(config, policy, rows, cutoff=24)
    batch = trainer.data_collator([trainer.train_dataset[n] for n in range(4)])
    trainer.model.eval()

    found = trainer.compute_loss(trainer.model, batch)

    plain = AutoModelForMaskedLM.from_pretrained(encoders[kind]).eval()
    with torch.no_grad():
        expected = plain(**{name: batch[name] for name in ("input_ids", "attention_mask", "labels")}).loss
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert (batch["labels"] != IGNORED).sum() > 4


def test_a_step_of_masked_tokens_is_the_same_in_one_batch_and_in_two(
    encoders: dict[str, Path], tmp_path: Path
) -> None:
    """Rows are of unequal length, so that a mean of the batches' means would be another. ModernBERT has no dropout."""
    whole, halves = (
        encoder_config(encoders["modernbert"], "mlm", "full", precision="fp32", steps=2, **sizes)
        for sizes in ({"batch_size": 4}, {"batch_size": 2, "gradient_accumulation": 2})
    )
    for config in (whole, halves):
        run(config, tmp_path)

    for name in ("train_loss", "grad_norm"):
        expected = [value for _, value in curve(whole, tmp_path, name)]
        assert [value for _, value in curve(halves, tmp_path, name)] == pytest.approx(expected, rel=1e-4)
    one, other = (
        load_file(tmp_path / "trials" / config.trial_id() / "model" / "model.safetensors")
        for config in (whole, halves)
    )
    for name, weights in one.items():
        assert (other[name] - weights).norm() <= 5e-3 * weights.norm(), name


def test_rows_are_masked_otherwise_in_each_epoch_and_scored_alike_in_any_batch(
    encoders: dict[str, Path],
) -> None:
    config = encoder_config(encoders["bert"], "mlm", "full", precision="fp32", batch_size=2)
    policy, rows = make_policy(config), [Text("set an alarm for 4 pm"), Text("call mum at noon today please")]
    trainer = make_trainer(config, policy, rows, cutoff=64)

    first, second = (
        sorted(map(repr, (trainer.train_dataset[place] for place in places))) for places in ((0, 1), (2, 3))
    )

    assert first != second
    scores = [
        config.stage.model_copy(update={"eval_batch": size}).validation_scores(policy, rows, 64)
        for size in (1, 2)
    ]
    assert scores[0]["objective"] == pytest.approx(scores[1]["objective"], rel=1e-5)
    other = config.stage.model_copy(update={"mask": 0.5}).validation_scores(policy, rows, 64)
    assert other == config.stage.validation_scores(policy, rows, 64)


@pytest.mark.parametrize(
    ("kind", "head"), [("bert", ["classifier", "bert.pooler"]), ("modernbert", ["head", "classifier"])]
)
def test_the_whole_head_for_labels_trains_with_an_adapter_and_with_no_layer(
    encoders: dict[str, Path], kind: str, head: list[str]
) -> None:
    for method in ({"kind": "lora", "rank": 2}, {"kind": "freeze", "layers": 0, "head": True}):
        policy = make_policy(encoder_config(encoders[kind], "classification", method))
        trained = {name for name, each in policy.model.named_parameters() if each.requires_grad}

        assert list(text_head(policy.causal)) == head
        for name in head:
            assert any(f"{name}." in each for each in trained), (name, trained)
        adapted = {each for each in trained if ".lora_" in each}
        assert bool(adapted) == (method["kind"] == "lora")
        assert all(".layers." in each or ".layer." in each for each in adapted)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "vera" else pytest.mark.slow) for name in TYPES]
)
def test_adapters_of_a_classifier_are_merged_with_its_head_of_several_modules(
    encoders: dict[str, Path], name: str
) -> None:
    """BERT's pooler has no weight of its own. All its layers have biases, to which beft adds."""
    config = encoder_config(encoders["bert"], "classification", TYPES[name], precision="fp32")
    check_merge(name, config, 1e-3, unmerged=("lily",))


def test_a_decoder_without_a_chat_template_is_no_encoder(tiny_model: Path) -> None:
    config = make_config(tiny_model, "commands", stage=dict(STAGES["classification"]))
    tokenizer = copy.deepcopy(load_tokenizer(tiny_model))
    tokenizer.chat_template = None
    row = Classified(({"role": "user", "content": "set an alarm"},), (LABELS[0],))

    with pytest.raises(TemplateError, match="no chat template"):
        config.stage.encode(tokenizer, row, 64)
    with pytest.raises(TemplateError, match="template"):
        with_distinct_padding(tokenizer)


@pytest.mark.parametrize("kind", ["xlm", "flaubert"])
def test_an_encoder_is_known_by_its_config_where_its_class_has_another_name(kind: str) -> None:
    config = CONFIG_MAPPING[kind](vocab_size=40, emb_dim=8, n_layers=1, n_heads=2)
    model = AutoModelForMaskedLM.from_config(config)

    assert list(encoder_head(model)) == ["pred_layer"]
    assert (text_head(model), peft_task(model)) == ({}, None)


@pytest.mark.parametrize("kind", ENCODERS)
def test_adapters_leave_the_head_for_masked_tokens_as_it_is(encoders: dict[str, Path], kind: str) -> None:
    policy = make_policy(encoder_config(encoders[kind], "mlm", "lora"))

    inside = {
        id(parameter) for each in encoder_head(policy.causal).values() for parameter in each.parameters()
    }
    assert inside
    assert not any(each.requires_grad for each in policy.model.parameters() if id(each) in inside)


@pytest.mark.slow
def test_a_classifier_continues_from_masked_tokens_of_an_adapter_and_reads_with_plain_transformers(
    encoders: dict[str, Path], tmp_path: Path
) -> None:
    first = encoder_config(encoders["bert"], "mlm", "lora")
    run(first, tmp_path)
    start = {"trial": first.trial_id(), "folder": tmp_path / "trials" / first.trial_id() / "model"}
    plain = encoder_config(encoders["bert"], "classification", "full")
    config = TrialConfig.model_validate(
        plain.model_dump() | {"model": plain.model.model_dump() | {"start": start}}
    )

    record = run(config, tmp_path)

    folder = tmp_path / "trials" / config.trial_id() / "model"
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    assert model.config.id2label == dict(enumerate(LABELS))
    rows = loading.load(config.data, config.stage.row_type).test
    hits = []
    for row in rows:
        inputs = tokenizer(str(row.prompt[0]["content"]), return_tensors="pt")
        with torch.no_grad():
            hits.append(LABELS[int(model(**inputs).logits[0].argmax())] == row.label)
    assert sum(hits) / len(hits) == record.metrics["accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("method", ["full", "lora"])
def test_memory_of_an_encoder_is_predicted(tmp_path: Path, stage: str, method: str) -> None:
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 8, "vocab_size": 20_000}
    model = make_encoder(tmp_path / "model", "bert", max_position_embeddings=130, **sizes)
    config = encoder_config(model, stage, method, precision="fp32", batch_size=32)

    measuring = MeasuringProcess()
    memory = measuring.measure(config)
    measuring.close()

    assert memory["predicted_peak_bytes"] == pytest.approx(memory["peak_train_bytes"], rel=0.10)
