"""Chat templates: how a conversation is rendered for a model, one Jinja file per model family.

Contents are not trimmed. A template writes ``bos_token`` itself if its family has one, since the text is tokenized
without special tokens. In these files ``{%- include '...' %}`` stands for another file of this folder; ``source``
inserts it, because a tokenizer stores its template as one text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from trainables.data.rows import Message
from trainables.storage import files
from trainables.system.suggestions import Proposal, did_you_mean
from trainables.templates import built_in
from trainables.templates.bounded_rendering import limited_rendering
from trainables.templates.built_in import ALIASES, NAMES
from trainables.templates.elsewhere import SAME, advice, misspelled
from trainables.templates.message_changes import OMIT, with_default_system, with_tool_format
from trainables.templates.settings import (
    ALWAYS_GIVEN,
    asked_arguments,
    set_settings,
    setting,
    unread_arguments,
    with_arguments,
    with_date,
    writes_date,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["NAMES", "TemplateError", "apply", "render", "sha256", "source"]

SUFFIXES = (".jinja", ".j2")


def _with_aliases(name: str) -> str:
    aliases = [alias for alias, target in ALIASES.items() if target == name]
    return f"{name} (also {', '.join(aliases)})" if aliases else name


CHOICES = f"{', '.join(map(_with_aliases, NAMES))}, or the path of a file ending {' or '.join(SUFFIXES)}"
NO_TEMPLATE = (
    "the model's tokenizer has no chat template; "
    f"set data.template to {CHOICES} (`default` suits a base model)"
)
_END = re.compile(r"\{%- set end = '([^']+)' %\}")  # the family's own end token
_EXAMPLE = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]


class TemplateError(ValueError):
    """A chat template that does not exist or can't be used; says which, why, and what to do."""


class TemplateArgumentError(TemplateError):
    """An argument that a chat template doesn't read; ``setting`` is the one of the data that gives it."""

    def __init__(self, message: str, setting: str = "template_arguments") -> None:
        super().__init__(message)
        self.setting = setting


def apply_settings(
    tokenizer: PreTrainedTokenizerBase,
    settings: Mapping[str, str],
    arguments: Mapping[str, Any],
    default_system: str | None = None,
    tool_format: str | None = None,
) -> None:
    """Notes settings and arguments in the tokenizer's chat template, for all who render with it.

    Raises ``TemplateArgumentError`` for an argument that the template doesn't read, and for a tokenizer without a
    template. A date is noted where the template writes one.
    """
    template = tokenizer.chat_template
    tool_format = None if tool_format == OMIT else tool_format
    given = {"template_arguments": arguments, "default_system": default_system, "tool_format": tool_format}
    for name, value in given.items():
        if value and template is None:
            raise TemplateArgumentError("there is no chat template that would read it", name)
    if arguments:
        _check_arguments(template, arguments)
        tokenizer.chat_template = with_arguments(template, arguments)
    if tool_format is not None:
        tokenizer.chat_template = with_tool_format(tokenizer.chat_template, tool_format)
    # In front of the tools, which are listed behind the system text.
    if default_system:
        tokenizer.chat_template = with_default_system(tokenizer.chat_template, default_system)
    noted = dict(settings)
    if template is None or not writes_date(template):
        noted.pop("date", None)
    if noted:
        set_settings(tokenizer, noted)


def _check_arguments(template: str, arguments: Mapping[str, Any]) -> None:
    if given := [name for name in arguments if name in ALWAYS_GIVEN]:
        raise TemplateArgumentError(f"every chat template is given {given[0]}; leave it out")
    for name in unread_arguments(template, arguments):
        asked = asked_arguments(template)
        known = f"it asks for {', '.join(asked)}{did_you_mean(name, asked)}" if asked else "it asks for none"
        raise TemplateArgumentError(f"the chat template reads no {name}; {known}")


