"""The model under training, with what belongs to it: tokenizer, method, dtypes, device."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)

from trainables import templates
from trainables.config.model import ModelConfig
from trainables.methods.base import reward_head
from trainables.models import kernels, locate, rope_scaling
from trainables.models.folder import ModelError
from trainables.models.precision import Dtypes, dtypes
from trainables.stages.base import Task
from trainables.training import fsdp
from trainables.training.policy import Policy, device
from trainables.trial.config import TrialConfig

ANSWERED = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]
# How the model of a task is loaded. One label is one number: the reward. Its head is new, drawn from the seed.
LOADERS: dict[Task, tuple[Any, dict[str, Any]]] = {
    "CAUSAL_LM": (AutoModelForCausalLM, {}),
    "SEQ_CLS": (AutoModelForSequenceClassification, {"num_labels": 1}),
}


def load_base(config: TrialConfig, folder: Path) -> Any:
    """The base model on this process's device, in the dtype that the method wants it in.

    ``folder`` has the weights, which may be another trial's; what is true of the base comes with the config.
    """
    kinds = _dtypes_at_first(config)
    options = config.method.load_options(kinds) if config.method else {}
    dtype = config.method.load_dtype(kinds) if config.method else kinds.frozen
    # Where the workers share it, it may not fit on one's GPU: layer by layer its shares go there.
    on_gpu = device() == "cuda" and not _shared(config)
    placed = {"device_map": {"": torch.cuda.current_device()}} if on_gpu else {}
    kernel = kernels.chosen(config.model.kernels)
    loader, head = LOADERS[config.stage.task]
    options = {
        "config": model_config(config.model, folder, config.data.cutoff, **head),
        "dtype": dtype,
        "local_files_only": True,
        "use_safetensors": True,
        "attn_implementation": kernels.attention(config.model.attention, config.data.cutoff, device()),
        "trust_remote_code": config.model.runs_remote_code,
        **placed,
        **options,
    }
    trains_whole = config.method is not None and not config.method.saves_adapter
    model = kernels.loaded(kernel, loader, folder, options, config.data.cutoff, trains_whole)
    model.config.use_cache = False
    return model


def model_config(model: ModelConfig, folder: Path, cutoff: int, **options: Any) -> Any:
    """The transformers config of the weights in ``folder``, its positions scaled as the model's ``rope`` asks."""
    options = {"local_files_only": True, "trust_remote_code": model.runs_remote_code, **options}
    found = AutoConfig.from_pretrained(folder, **options)
    if model.rope is not None:
        base = AutoConfig.from_pretrained(locate.folder(model), **options)
        rope_scaling.scale(found, base, model.rope, cutoff)
    return found


@lru_cache(maxsize=4)
def load_tokenizer(
    folder: Path, template: str | None = None, remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """The model's tokenizer with a chat template, its own or a named one; it pads with the end of sequence
    where it names no padding token.

    One object per folder and template, so that a warm worker's encoded rows (kept by tokenizer) serve trial after
    trial. Raises ``ModelError`` for a tokenizer that can't be read, and ``TemplateError``.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=remote_code
        )
    except Exception as error:  # whatever a broken file leads to
        raise ModelError(
            f"{folder}: its tokenizer can't be read ({type(error).__name__}: {error}); is the model whole?"
        ) from error
    if template is not None:
        templates.apply(tokenizer, template)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def tokenizer_of(config: TrialConfig) -> PreTrainedTokenizerBase:
    """The tokenizer of a trial's base, with the template that its data names.

    Raises ``ModelError`` and ``TemplateError``, as :func:`load_tokenizer` does.
    """
    return load_tokenizer(locate.folder(config.model), config.data.template, config.model.runs_remote_code)


@lru_cache(maxsize=4)
def padded_apart(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer, padding with a token that no answer ends with: a special one, if it has one to spare.

    A reward is read at the last token that is not padding, told by its id (transformers, ``forward`` of
    ``GenericForSequenceClassification``). Padding with the end of sequence would take that from the answer, too.
    """
    text = templates.render(tokenizer, ANSWERED, add_generation_prompt=False)
    ends = {tokenizer.eos_token_id, tokenizer(text, add_special_tokens=False)["input_ids"][-1]}
    if tokenizer.pad_token_id not in ends:
        return tokenizer
    special = [token for token, added in sorted(tokenizer.added_tokens_decoder.items()) if added.special]
    free = (token for token in [*special, *reversed(range(tokenizer.vocab_size))] if token not in ends)
    apart = copy.deepcopy(tokenizer)
    apart.pad_token = tokenizer.convert_ids_to_tokens(next(free))
    return apart


def attach(base: Any, tokenizer: PreTrainedTokenizerBase, config: TrialConfig) -> Policy:
    """The policy that ``config`` trains, on top of a loaded base."""
    kinds = dtypes(config.train.precision, config.model.dtype)
    if reward_head(base) is not None:
        tokenizer = padded_apart(tokenizer)
        base.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    elif config.data.template is not None:
        base.generation_config.eos_token_id = tokenizer.eos_token_id  # the template's end of turn
    model: nn.Module = config.method.attach(base, _dtypes_at_first(config)) if config.method else base
    blueprint = fsdp.shard(model, kinds.trainable, device()) if _shared(config) else None
    return Policy(model, tokenizer, config.method, kinds, device(), blueprint)


def _shared(config: TrialConfig) -> bool:
    return config.method is not None and fsdp.shares(config.train)


def _dtypes_at_first(config: TrialConfig) -> Dtypes:
    """Those that weights are loaded in and trained; shares of them are cast later, layer by layer."""
    kinds = dtypes(config.train.precision, config.model.dtype)
    return replace(kinds, trainable=kinds.frozen) if _shared(config) else kinds
