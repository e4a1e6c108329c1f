"""How to load an export, and a program that uses it: of a model card.

A program for a language model generates, one for a classifier names the label, one for a masked model fills the mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trainables.export import license
from trainables.inference.result import Result
from trainables.models.architecture.model_classes import is_encoder
from trainables.models.folder import read_json

if TYPE_CHECKING:
    from trainables.export.exported import Exported

GENERATION_EXAMPLE = (
    'messages = [{"role": "user", "content": "..."}]',
    "inputs = tokenizer.apply_chat_template(",
    '    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True',
    ")",
    "answer = model.generate(**inputs, max_new_tokens=256)",
    'print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
)
TEXT_INPUTS = 'inputs = tokenizer("...", return_tensors="pt")'
MASKED_EXAMPLE = (
    TEXT_INPUTS.replace("...", "The sky is {tokenizer.mask_token}.").replace("tokenizer(", "tokenizer(f"),
    "logits = model(**inputs).logits[0]  # (tokens, vocabulary)",
    'place = inputs["input_ids"][0].tolist().index(tokenizer.mask_token_id)',
    "print(tokenizer.decode([int(logits[place].argmax())]))",
)
# A classifier reads the place where a language model would begin its answer.
CLASSIFICATION_EXAMPLE = (
    *GENERATION_EXAMPLE[:4],
    "logits = model(**inputs).logits[0]",
    "print(model.config.id2label[int(logits.argmax())])",
)
SEVERAL_EXAMPLE = (
    *CLASSIFICATION_EXAMPLE[:-1],
    "print([model.config.id2label[n] for n, logit in enumerate(logits.tolist()) if logit > 0])",
)


def lines(result: Result, exported: Exported) -> Iterator[str]:
    """The section of the card that says how to load the export, with a program that uses it."""
    yield from ("## Loading it", "", "```python")
    remote = ", trust_remote_code=True" if result.config.model.runs_remote_code else ""
    loader = _loader(result)
    if exported.dtype is None and result.predicts_masked:
        # PEFT has no class of its own for it.
        yield from _masked_adapter_loading(result, remote)
        return
    if exported.dtype is None:
        loader = f"AutoPeft{loader.removeprefix('Auto')}"
        yield from (f"from peft import {loader}", "from transformers import AutoTokenizer")
    else:
        yield f"from transformers import {loader}, AutoTokenizer"
    yield from (*reward_class_code(result), "")
    yield from (
        f'model = {loader}.from_pretrained("FOLDER", dtype="auto"{remote})',
        f'tokenizer = AutoTokenizer.from_pretrained("FOLDER"{remote})',
    )
    if result.generates_text:
        yield from GENERATION_EXAMPLE
    elif result.predicts_masked:
        yield from MASKED_EXAMPLE
    elif result.classifies:
        several = getattr(result.config.stage, "multi_label", False)
        example = SEVERAL_EXAMPLE if several else CLASSIFICATION_EXAMPLE
        # An encoder reads texts without a chat template.
        yield from (_text_inputs(result), *example[4:]) if _reads_texts(result) else example
    yield from ("```", "")


def _reads_texts(result: Result) -> bool:
    return is_encoder(read_json(result.folder() / "config.json"))


def _text_inputs(result: Result) -> str:
    """The line that encodes a text as the trial did: at most its cutoff."""
    return (
        TEXT_INPUTS.removesuffix(")") + f", truncation=True, max_length={result.config.data.scored_cutoff})"
    )


def _loader(result: Result) -> str:
    if result.predicts_masked:
        return "AutoModelForMaskedLM"
    return "AutoModelForCausalLM" if result.generates_text else "AutoModelForSequenceClassification"


def _masked_adapter_loading(result: Result, remote: str) -> Iterator[str]:
    base = license.public_name(result.config.model)
    yield from (
        "from peft import PeftModel",
        "from transformers import AutoModelForMaskedLM, AutoTokenizer",
        "",
        f'base = AutoModelForMaskedLM.from_pretrained("{base}", dtype="auto"{remote})',
        'model = PeftModel.from_pretrained(base, "FOLDER")',
        f'tokenizer = AutoTokenizer.from_pretrained("FOLDER"{remote})',
        *MASKED_EXAMPLE,
        "```",
        "",
    )


def reward_class_code(result: Result) -> list[str]:
    """The lines that a reward model needs before transformers can load it; none for most families."""
    if result.predicts_tokens:
        return []
    from trainables.models.architecture.reward_model import loading_code
    from trainables.trial.loading import model_config

    return loading_code(model_config(result.config.model, result.folder(), result.config.data.cutoff))
