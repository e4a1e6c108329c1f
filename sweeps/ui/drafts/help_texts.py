"""What settings mean, from where it is written already: docstrings of their classes, and comments beside them."""

from __future__ import annotations

import inspect
import re
from functools import cache

from pydantic import BaseModel

_SENTENCE = re.compile(r"(?<=\.)\s+(?=[A-Z`])")
_FIELD = re.compile(r"    (\w+): [^#\n]*?(?:=[^#\n]*)?(?:  # (?!type:|noqa|fmt)(.*))?$")
_COMMENT = re.compile(r"    # (?!type:|noqa|fmt)(.*)$")


def class_help(cls: type[BaseModel]) -> str:
    """The docstring of a class as one paragraph, without markup."""
    return _plain(" ".join((inspect.getdoc(cls) or "").split())) if cls.__doc__ else ""


@cache
def field_help(cls: type[BaseModel], name: str) -> str:
    """The sentences about a field, of its class or of the class that it comes from; empty if nothing is said.

    >>> from sweeps.spec.settings import FinalistsConfig, SearchConfig
    >>> field_help(SearchConfig, "score_stopped")
    'trials that were stopped are scored on the test rows and their memory is measured, too.'
    """
    for owner in cls.__mro__:
        if not issubclass(owner, BaseModel) or name not in vars(owner).get("__annotations__", {}):
            continue
        said = [_comment(owner, name), *_sentences(owner, name)]
        if owner is not cls:
            said += _sentences(cls, name)
        return " ".join(dict.fromkeys(filter(None, said)))
    return ""


def _sentences(cls: type[BaseModel], name: str) -> list[str]:
    """The sentences of a docstring that name the field; of those that begin with it, what follows the colon."""
    alias = cls.model_fields[name].alias if name in cls.model_fields else None
    marks = [f"``{word}``" for word in (name, alias) if word]
    text = " ".join((inspect.getdoc(cls) or "").split())
    found = [part for part in _SENTENCE.split(text) if any(mark in part for mark in marks)]
    return [_plain(_about(part, marks)) for part in found[:3]]


def _about(sentence: str, marks: list[str]) -> str:
    for mark in marks:
        if sentence.startswith(f"{mark}: "):
            return sentence.removeprefix(f"{mark}: ")
    return sentence


def _plain(text: str) -> str:
    return re.sub(r"``([^`]*)``|:\w+:`~?([^`]*)`", lambda match: match[1] or match[2].strip("`"), text)


def _comment(cls: type[BaseModel], name: str) -> str:
    """The comment behind a field, or above it, in the source."""
    return _comments(cls).get(name, "")


@cache
def _comments(cls: type[BaseModel]) -> dict[str, str]:
    try:
        lines = inspect.getsource(cls).splitlines()
    except OSError:  # installed without sources
        return {}
    found: dict[str, str] = {}
    above: list[str] = []
    for line in lines:
        if comment := _COMMENT.match(line):
            above.append(comment[1])
            continue
        if (field := _FIELD.match(line)) and (said := field[2] or " ".join(above)):
            found[field[1]] = f"{said[0].upper()}{said[1:].rstrip('.')}."
        above = []
    return found
