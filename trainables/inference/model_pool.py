"""Results in memory. Adapters of one base model share it; the base itself is used by switching its adapters off.

>>> pool = ModelPool()
>>> with pool.load(result).active() as policy:  # doctest: +SKIP
...     policy.causal.generate(...)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any

from trainables.inference.result import Result
from trainables.methods import adapter_dtypes, peft_options, virtual_tokens
from trainables.methods.own_method import OwnMethod
from trainables.models import adapter_embeddings, resize_vocabulary
from trainables.models.adapter_config import read_adapter_config
from trainables.models.adapter_patterns import check_patterns
from trainables.models.folder import ModelError
from trainables.models.kernels import choose_attention
from trainables.models.precision import choose_dtypes
from trainables.models.vocabulary import missing_rows, resize_embedding
from trainables.storage import files
from trainables.training.policy import Policy, default_device
from trainables.trial import starting_weights
from trainables.trial.config import TrialConfig
from trainables.trial.loading import attach, load_base, with_added_tokens, with_distinct_padding
from trainables.trial.tokenizer import is_encoder_folder, load_tokenizer, tokenizer_in


@dataclass
class SharedModel:
    """A base model in memory that several results share, and how many ``adapters`` were attached to it.

    ``attached``: those that are still on it. ``users``: the results in memory that share it.
    """

    policy: Policy
    adapters: int = 0
    attached: set[str] = field(default_factory=set)
    users: int = 0

    def add_adapter(self, result: Result) -> str:
        """Attaches a result's adapter in the dtype it was saved in. Returns the adapter's name on this model."""
        from peft import PeftModel

        assert result.trained_folder is not None
        starting_weights.check_trained_folder(result.trained_folder)
        name = f"adapter_{self.adapters}"
        options: Any = {"autocast_adapter_dtype": False, "is_trainable": False}
        model: Any = self.policy.model
        check_patterns(result.trained_folder, (path for path, _ in model.named_modules()))
        if self.adapters:
            model.load_adapter(str(result.trained_folder), name, **options)
        else:
            model = PeftModel.from_pretrained(model, str(result.trained_folder), adapter_name=name, **options)
            self.policy = replace(self.policy, model=model.eval())
            if model.active_peft_config.is_prompt_learning:
                virtual_tokens.enter_decoder(model)
                with model.disable_adapter(), self.policy.evaluating():
                    self.policy = with_added_tokens(self.policy)
        self.adapters += 1
        self.attached.add(name)
        self._restore_dtype(name)
        adapter_dtypes.keep_input_dtype(model)
        return name

    def remove_adapter(self, name: str) -> None:
        """Removes an adapter. The last one stays, as PEFT's model can't be used without any."""
        if len(self.attached) > 1:
            model: Any = self.policy.model
            model.delete_adapter(name)
            self.attached.remove(name)

    def _restore_dtype(self, name: str) -> None:
        """Casts an adapter to the dtype of its file. PEFT creates those on a quantized base in 32 bits, and random
        projections on any."""
        model = self.policy.model
        for path, tensor in chain(model.named_parameters(), model.named_buffers()):
            # A whole part of the path: adapter_1 must not match adapter_10.
            if name in path.split(".") and tensor.is_floating_point():
                tensor.data = tensor.data.to(self.policy.dtypes.frozen)


@dataclass
class LoadedModel:
    """A result in memory. ``adapter`` names its adapter on the shared model; ``None`` for a result without one."""

    result: Result
    shared: SharedModel
    adapter: str | None

    @cached_property
    def tokenizer(self) -> Any:
        """The result's tokenizer; a reward model's has a padding token of its own."""
        tokenizer = result_tokenizer(self.result)
        return tokenizer if self.result.generates_text else with_distinct_padding(tokenizer)

    @cached_property
    def longest_token(self) -> int:
        """The number of characters of the longest token: with byte-level tokens, the number of its bytes, which are at
        least as many.
        """
        return max(map(len, self.tokenizer.get_vocab()))

    @contextmanager
    def active(self) -> Iterator[Policy]:
        """The policy of this result. Results that share a model can't be active at the same time."""
        policy = replace(self.shared.policy, tokenizer=self.tokenizer)
        if not self.shared.adapters:
            yield policy
        elif self.adapter is None:
            with policy.model.disable_adapter():
                yield policy
        else:
            policy.model.set_adapter(self.adapter)
            # PEFT makes the weights of the adapter that it activates trainable.
            policy.model.requires_grad_(False)
            yield policy


