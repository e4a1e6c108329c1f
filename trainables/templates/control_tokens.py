"""Control tokens: the special tokens that structure a conversation, and how contents that hold one are treated.

A content that holds ``<|im_end|>`` would end its message and could begin another one. So control tokens in contents
are tokenized as the letters that they are written with, unless ``data.special_tokens: keep`` says otherwise
(``templates.settings``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.templates.settings import setting

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Around the rest of a control token in a content, after its first character: noncharacters, which no text has.
_MARK, _MARK_END = "\ufdd0", "\ufdd1"
MARKED = re.compile(f"(.){_MARK}(.*?){_MARK_END}", re.DOTALL)
_NO_MARKS = dict.fromkeys(map(ord, (_MARK, _MARK_END)), "\ufffd")
# The project's own way to write thoughts, which is no way around a template where a tokenizer has it as special tokens.
THOUGHTS = ("<think>", "</think>")


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """The special tokens with a role in the tokenizer, those that its chat template writes, and those that end answers.

    Other special tokens are content, such as those that somebody added for the data.
    """
    return _control_tokens(tokenizer, tokenizer.chat_template or "", end_tokens(tokenizer))


@lru_cache(maxsize=8)
def _control_tokens(
    tokenizer: PreTrainedTokenizerBase, template: str, ends: frozenset[int]
) -> tuple[str, ...]:
    """``template`` and ``ends`` are in the key since they may change while the tokenizer stays the same."""
    named = {str(token) for token in tokenizer.special_tokens_map.values()}
    return tuple(
        token.content
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special
        and token.content not in THOUGHTS
        and (token.content in named or token.content in template or number in ends)
    )


def end_tokens(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The ids of the tokens at which generation stops: the tokenizer's end of sequence, and those that the
    ``generation_config.json`` beside the tokenizer names.
    """
    named = _generation_ends(str(tokenizer.name_or_path))
    return named | ({tokenizer.eos_token_id} if tokenizer.eos_token_id is not None else set())


@lru_cache(maxsize=32)
def _generation_ends(folder: str) -> frozenset[int]:
    try:
        config = json.loads((Path(folder) / "generation_config.json").read_text(encoding="utf-8"))
        ends = config.get("eos_token_id")
    except (
        OSError,
        ValueError,
        AttributeError,
    ):  # there is none, or it is broken, which loading the model reports
        return frozenset()
    return frozenset(end for end in (ends if isinstance(ends, list) else [ends]) if isinstance(end, int))


def protect(tokenizer: PreTrainedTokenizerBase, value: Any) -> Any:
    """A text, messages or tools with marks (``MARKED``) in the control tokens of their texts, so that these stay texts.

    No marks if the chat template says that they are kept as tokens.
    """
    return _marked(value, _pattern(tokenizer, tokenizer.chat_template))


def protect_messages(tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict[str, Any]]) -> list[Any]:
    """The messages as :func:`protect` marks them, also where two contents spell a control token together.

    A template may write one content right behind another, so that ``<|im_`` and ``end|>`` meet.
    """
    protected: list[Any] = protect(tokenizer, list(messages))
    if _pattern(tokenizer, tokenizer.chat_template) is None:
        return protected
    tokens = control_tokens(tokenizer)
    texts = [message.get("content") for message in protected]
    contents = [text.strip() if isinstance(text, str) else "" for text in texts]
    for number, text in enumerate(texts):
        if isinstance(text, str) and (size := _begun_token(text.rstrip(), contents[number + 1 :], tokens)):
            end = len(text.rstrip())
            start = end - size
            marked = f"{text[start]}{_MARK}{text[start + 1 : end]}{_MARK_END}"
            protected[number] = {**protected[number], "content": text[:start] + marked + text[end:]}
    return protected


def _begun_token(text: str, following: Sequence[str], tokens: Sequence[str]) -> int:
    """How many characters at the end of ``text`` begin a control token that another content may continue, else 0."""
    tail = text[-max(map(len, tokens), default=0) :]
    if not any(token[0] in tail for token in tokens):
        return 0
    for size in range(len(tail), 0, -1):
        rests = (token[size:] for token in tokens if size < len(token) and token.startswith(tail[-size:]))
        for rest in rests:
            if any(other and (other.startswith(rest) or rest.startswith(other)) for other in following):
                return size
    return 0


def unmarked(text: str) -> str:
    """The text without the marks of :func:`protect`."""
    return MARKED.sub(r"\1\2", text)


def held_control_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[str]:
    """The control tokens in a text, each once; none if the chat template says that they are kept as tokens."""
    pattern = _pattern(tokenizer, tokenizer.chat_template)
    return [] if pattern is None else list(dict.fromkeys(pattern.findall(text)))


def with_marks(text: str) -> str:
    """A rendered text in which a template wrote marks as JSON writes characters that are not ASCII: as marks again."""
    return text.replace("\\ufdd0", _MARK).replace("\\ufdd1", _MARK_END) if "\\ufdd" in text else text


def _marked(value: Any, pattern: re.Pattern[str] | None) -> Any:
    if isinstance(value, str):
        # A text that has the marks itself would take away the marks of others.
        text = value.translate(_NO_MARKS) if _MARK in value or _MARK_END in value else value
        if pattern is None:
            return text
        return pattern.sub(lambda match: f"{match[0][0]}{_MARK}{match[0][1:]}{_MARK_END}", text)
    if isinstance(value, list | tuple):
        return [_marked(item, pattern) for item in value]
    if isinstance(value, dict):
        # Names of arguments and of parameters are written, too.
        return {_marked(key, pattern): _marked(item, pattern) for key, item in value.items()}
    return value


@lru_cache(maxsize=8)
def _pattern(tokenizer: PreTrainedTokenizerBase, template: str | None) -> re.Pattern[str] | None:
    """What finds control tokens; ``template`` is in the key since it may change while the tokenizer stays the same."""
    tokens = control_tokens(tokenizer)
    if not tokens or setting(tokenizer, "special_tokens") == "keep":
        return None
    # The longest first, as one may begin another.
    return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))))
