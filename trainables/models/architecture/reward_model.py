"""Reward models of every family: transformers' own class where there is one, else the family's decoder with a head.

>>> RewardModels.from_pretrained("ibm-granite/granite-4.0-micro", num_labels=1)  # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from trainables.models.architecture.model_classes import is_encoder
from trainables.models.folder import ModelError


class RewardModels:
    """Loads reward models of every family, as transformers' ``AutoModelForSequenceClassification`` does of some."""

    @staticmethod
    def from_pretrained(folder: Any, config: Any = None, **options: Any) -> Any:
        """The model in ``folder``: a reward model, or one that predicts tokens, whose reward head is then new.

        ``options`` are those of transformers' ``from_pretrained``.
        """
        if config is None:
            named = ("num_labels", "trust_remote_code", "local_files_only")
            chosen = {name: options.pop(name) for name in named if name in options}
            config = AutoConfig.from_pretrained(folder, **chosen)
            options |= {name: value for name, value in chosen.items() if name != "num_labels"}
        cls, config = _class(config)
        if cls is AutoModelForSequenceClassification:
            return cls.from_pretrained(folder, config=config, **options)
        # The causal class takes its weights from files of a model that contains it under this name, too.
        prefix = rf"^{cls.causal_class.base_model_prefix}\."
        known = prefix in ("^\\.", rf"^{cls.base_model_prefix}\.")
        loaded = cls.from_pretrained(
            folder, config=config, **options, **({} if known else {"key_mapping": {prefix: ""}})
        )
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        # Files are written without the prefix.
        model._weight_conversions = [
            each for each in model._weight_conversions if prefix not in each.source_patterns
        ]
        return loaded

    @staticmethod
    def from_config(config: Any, trust_remote_code: bool = False, **options: Any) -> Any:
        """A reward model of the family with new weights; ``options``: ``dtype`` and ``attn_implementation``."""
        cls, config = _class(config)
        if cls is AutoModelForSequenceClassification:
            return cls.from_config(config, trust_remote_code=trust_remote_code, **options)
        return cls._from_config(config, **options)


def _class(config: Any) -> tuple[Any, Any]:
    """The class to load, one that is made here for a family that has none of transformers', and its config."""
    if type(config) not in _made:
        if _has_own_class(config):
            return AutoModelForSequenceClassification, config
        causal: Any = AutoModelForCausalLM._model_mapping[type(config)]
        if causal.config_class is config.sub_configs.get("text_config"):
            # The text part of a model with images, which transformers load alone, too.
            text = config.get_text_config()
            text.id2label, text.label2id = config.id2label, config.label2id
            text.problem_type = getattr(config, "problem_type", None)
            return _class(text)
        _made[type(config)] = made_class(config, causal)
    return _made[type(config)], config


_made: dict[type, Any] = {}  # by the config's class


def _has_own_class(config: Any) -> bool:
    """Whether transformers have a class for the family, with a linear layer as head as for most families; those of
    encoders have heads of their own.
    """
    if "AutoModelForSequenceClassification" in (getattr(config, "auto_map", None) or {}):
        return True
    mapping: Any = AutoModelForSequenceClassification._model_mapping
    if type(config) not in mapping:
        return False
    if is_encoder(config.to_dict()):
        return True
    with torch.device("meta"):
        return hasattr(mapping[type(config)](config), "score")


