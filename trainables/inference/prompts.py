"""Prompts of a loaded model: their tokens, and whether an answer to them fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainables import templates
from trainables.data.rows import Message
from trainables.inference.model_pool import LoadedModel
from trainables.tokenization.encode import prompt_ids


class PromptError(ValueError):
    """A prompt that a model can't continue; says which and why."""


class PromptTooLong(PromptError):  # noqa: N818
    """A prompt that fills the model's context, so that no token of an answer fits."""


class UnknownToken(PromptError):  # noqa: N818
    """A prompt with a token that the model has no embedding for."""


def prompt_tokens(
    loaded: LoadedModel, messages: Sequence[Message], tools: list[Any] | None = None
) -> list[int]:
    """The token ids of a conversation up to where the answer begins.

    Raises ``TemplateError``; :class:`PromptTooLong` where the messages' characters alone say so.
    """
    if loaded.tokenizer.chat_template is None:
        raise templates.TemplateError(templates.NO_TEMPLATE)
    _require_room(loaded, sum(len(message.get("content") or "") for message in messages))
    return prompt_ids(loaded.tokenizer, messages, tools)


def completion_tokens(loaded: LoadedModel, prompt: str | list[int], number: int) -> list[int]:
    """The token ids of a text that is continued as it is; ``number`` names the prompt in errors.

    Raises :class:`PromptError`.
    """
    if isinstance(prompt, str):
        _require_room(loaded, len(prompt))
    tokens = loaded.tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else prompt
    if not tokens:
        what = f"prompt {number} is empty, and {loaded.result.name} has no token that texts begin with"
        raise PromptError(what)
    return list(tokens)


def _require_room(loaded: LoadedModel, characters: int) -> None:
    """Refuses a text that has too many tokens however it is divided, which is known before it is tokenized."""
    limit, longest = context_length(loaded), loaded.longest_token
    if characters > limit * longest:
        raise PromptTooLong(
            f"the prompt has {characters} characters; {loaded.result.name} takes {limit} tokens of at most {longest}"
        )


def context_length(loaded: LoadedModel) -> int:
    """The maximum number of tokens, prompt and answer together."""
    config = loaded.shared.policy.causal.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or 2**20)


def embedding_rows(loaded: LoadedModel) -> int:
    """How many tokens the model has an embedding for; their ids count from 0."""
    config = loaded.shared.policy.causal.config.get_text_config()
    return int(getattr(config, "vocab_size", None) or 2**31)


def remaining_tokens(loaded: LoadedModel, prompt: list[int]) -> int:
    """The maximum number of tokens that an answer to ``prompt`` may have.

    Raises :class:`PromptTooLong` and :class:`UnknownToken`.
    """
    rows = embedding_rows(loaded)
    if (unknown := next((token for token in prompt if not 0 <= token < rows), None)) is not None:
        raise UnknownToken(
            f"the prompt has the token {unknown}; {loaded.result.name} has embeddings for 0 to {rows - 1}"
        )
    limit = context_length(loaded)
    if len(prompt) >= limit:
        raise PromptTooLong(f"the prompt has {len(prompt)} tokens; {loaded.result.name} takes {limit}")
    return limit - len(prompt)