class ModelPool:
    """The results that were loaded; they stay in memory until they are unloaded, or as long as the pool does."""

    def __init__(self) -> None:
        self._shared: dict[str, SharedModel] = {}

    def load(self, result: Result) -> LoadedModel:
        """Loads a result and shares the base model if it is in memory. Raises ``ModelError``, ``TemplateError``."""
        if result.generates_text and is_encoder_folder(result.folder()):
            raise ModelError(
                f"{result.name} is an encoder, which can't generate text: train it by pretrain with objective: mlm, or "
                "by classification"
            )
        config = _base_config(result)
        key = _sharing_key(result, config)
        if key not in self._shared:
            base = load_base(config, result.folder())
            if (rows := _other_embedding_rows(result)) is not None:
                resize_embedding(base, rows)
            if config.method is not None:
                config.method.prepare(base, choose_dtypes(config.train.precision, config.model.dtype))
            bare = config.model_copy(update={"method": None})
            # Without the method, which would add a new adapter; only the form of the base is taken from it.
            policy = attach(base, result_tokenizer(result), bare)
            if result.generates_text:
                with policy.evaluating():
                    policy = replace(policy, generation=policy.generates)
            self._shared[key] = SharedModel(policy)
        shared = self._shared[key]
        loaded = LoadedModel(result, shared, shared.add_adapter(result) if result.is_adapter else None)
        shared.users += 1
        return loaded

    def unload(self, loaded: LoadedModel) -> None:
        """Removes a result: its adapter, and the base model if no other result in memory shares it.

        The memory is free once nothing else refers to ``loaded``.
        """
        shared = loaded.shared
        shared.users -= 1
        if not shared.users:
            self._shared = {key: each for key, each in self._shared.items() if each is not shared}
        elif loaded.adapter is not None:
            shared.remove_adapter(loaded.adapter)

    @property
    def base_models(self) -> list[SharedModel]:
        """The base models in memory, with the adapters on them."""
        return list(self._shared.values())


def result_tokenizer(result: Result) -> Any:
    """The tokenizer of a result, with its chat template. Raises ``ModelError``, ``TemplateError``."""
    config, folder = result.config, result.tokenizer_folder()
    if folder == result.trained_folder:  # saved with the template that the trial was trained with
        # An adapter's folder has no config.json.
        encoder = is_encoder_folder(result.base_folder() if result.is_adapter else folder)
        return load_tokenizer(folder, None, config.model.runs_remote_code, encoder=encoder)
    return tokenizer_in(folder, config)


def _base_config(result: Result) -> TrialConfig:
    """The config by which the weights below the adapters are loaded. A trained model without an adapter is loaded as it
    was saved: its method must not quantize it. So is the base of an adapter whose method is one's own, and holds the
    base as it is: its code is not needed. Raises ``ModelError`` where it would be.
    """
    method = result.config.method
    if isinstance(method, OwnMethod) and result.is_adapter and method.holds_base:
        raise ModelError(f"{result.name}: {method.needed()}; it holds the base model in a form of its own")
    if result.trained_folder is not None and (not result.is_adapter or isinstance(method, OwnMethod)):
        return result.config.model_copy(update={"method": None})
    return result.config


def _other_embedding_rows(result: Result) -> int | None:
    """How many rows the embedding below a result's adapter needs: those that the adapter was trained with, or one for
    each token of its tokenizer; ``None`` if the base model has them.
    """
    if not result.is_adapter or result.trained_folder is None:
        return None
    base = resize_vocabulary.embedding_rows(result.folder())
    rows = adapter_embeddings.embedding_rows(result.trained_folder)
    if rows is None and base is not None:
        rows = base + missing_rows(result_tokenizer(result), base).rows
    return None if rows == base else rows


def _sharing_key(result: Result, config: TrialConfig) -> str:
    """A key that results have in common if the weights below their adapters are loaded in the same way."""
    dtypes = choose_dtypes(config.train.precision, config.model.dtype)
    method, model = config.method, config.model
    quantization = method.base_form if method else {}
    # The factor of the scaling may be derived from the cutoff.
    rope_scaling = [model.rope.model_dump(mode="json"), config.data.cutoff] if model.rope else None
    attention = choose_attention(
        model.attention, config.data.cutoff, default_device(), in_16_bits=config.attends_in_16_bits
    )
    return files.sha256(
        [
            str(result.folder()),
            str(dtypes.frozen),
            quantization,
            rope_scaling,
            attention,
            model.kernels,
            config.stage.task,
            config.stage.head_settings,
            _other_embedding_rows(result),
            _adapter_kind(result),
        ]
    )


def _adapter_kind(result: Result) -> str | None:
    """What adapters on one base model have to have in common: PEFT puts only those of one type on it, and virtual
    tokens of a single adapter. ``None`` for LoRA, and for the base itself, which is used by switching adapters off.
    """
    if not result.is_adapter or result.trained_folder is None:
        return None
    kind = str(read_adapter_config(result.trained_folder).get("peft_type", "LORA"))
    if kind.lower() in peft_options.ALONE_ON_A_MODEL:
        return str(result.trained_folder)
    return None if kind == "LORA" else kind