class DecoderWithRewardHead:
    """A causal model's decoder and a linear layer on the last hidden state of a text's last token.

    It is what transformers' ``GenericForSequenceClassification`` is, also for families whose decoders take other
    arguments or give hidden states of another dtype. Stands before the family's ``PreTrainedModel`` among the bases of
    a class that :func:`made_class` makes.
    """

    causal_class: ClassVar[Any]
    base_model_prefix: ClassVar[str]
    embedding_name: ClassVar[str]
    score: nn.Module

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]  # that of PreTrainedModel
        causal = self.causal_class(config)
        # The decoder has the name that it has in the causal model, so that an adapter fits on both.
        setattr(self, self.base_model_prefix, getattr(causal, self.base_model_prefix))
        width = causal.get_output_embeddings().weight.shape[1]
        self.num_labels = config.num_labels
        self.score = nn.Linear(width, config.num_labels, bias=False)
        self.post_init()  # type: ignore[attr-defined]

    def get_input_embeddings(self) -> nn.Module:
        return self.get_submodule(self.embedding_name)  # type: ignore[attr-defined]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any
    ) -> SequenceClassifierOutput:
        """Rewards, (rows, labels), of texts (rows, tokens) that are padded on the right or on the left."""
        given = {name: value for name, value in options.items() if value is not None and name != "labels"}
        hidden = getattr(self, self.base_model_prefix)(
            input_ids=input_ids, attention_mask=attention_mask, **given
        ).last_hidden_state
        last = hidden[
            torch.arange(len(input_ids), device=hidden.device), self._last(input_ids, attention_mask)
        ]
        # Some decoders give 32 bits whatever their weights have.
        weight: Any = self.score.weight
        return SequenceClassifierOutput(logits=self.score(last.to(weight.dtype)))

    def _last(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """The place of each text's last token: (rows,)."""
        if mask is None:
            pad = self.config.get_text_config().pad_token_id  # type: ignore[attr-defined]
            mask = torch.ones_like(ids) if pad is None else ids != pad
        return (torch.arange(ids.shape[1], device=ids.device) * mask).argmax(1)


def made_class(config: Any, causal: Any) -> Any:
    """A reward model's class for the family of the class ``causal``, one of whose configs is ``config``.

    Raises ``ModelError`` where the causal model is not a decoder with a head.
    """
    family = next(
        each
        for each in causal.__mro__
        if each.__name__.endswith("PreTrainedModel") and issubclass(each, PreTrainedModel)
    )
    with torch.device("meta"):
        model = causal(config)
        prefix = _decoder_name(model)
    names = {module: name for name, module in model.named_modules()}
    attributes = {
        "causal_class": causal,
        "base_model_prefix": prefix,
        "embedding_name": names[model.get_input_embeddings()],
        "config_class": type(config),
        # By the text of this module, transformers decide what the family's layers support.
        "__module__": family.__module__,
    }
    return type(_class_name(causal), (DecoderWithRewardHead, family), attributes)


def _class_name(causal: Any) -> str:
    family = str(causal.__name__).replace("ForCausalLM", "").replace("ForConditionalGeneration", "")
    return f"{family}ForSequenceClassification"


def _decoder_name(causal: Any) -> str:
    """The name of the part of a causal model that gives hidden states: the one that has the token embedding."""
    embedding, head = causal.get_input_embeddings(), causal.get_output_embeddings()
    for name, part in causal.named_children():
        modules = list(part.modules())
        if embedding in modules and head not in modules:
            return str(name)
    raise ModelError(f"{type(causal).__name__} is not a decoder with a head, so it can't be a reward model")


def loading_code(config: Any) -> list[str]:
    """Lines of Python that let plain transformers load a reward model of a class made here; none if they have one."""
    cls, config = _class(config)
    if cls is AutoModelForSequenceClassification:
        return []
    return PLAIN_CLASS.format(
        settings=type(config).__name__,
        causal=cls.causal_class.__name__,
        family=cls.__mro__[2].__name__,
        name=cls.__name__,
        decoder=cls.base_model_prefix,
    ).splitlines()


# The same class without this package.
PLAIN_CLASS = """\
import torch
from transformers import AutoModelForSequenceClassification, {settings}, {causal}, {family}
from transformers.modeling_outputs import SequenceClassifierOutput


class {name}({family}):
    __module__ = {family}.__module__  # by which transformers know what its layers support
    config_class, base_model_prefix = {settings}, "{decoder}"

    def __init__(self, config):
        super().__init__(config)
        causal = {causal}(config)
        self.{decoder} = causal.{decoder}
        width = causal.get_output_embeddings().weight.shape[1]
        self.score = torch.nn.Linear(width, config.num_labels, bias=False)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, **options):
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        hidden = self.{decoder}(input_ids=input_ids, attention_mask=mask, use_cache=False).last_hidden_state
        places = torch.arange(input_ids.shape[1], device=hidden.device)
        rows = torch.arange(len(input_ids), device=hidden.device)
        last = hidden[rows, (places * mask).argmax(1)]  # at the last token of each text
        return SequenceClassifierOutput(logits=self.score(last.to(self.score.weight.dtype)))


AutoModelForSequenceClassification.register({settings}, {name}, exist_ok=True)
"""
