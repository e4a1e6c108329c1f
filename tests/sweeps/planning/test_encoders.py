"""Plans with encoders: what they can be trained for, what is predicted of it, and what is refused with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.specs import ONE, SPEC, plan, problems
from tests.helpers.tiny_encoders import make_encoder
from tests.helpers.tiny_model import make_model
from trainables.models.architecture.model_classes import READS_PADDING, class_problem

LORA = "  - {kind: lora, rank: 4}\n"
ENCODER = SPEC.replace(ONE, LORA).replace("train: rows", "cutoff: 64, train: rows")
MLM = ENCODER.replace("{kind: sft}", "{kind: pretrain, objective: mlm}").replace("rows.jsonl", "texts.jsonl")
LABELS = ENCODER.replace("{kind: sft}", "{kind: classification}").replace("rows.jsonl", "labels.jsonl")
BOTH = MLM.replace(
    "mlm}",
    "mlm}, {kind: classification, data: {train: labels.jsonl}, model: {from: pretrain}}",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder") / "model", "bert")


@pytest.fixture
def folder(tmp_path: Path, model: Path) -> Path:
    (tmp_path / "model").symlink_to(model)
    rows = {
        "rows": [{"prompt": f"say {n}", "completion": str(n)} for n in range(60)],
        "texts": [{"text": f"set an alarm for {n} pm"} for n in range(60)],
        "labels": [{"text": f"set alarm {n}", "label": ("hot", "cold")[n % 2]} for n in range(60)],
    }
    for name, each in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, each)))
    return tmp_path


def test_masked_tokens_and_labels_are_what_an_encoder_is_trained_on_without_a_chat_template(
    folder: Path,
) -> None:
    made = plan(folder, BOTH)

    assert not made.errors
    pretrain, classifier = made.cells
    assert (pretrain.first().stage.task, classifier.first().stage.task) == ("MASKED_LM", "SEQ_CLS")
    assert classifier.depends_on == (pretrain.name,)
    assert None not in (pretrain.predicted, classifier.predicted)


def test_an_encoder_is_refused_where_the_next_token_or_an_answer_is_learned(folder: Path) -> None:
    causal = MLM.replace(", objective: mlm", "")
    for text, stage in ((ENCODER, "sft"), (causal, "pretrain"), (causal.replace("pretrain", "dpo"), "dpo")):
        found = problems(folder, text)
        assert any(
            f"bert is an encoder (is_decoder is not set), and {stage} trains" in each for each in found
        )


def test_the_preview_shows_which_tokens_of_an_example_are_masked(folder: Path) -> None:
    from trainables.trial.preview import preview_data

    preview = preview_data(plan(folder, MLM).cells[0].first())

    assert preview.learned_share < 0.2
    assert all(any(learned for _, learned in pieces) for pieces in preview.examples)
    assert any("[MASK]" in text for pieces in preview.examples for text, learned in pieces if learned)


def test_masked_tokens_of_a_decoder_are_refused(folder: Path) -> None:
    (folder / "model").unlink()
    make_model(folder / "model")

    found = problems(folder, MLM)

    assert any("llama is not an encoder that predicts masked tokens" in each for each in found)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("train: texts", "template: chatml, train: texts", "an encoder reads texts as they are"),
        ("lora, rank: 4", "peft, type: prompt_tuning, num_virtual_tokens: 4", "its virtual tokens can't"),
        ("lora, rank: 4", "peft, type: ln_tuning", "Please specify `target_modules`"),
        ("lora, rank: 4", "peft, type: ln_tuning, targets: [Norm]", "Target modules"),
        (
            "lora, rank: 4",
            "peft, type: adaption_prompt, adapter_len: 3, adapter_layers: 1",
            "Unsupported model type for adaption prompt",
        ),
        ("batch_size: 2", "batch_size: 2, packing: true", "mlm has each piece of text in a row of its own"),
        ("mlm}", "mlm, mask: 1.5}", "mask"),
        ("cutoff: 64", "cutoff: 500", "the model has embeddings of 130 positions"),
    ],
)
def test_what_an_encoder_cannot_have_is_refused(folder: Path, old: str, new: str, error: str) -> None:
    assert old in MLM
    assert any(error in each for each in problems(folder, MLM.replace(old, new)))


def test_the_norms_of_an_encoder_are_named_by_their_modules(folder: Path) -> None:
    for text in (MLM, LABELS):
        norms = text.replace("lora, rank: 4", "peft, type: ln_tuning, targets: [LayerNorm]")
        assert not plan(folder, norms).errors


def test_tools_that_an_encoder_does_not_read_are_refused_or_left_out(folder: Path) -> None:
    tool = {
        "type": "function",
        "function": {"name": "set_alarm", "parameters": {"type": "object", "properties": {}}},
    }
    call = {"type": "function", "function": {"name": "set_alarm", "arguments": {}}}
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"set alarm {n}"},
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "content": "done"},
                {"role": "user", "content": "and another"},
            ],
            "tools": [tool],
            "label": ("hot", "cold")[n % 2],
        }
        for n in range(60)
    ]
    (folder / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))

    found = problems(folder, LABELS)
    omitted = plan(folder, LABELS.replace("cutoff: 64", "cutoff: 64, tool_format: omit"))

    assert any(
        "an encoder reads the texts of messages alone, without their tools and calls of tools" in each
        and each.endswith("data.tool_format: omit goes on without them")
        for each in found
    )
    assert not omitted.errors


@pytest.mark.parametrize("kind", sorted(READS_PADDING))
def test_an_encoder_that_reads_padding_is_refused_by_its_type(kind: str) -> None:
    for labels in (False, True):
        problem = class_problem({"model_type": kind}, "pretrain", ("encoder",), labels)
        assert problem is not None
        assert "when padding follows it" in problem


def test_a_stage_on_answers_cannot_continue_from_masked_tokens(folder: Path) -> None:
    chain = MLM.replace("mlm}", "mlm}, {kind: sft, data: {train: rows.jsonl}, model: {from: pretrain}}")

    assert any("bert is an encoder" in each and "sft" in each for each in problems(folder, chain))


def test_the_id_of_a_trial_on_the_next_token_is_that_from_before_there_was_another_objective() -> None:
    from tests.helpers.trials import planned_config
    from trainables.stages import Pretrain

    config = planned_config()
    causal = config.model_copy(update={"stage": Pretrain()})
    masked = config.model_copy(update={"stage": Pretrain(objective="mlm")})

    assert causal.canonical()["stage"] == {"kind": "pretrain", "eval_batch": 8}
    assert masked.canonical()["stage"] == {"kind": "pretrain", "eval_batch": 8, "objective": "mlm"}