def source(name_or_path: str | Path, folder: Path | None = None) -> str:
    """The Jinja text of a named template, or of a file ending in ``.jinja`` or ``.j2``, relative to ``folder``.

    Raises ``TemplateError`` for an unknown name or an unreadable file.

    >>> "<start_of_turn>" in source("gemma")
    True
    """
    if str(name_or_path).endswith(SUFFIXES):
        return _read((folder or Path()) / Path(name_or_path).expanduser())
    name = _own_name(str(name_or_path))
    if name is None:
        raise _unknown(str(name_or_path))
    return built_in.text(name)


def apply(tokenizer: PreTrainedTokenizerBase, template: str | None, folder: Path | None = None) -> None:
    """Sets the tokenizer's chat template to that of ``source``; ``None`` keeps the tokenizer's own.

    If the template's family ends answers with a token of its own and the tokenizer has it, it becomes the tokenizer's
    end of sequence, so that generation stops there; otherwise answers end with ``eos_token``.
    """
    if template is None:
        if tokenizer.chat_template is None:
            raise TemplateError(NO_TEMPLATE)
        return
    text = source(template, folder)
    # A user's file is taken as it is; the named ones declare their end token in a line that `_END` finds.
    if _own_name(template):
        text = _with_end_token(text, tokenizer)
    _check(tokenizer, text, template)
    tokenizer.chat_template = text


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[Message],
    tools: list[Any] | None = None,
    *,
    add_generation_prompt: bool,
) -> str:
    """The messages as text, by the tokenizer's template; one that writes a date writes that of its settings.

    Raises ``TemplateError`` for messages that it can't render.
    """
    date = setting(tokenizer, "date")
    try:
        with limited_rendering():
            text = tokenizer.apply_chat_template(
                messages,
                tools=tools,
                chat_template=with_date(str(tokenizer.chat_template), date) if date else None,
                add_generation_prompt=add_generation_prompt,
                tokenize=False,
            )
    except Exception as error:  # a template may call anything on what it is given
        kind = "" if isinstance(error, jinja2.TemplateError) else f"{type(error).__name__}: "
        raise TemplateError(
            f"the chat template can't render the messages: {kind}{error}; set another data.template"
        ) from None
    return str(text)


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


def _own_name(name: str) -> str | None:
    name = ALIASES.get(name, SAME.get(name, name))
    return name if name in NAMES else None


def _unknown(name: str) -> TemplateError:
    if says := advice(name):
        return TemplateError(f"no chat template is called {name!r}; {says}; known: {CHOICES}")
    meant = misspelled(name, (*NAMES, *ALIASES))
    hint = (
        f". Did you mean {meant}?" if meant else ". For a model of a family that is not named, leave it out"
    )
    what = f"no chat template is called {name!r}{hint}{'' if meant else '.'} Known: {CHOICES}"
    return TemplateError(Proposal(what, meant))


def _with_end_token(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The template with an end token that the tokenizer has: the family's own, or else the tokenizer's."""
    family_end = _END.search(text)
    if family_end and _is_one_token(family_end[1], tokenizer):
        tokenizer.eos_token = family_end[1]
        return text
    if tokenizer.eos_token is None:
        raise TemplateError(
            "the model's tokenizer has no end-of-sequence token to end answers with; set its eos_token"
        )
    # `eos_token` is a variable that transformers passes to every template.
    return _END.sub("{%- set end = eos_token %}", text)


def _is_one_token(text: str, tokenizer: PreTrainedTokenizerBase) -> bool:
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    # A text that the vocabulary lacks may become one token as well: the unknown one.
    return len(tokens) == 1 and tokenizer.convert_ids_to_tokens(tokens[0]) == text


def _check(tokenizer: PreTrainedTokenizerBase, text: str, name: str) -> None:
    """Renders two messages, so that a faulty template is found before any training."""
    try:
        with limited_rendering():
            tokenizer.apply_chat_template(_EXAMPLE, chat_template=text, tokenize=False)
    except Exception as error:  # a template may call anything on what it is given
        line = f":{error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise TemplateError(
            f"{name}{line}: {error}; correct the template, or choose one of {', '.join(NAMES)}"
        ) from None
