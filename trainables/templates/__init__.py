"""Chat templates: how a conversation is written for a model, one Jinja file per family of models.

Contents are written as they are, not trimmed. A template writes ``bos_token`` itself where its family has one, since
the text is tokenized without special tokens. In these files ``{%- include '...' %}`` stands for another file here;
``source`` puts it in place, because a tokenizer keeps its template as one text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from trainables.data.rows import Message
from trainables.data.thinking import thinking
from trainables.storage import files
from trainables.system.suggestions import did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["NAMES", "TemplateError", "apply", "prompt_ids", "render", "sha256", "source", "thinking"]

NAMES = (
    "chatml",
    "qwen",
    "qwen3",
    "qwen3-nothink",
    "llama2",
    "llama3",
    "llama4",
    "mistral",
    "zephyr",
    "gemma",
    "deepseek",
    "deepseek3",
    "deepseekr1",
    "phi",
    "phi4",
    "internlm2",
    "smollm2",
    "vicuna",
    "alpaca",
    "default",
    "empty",
)
# Families that write as another one does.
ALIASES = {"yi": "chatml", "smollm": "chatml", "gemma2": "gemma", "gemma3": "gemma"}
SUFFIXES = (".jinja", ".j2")


def _listed(name: str) -> str:
    same = [alias for alias, meant in ALIASES.items() if meant == name]
    return f"{name} (also {', '.join(same)})" if same else name


CHOICES = f"{', '.join(map(_listed, NAMES))}, or the path of a file ending {' or '.join(SUFFIXES)}"
NONE = f"the model's tokenizer has no chat template; set data.template to {CHOICES} (`default` suits a base model)"
_HERE = Path(__file__).parent
_INCLUDE = re.compile(r"\{%- include '([\w.-]+)' %\}")
_END = re.compile(r"\{%- set end = '([^']+)' %\}")  # the end token that a family has for itself
_EXAMPLE = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]


class TemplateError(ValueError):
    """No such chat template, or one that can't be used: says what, and what to do."""


def source(name_or_path: str | Path, folder: Path | None = None) -> str:
    """The Jinja text of a named template, or of a file ending ``.jinja`` or ``.j2``, relative to ``folder``.

    >>> "<start_of_turn>" in source("gemma")
    True
    """
    if str(name_or_path).endswith(SUFFIXES):
        return _read((folder or Path()) / Path(name_or_path).expanduser())
    name = ALIASES.get(str(name_or_path), str(name_or_path))
    if name not in NAMES:
        raise _unknown(name)
    return _with_includes((_HERE / f"{name}.jinja").read_text(encoding="utf-8"))


def apply(tokenizer: PreTrainedTokenizerBase, template: str | None, folder: Path | None = None) -> None:
    """Gives the tokenizer a chat template, as ``source`` finds it; ``None`` leaves it its own.

    Where the template's family ends answers with a token of its own and the tokenizer has that token, it becomes the
    tokenizer's end of sequence, so that generation stops there; where it hasn't, answers end with ``eos_token``.
    """
    if template is None:
        if tokenizer.chat_template is None:
            raise TemplateError(NONE)
        return
    text = source(template, folder)
    if template in (*NAMES, *ALIASES):
        text = _ending(text, tokenizer)
    _check(tokenizer, text, template)
    tokenizer.chat_template = text


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[Message],
    tools: list[Any] | None = None,
    *,
    add_generation_prompt: bool,
) -> str:
    """The messages as the tokenizer's template writes them; ``TemplateError`` where it has no place for one."""
    try:
        text = tokenizer.apply_chat_template(
            messages, tools=tools, add_generation_prompt=add_generation_prompt, tokenize=False
        )
    except jinja2.TemplateError as error:
        raise TemplateError(
            f"the chat template can't render a row: {error}; set another data.template"
        ) from None
    return str(text)


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: list[Any] | None = None
) -> list[int]:
    """The tokens of the messages up to where the answer begins. Raises ``TemplateError`` as :func:`render` does."""
    text = render(tokenizer, list(messages), tools, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """The hash of the chat template that rows are rendered with."""
    return files.sha256(tokenizer.chat_template)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TemplateError(f"{path}: {error.strerror}; data.template takes {CHOICES}") from None
    except UnicodeDecodeError:
        raise TemplateError(f"{path} is not UTF-8 text; save the chat template as UTF-8") from None


def _unknown(name: str) -> TemplateError:
    hint = did_you_mean(name, (*NAMES, *ALIASES))
    return TemplateError(f"no chat template is called {name!r}; there are {CHOICES}{hint}")


def _with_includes(text: str) -> str:
    def included(found: re.Match[str]) -> str:
        return _with_includes((_HERE / found[1]).read_text(encoding="utf-8").rstrip("\n"))

    return _INCLUDE.sub(included, text)


def _ending(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The template with an end token that the tokenizer has: the family's own, else the tokenizer's."""
    own = _END.search(text)
    if own and _is_one_token(own[1], tokenizer):
        tokenizer.eos_token = own[1]
        return text
    if tokenizer.eos_token is None:
        raise TemplateError(
            "the model's tokenizer has no end-of-sequence token for answers to end with; give it one"
        )
    return _END.sub("{%- set end = eos_token %}", text)


def _is_one_token(text: str, tokenizer: PreTrainedTokenizerBase) -> bool:
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    return len(tokens) == 1 and tokenizer.convert_ids_to_tokens(tokens[0]) == text


def _check(tokenizer: PreTrainedTokenizerBase, text: str, name: str) -> None:
    """Renders two messages, so that a mistake in a template shows before any training."""
    try:
        tokenizer.apply_chat_template(_EXAMPLE, chat_template=text, tokenize=False)
    except jinja2.TemplateError as error:
        line = f":{error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise TemplateError(f"{name}{line}: {error}; mend the template, or take {', '.join(NAMES)}") from None
