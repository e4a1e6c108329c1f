"""Loading of a trial's tokenizer with its chat template: all that plans and previews need of a model.

It imports nothing that runs models, which takes as many seconds again.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from trainables import templates
from trainables.models import locate
from trainables.models.architecture.model_classes import is_encoder
from trainables.models.folder import ModelError, read_json
from trainables.tokenization.encoder_input import mark_as_encoder_of_texts
from trainables.trial.config import TrialConfig


@lru_cache(maxsize=4)
def load_tokenizer(
    folder: Path,
    template: str | None = None,
    remote_code: bool = False,
    settings: tuple[tuple[str, str], ...] = (),
    arguments: str = "{}",
    default_system: str | None = None,
    tool_format: str | None = None,
    encoder: bool | None = None,
) -> PreTrainedTokenizerBase:
    """The model's tokenizer with a chat template, its own or a named one.

    ``settings``: ``DataConfig.template_settings``, and ``arguments`` its ``template_arguments`` as JSON, which are
    noted in the template. ``default_system`` and ``tool_format`` are those of ``DataConfig``.
    ``encoder``: whether the model is one; ``None`` where the folder's config.json says it.

    It pads with the end of sequence if it has no padding token. That of an encoder has no chat template, as the model
    reads texts as they are. Cached, as a warm worker keeps encoded rows by tokenizer from trial to trial. Raises
    ``ModelError`` for a tokenizer that can't be read, and ``TemplateError``.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=remote_code
        )
    except Exception as error:  # a damaged file can raise anything
        raise ModelError(
            f"{folder}: its tokenizer can't be read ({type(error).__name__}: {error}); is the model complete?"
        ) from error
    if is_encoder_folder(folder) if encoder is None else encoder:
        mark_as_encoder_of_texts(tokenizer)
    elif template is not None:
        templates.apply(tokenizer, template)
    templates.apply_settings(tokenizer, dict(settings), json.loads(arguments), default_system, tool_format)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def is_encoder_folder(folder: Path) -> bool:
    """Whether a folder's model is an encoder, which reads texts as they are; ``False`` in that of an adapter."""
    return (folder / "config.json").is_file() and is_encoder(read_json(folder / "config.json"))


def tokenizer_of(config: TrialConfig) -> PreTrainedTokenizerBase:
    """The tokenizer of a trial's base model, with the template that its data config names.

    Raises ``ModelError`` and ``TemplateError``, as :func:`load_tokenizer` does.
    """
    return tokenizer_in(locate.model_folder(config.model), config)


def tokenizer_in(folder: Path, config: TrialConfig) -> PreTrainedTokenizerBase:
    """The tokenizer in a base model's folder, with the template and the settings of a trial. Raises as above."""
    return load_tokenizer(
        folder,
        config.data.template,
        config.model.runs_remote_code,
        config.data.template_settings,
        json.dumps(config.data.template_arguments),
        config.data.default_system,
        config.data.tool_format,
    )
