"""Settings that are kept in a chat template: whoever renders with it, in training, chat or an export, reads them there.

Those of the project are in a comment at the beginning, such as ``{# paretune: special_tokens=keep #}``. The arguments
of ``data.template_arguments`` are variables of the template itself, which a caller's own arguments take precedence of.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SETTINGS = re.compile(r"\{# paretune:((?: \w+=\w+)+) #\}")
# Of a tokenizer without a chat template, the settings are in its own configuration, which is saved with it.
_IN_CONFIG = "paretune_settings"
_QUESTION = re.compile(r"(?<![.\w])([A-Za-z_]\w*) is (?:not )?defined")
# What every template is given, so that an argument of this name would have no effect.
ALWAYS_GIVEN = ("messages", "tools", "documents", "add_generation_prompt", "continue_final_message")

DATE_FUNCTION = "strftime_now"  # what transformers gives templates to write today's date with
_DATE_PARTS = "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ"  # what strftime knows, in C and in Python


def with_settings(template: str, settings: Mapping[str, str]) -> str:
    """The template with ``settings`` in its first comment; without settings, the template alone.

    >>> with_settings("{{ messages }}", {"special_tokens": "keep"})
    '{# paretune: special_tokens=keep #}{{ messages }}'
    """
    template = _SETTINGS.sub("", template, count=1) if _SETTINGS.match(template) else template
    text = " ".join(f"{name}={value}" for name, value in settings.items())
    return behind(f"{{# paretune: {text} #}}", template) if settings else template


def set_settings(tokenizer: PreTrainedTokenizerBase, settings: Mapping[str, str]) -> None:
    """Notes the settings in the tokenizer's chat template, or in its configuration if it has none."""
    if tokenizer.chat_template is not None:
        tokenizer.chat_template = with_settings(tokenizer.chat_template, settings)
    else:
        tokenizer.init_kwargs[_IN_CONFIG] = dict(settings)


def settings_of(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """The settings that the tokenizer's chat template notes, or its configuration if it has none."""
    if not tokenizer.chat_template:
        noted = tokenizer.init_kwargs.get(_IN_CONFIG)
        return noted if isinstance(noted, dict) else {}
    comment = _SETTINGS.match(tokenizer.chat_template)
    return dict(pair.split("=") for pair in comment[1].split()) if comment else {}


def setting(tokenizer: PreTrainedTokenizerBase, name: str) -> str | None:
    """One of :func:`settings_of`; ``None`` where it is not noted."""
    return settings_of(tokenizer).get(name)


def with_arguments(template: str, arguments: Mapping[str, Any]) -> str:
    """The template with values for variables that it asks for, as long as nobody else gives any.

    >>> with_arguments("{{ enable_thinking }}", {"enable_thinking": False})
    '{% if enable_thinking is not defined %}{% set enable_thinking = false %}{% endif %}{{ enable_thinking }}'
    """
    given = "".join(
        f"{{% if {name} is not defined %}}{{% set {name} = {_literal(value)} %}}{{% endif %}}"
        for name, value in arguments.items()
    )
    return behind(given, template)


def behind(beginning: str, template: str) -> str:
    """A template behind a comment or a block. Jinja takes a line feed there away, and this one is meant."""
    return (
        f"{beginning}{{{{ '' }}}}{template}"
        if beginning and template.startswith("\n")
        else beginning + template
    )


def _literal(value: Any) -> str:
    """A value as Jinja writes it, which is as JSON does but for null."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(str(key))}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def unread_arguments(template: str, arguments: Mapping[str, Any]) -> list[str]:
    """The names of arguments that stand nowhere in the template, so that they would change nothing."""
    return [name for name in arguments if not re.search(rf"\b{re.escape(name)}\b", template)]


def asked_arguments(template: str) -> list[str]:
    """The names of the variables whose presence a template asks for: those that a caller may give.

    >>> asked_arguments("{% if enable_thinking is defined and tools is defined %}")
    ['enable_thinking']
    """
    return [name for name in dict.fromkeys(_QUESTION.findall(template)) if name not in ALWAYS_GIVEN]


def own_template(folder: Path) -> str:
    """The text of the chat template in a model's folder, as far as it can be read without its tokenizer."""
    try:
        files = [*folder.glob("chat_template.*"), *folder.glob("additional_chat_templates/*")]
        if files:
            return "\n".join(file.read_text(encoding="utf-8") for file in files)
        return str(
            json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
        )
    except (OSError, ValueError, AttributeError):  # which loading the tokenizer reports
        return ""


def writes_date(template: str) -> bool:
    """Whether the template writes today's date."""
    return DATE_FUNCTION in template


def with_date(template: str, date: str) -> str:
    """The template, which writes ``date``, such as ``20261128``, where it would write today's."""
    return behind(_date_macro(date), template)


@lru_cache(maxsize=16)
def _date_macro(date: str) -> str:
    """Jinja's text of a function that hides transformers' own, which gives templates no functions of a caller."""
    day = datetime.strptime(date, "%Y%m%d")
    parts = [f"%{dash}{part}" for part in _DATE_PARTS for dash in ("", "-")]
    replacements = "".join(
        f" | replace({json.dumps(part)}, {json.dumps(written)})"
        for part in parts
        if (written := day.strftime(part)) != part
    )
    return f"{{% macro {DATE_FUNCTION}(format) %}}{{{{ format{replacements} }}}}{{% endmacro %}}"
