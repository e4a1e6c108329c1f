"""Loading of a trial's policy: the base model, and the method attached to it."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PreTrainedTokenizerBase,
)

from trainables import templates
from trainables.config.model import ModelConfig
from trainables.models import kernels, locate, rope_scaling
from trainables.models.architecture.forward_probe import (
    dtype_errors_named,
    probe,
    require_autocast,
    require_padding,
)
from trainables.models.architecture.masked_positions import require_own_positions
from trainables.models.architecture.model_classes import supported_attention
from trainables.models.architecture.reward_model import RewardModels
from trainables.models.architecture.router_loss import set_router_loss
from trainables.models.architecture.text_head import encoder_head, text_head
from trainables.models.precision import Dtypes, choose_dtypes
from trainables.stages.base import Task
from trainables.storage.files import file_state, sha256
from trainables.templates.control_tokens import end_tokens
from trainables.tokenization.encoder_input import reads_texts
from trainables.training import fsdp
from trainables.training.policy import Policy, default_device
from trainables.trial.config import TrialConfig

ANSWERED = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]
# The class that loads a task's model. A head that does not predict tokens is new, initialized from the seed; the stage
# says how many outputs it has.
LOADERS: dict[Task, Any] = {
    "CAUSAL_LM": AutoModelForCausalLM,
    "MASKED_LM": AutoModelForMaskedLM,
    "SEQ_CLS": RewardModels,
}


def load_base(config: TrialConfig, folder: Path) -> Any:
    """The base model on this process's device, in the dtype that the method trains it in.

    ``folder`` has the weights, which may be another trial's; the model's properties come from the config.
    """
    dtypes = _loading_dtypes(config)
    dtype = config.method.load_dtype(dtypes) if config.method else dtypes.frozen
    # A model to be sharded may not fit on one GPU: its shards go there layer by layer.
    on_gpu = default_device() == "cuda" and not _is_sharded(config)
    placed = {"device_map": {"": torch.cuda.current_device()}} if on_gpu else {}
    loader = LOADERS[config.stage.task]
    settings = model_config(config.model, folder, config.data.cutoff, **config.stage.head_settings)
    kernel = kernels.choose_kernels(config.model.kernels, settings)
    options = {
        "config": settings,
        "dtype": dtype,
        "local_files_only": True,
        "use_safetensors": True,
        "attn_implementation": kernels.choose_attention(
            config.model.attention,
            config.data.cutoff,
            default_device(),
            supported_attention(settings.to_dict()),
            config.attends_in_16_bits,
        ),
        "trust_remote_code": config.model.runs_remote_code,
        **placed,
        # Last: a method that quantizes on the CPU sets another `device_map`.
        **(config.method.load_options(dtypes, settings) if config.method else {}),
    }
    trains_whole = config.method is not None and not config.method.saves_adapter
    model = kernels.load_with_kernels(kernel, loader, folder, options, config.data.cutoff, trains_whole)
    # Training has no use for a cache of keys and values, and checkpointing can't fill one.
    model.config.use_cache = False
    return model


def prepared_base(config: TrialConfig, folder: Path) -> Any:
    """The base model as ``load_base`` gives it, in the form that the method attaches to: quantized layers are ready."""
    base = load_base(config, folder)
    if config.method is not None:
        config.method.prepare(base, _loading_dtypes(config))
    return base


def base_key(config: TrialConfig, folder: Path) -> str:
    """A key that trials have in common for which :func:`prepared_base` gives the same, but for random weights.

    It covers all that loading reads. Files count with their sizes and times: hashing gigabytes takes seconds.
    """
    folders = [folder]
    # A model's `rope` is that of the base model, also where the weights are another trial's.
    if config.model.rope is not None and config.model.start is not None:
        folders.append(locate.model_folder(config.model))
    return sha256(
        [
            config.base_form(),
            [[file_state(file) for file in sorted(each.iterdir()) if file.is_file()] for each in folders],
            kernels.choose_kernels(config.model.kernels),
            default_device(),
            torch.cuda.current_device() if default_device() == "cuda" else None,
        ]
    )


def can_be_kept(config: TrialConfig) -> bool:
    """Whether the base can serve another trial after this one: it is whole, and the trial does not change it."""
    if kernels.choose_kernels(config.model.kernels) == "unsloth":  # which patches more than a model
        return False
    return not _is_sharded(config) and config.keeps_base


def model_config(model: ModelConfig, folder: Path, cutoff: int, **options: Any) -> Any:
    """The transformers config of the weights in ``folder``, with the model's ``rope`` scaling applied."""
    options = {"local_files_only": True, "trust_remote_code": model.runs_remote_code, **options}
    config = AutoConfig.from_pretrained(folder, **options)
    if model.rope is not None:
        base = AutoConfig.from_pretrained(locate.model_folder(model), **options)
        rope_scaling.apply_scaling(config, base, model.rope, cutoff)
    return config


