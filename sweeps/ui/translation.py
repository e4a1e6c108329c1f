"""The words of the pages in English and Chinese: a catalogue for each area in ``words/LANGUAGE/AREA.json``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

LANGUAGES = {"en": "English", "zh": "中文"}
COOKIE = "paretune-language"


class MissingWordsError(KeyError):
    """A key that a catalogue lacks: a mistake of ours."""


@dataclass(frozen=True)
class Translator:
    """The words of one language.

    >>> Translator("en")("common.cancel")
    'Cancel'
    """

    language: str

    def __call__(self, key: str, /, **values: Any) -> str:
        """The text of a key, with ``{name}`` replaced by values. Raises :class:`MissingWordsError`."""
        text = catalogue(self.language).get(key)
        if text is None:
            raise MissingWordsError(f"words/{self.language} has no {key!r}")
        return text.format(**values) if values else text

    def areas(self, names: Iterable[str]) -> dict[str, str]:
        """All words of some areas, for the scripts of a page."""
        wanted = {"common", *names}
        return {
            key: text for key, text in catalogue(self.language).items() if key.partition(".")[0] in wanted
        }


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """All keys of a language with their texts. Raises ``ValueError`` where a key isn't named for its file's area."""
    words = dict[str, str]()
    folder = resources.files("sweeps.ui") / "words" / language
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if not file.name.endswith(".json"):
            continue
        area, texts = file.name.removesuffix(".json"), json.loads(file.read_text(encoding="utf-8"))
        if wrong := [key for key in texts if key.partition(".")[0] != area]:
            raise ValueError(f"words/{language}/{file.name}: {wrong[0]!r} does not begin with {area!r}")
        words.update(texts)
    return words


def chosen_language(cookie: str | None, accept_language: str) -> str:
    """The language by the cookie, then by ``Accept-Language`` (RFC 9110, section 12.5.4), then English.

    >>> chosen_language(None, "fr, zh-CN;q=0.8, en;q=0.9"), chosen_language("zh", "en"), chosen_language(None, "")
    ('en', 'zh', 'en')
    """
    if cookie in LANGUAGES:
        return cookie
    wanted = sorted((_quality(part) for part in accept_language.split(",")), key=lambda each: -each[1])
    return next((name for name, quality in wanted if quality > 0 and name in LANGUAGES), "en")


def _quality(part: str) -> tuple[str, float]:
    """The language of a part of ``Accept-Language`` without its region, and its weight."""
    name, _, parameters = part.partition(";")
    try:
        quality = float(parameters.partition("q=")[2] or 1) if parameters else 1.0
    except ValueError:
        quality = 0.0
    return name.strip().lower().partition("-")[0], quality
