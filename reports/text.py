"""Sentences that can be said in several languages: English templates with named values.

A text is its English, so that all who print it need know nothing of languages. It keeps its template and its values,
which may be texts, too: whoever shows it in another language asks for :func:`translated`. The templates stand where the
sentences are made; those of another language are in ``words/LANGUAGE.json``, by the English ones.

>>> sentence = text("{names} differ by at most {margin}", names=joined(", ", ["lora", "full"]), margin="2.0 points")
>>> sentence, translated(sentence, "zh")
('lora, full differ by at most 2.0 points', 'lora、full 的差异不超过 2.0 points')
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

LANGUAGES = ("zh",)  # beside English


class Text(str):
    """An English text with the ``template`` that it was made from, of ``values`` by name or ``parts`` to be joined."""

    template: str
    values: Mapping[str, object]
    parts: tuple[str, ...] | None

    def __new__(
        cls, template: str, values: Mapping[str, object], parts: tuple[str, ...] | None = None
    ) -> Text:
        made = super().__new__(cls, template.format_map(values) if parts is None else template.join(parts))
        made.template, made.values, made.parts = template, values, parts
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self.template, self.values, self.parts


def text(template: str, /, **values: object) -> Text:
    """The template with ``{name}`` replaced by values: texts, names, and numbers as they are to be shown."""
    return Text(template, values)


def joined(separator: str, parts: Iterable[str]) -> Text:
    """Texts one after another; languages separate them differently."""
    return Text(separator, {}, tuple(parts))


def translated(value: Any, language: str) -> Any:
    """A text in a language of :data:`LANGUAGES`, and all texts within lists and mappings; all else as it is. What the
    language has no template for stays English.
    """
    if isinstance(value, Text):
        template = _templates(language).get(value.template, value.template)
        if value.parts is not None:
            return template.join(translated(part, language) for part in value.parts)
        return template.format_map({name: translated(each, language) for name, each in value.values.items()})
    if isinstance(value, Mapping):
        return {name: translated(each, language) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [translated(each, language) for each in value]
    return value


@cache
def _templates(language: str) -> Mapping[str, str]:
    file = resources.files("reports") / "words" / f"{language}.json"
    templates: Mapping[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return templates