@lru_cache(maxsize=4)
def with_distinct_padding(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer with a padding token that no answer ends with: a special one, if it has one to spare.

    transformers (``GenericForSequenceClassification.forward``) reads a reward at the last token whose id is not the
    padding's. With the end of sequence as padding, that would skip the end of the answer. An encoder's tokenizer has a
    padding token, and no chat template. Raises ``TemplateError`` for another tokenizer without a template.
    """
    if reads_texts(tokenizer):
        return tokenizer
    text = templates.render(tokenizer, ANSWERED, add_generation_prompt=False)
    ends = {tokenizer.eos_token_id, tokenizer(text, add_special_tokens=False)["input_ids"][-1]}
    if tokenizer.pad_token_id not in ends:
        return tokenizer
    # Sorted by id, so that every machine chooses the same token.
    special = [token for token, added in sorted(tokenizer.added_tokens_decoder.items()) if added.special]
    free = (token for token in [*special, *reversed(range(tokenizer.vocab_size))] if token not in ends)
    # The cached tokenizer also serves trials whose models predict tokens.
    padded = copy.deepcopy(tokenizer)
    padded.pad_token = tokenizer.convert_ids_to_tokens(next(free))
    return padded


def attach(
    base: Any,
    tokenizer: PreTrainedTokenizerBase,
    config: TrialConfig,
    begun: Path | None = None,
    prepared: bool = False,
) -> Policy:
    """The policy that ``config`` trains, made from a loaded base model.

    ``begun``: the checkpoint that training goes on from, as an earlier version may have written it. ``prepared``:
    whether the base comes from :func:`prepared_base`, and not from :func:`load_base`.
    """
    dtypes = choose_dtypes(config.train.precision, config.model.dtype)
    if text_head(base):
        tokenizer = with_distinct_padding(tokenizer)
        # The model's forward pass finds the last token of a text by this id.
        base.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    elif config.data.template is not None and not encoder_head(base):
        # The template's end of turn, beside those of the model: one's own template may end answers with these.
        ends = sorted(end_tokens(tokenizer))
        base.generation_config.eos_token_id = ends if len(ends) > 1 else tokenizer.eos_token_id
    router = set_router_loss(base.config, config.train.router_aux_loss)
    model: nn.Module = base
    if config.method is not None:
        if not prepared:
            config.method.prepare(base, _loading_dtypes(config))
        model = config.method.attach(base, _loading_dtypes(config), begun)
    policy = Policy(model, tokenizer, config.method, dtypes, default_device(), base_router_settings=router)
    # Adapters still do nothing, and quantized layers are prepared. Before shards, of which no part runs alone.
    policy = _probed(policy, config)
    if _is_sharded(config):
        policy = replace(policy, blueprint=fsdp.shard(model, dtypes.trainable, default_device()))
    return policy


def _probed(policy: Policy, config: TrialConfig) -> Policy:
    """The policy with what its model does. Raises ``ModelError`` for a model that can't be trained or scored so."""
    autocast = policy.dtypes.autocast
    with dtype_errors_named(policy.causal, config.train.precision) if autocast else nullcontext():
        if autocast is not None and config.method is not None:
            require_autocast(policy.causal, autocast)
        adds_tokens = config.method is not None and config.method.adds_tokens
        # What is kept of these questions is said of the base.
        base = policy.model.disable_adapter() if adds_tokens else nullcontext()
        with policy.evaluating(), base:
            if config.stage.task != "CAUSAL_LM":
                require_padding(policy.causal)
                if config.stage.task == "MASKED_LM":
                    require_own_positions(policy.causal)
                return policy
            policy = replace(policy, behaviour=probe(policy.causal))
            if adds_tokens:
                return with_added_tokens(policy)
            return replace(policy, generation=policy.generates) if _is_sharded(config) else policy


def with_added_tokens(policy: Policy) -> Policy:
    """A policy whose adapter puts tokens before each row: no rows share one, whether in training or in generation.

    The adapter is switched off meanwhile.
    """
    behaviour = replace(policy.behaviour, rows_can_share=False)
    return replace(policy, behaviour=behaviour, generation=replace(policy.generates, joins=False))


def _is_sharded(config: TrialConfig) -> bool:
    return config.method is not None and fsdp.shards_weights(config.train)


def _loading_dtypes(config: TrialConfig) -> Dtypes:
    """The dtypes to load in. Weights to be sharded are cast to the dtype they train in later, layer by layer."""
    dtypes = choose_dtypes(config.train.precision, config.model.dtype)
    return replace(dtypes, trainable=dtypes.frozen) if _is_sharded(config) else dtypes
