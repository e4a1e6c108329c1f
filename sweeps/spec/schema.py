"""The parts of a spec, and whether a spec has that shape.

The settings inside the cells are checked cell by cell while planning, when it is known what each cell merges.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sweeps.spec.domain_parser import is_domain
from sweeps.spec.key_path import KeyPath
from sweeps.spec.messages.validation_messages import (
    EXAMPLES,
    FILLED_BY_PLANNING,
    ErrorTranslator,
    config_classes,
)
from sweeps.spec.naming import is_safe
from sweeps.spec.problems import Problem, format_value, refusal, unknown_key_message
from sweeps.spec.settings import (
    FinalistsConfig,
    ReportConfig,
    ResourcesConfig,
    SearchConfig,
    TrackingConfig,
)
from sweeps.spec.source import Source
from sweeps.spec.tree import Branch, build_node
from trainables.config.base import fields_by_key
from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.config.train import TrainConfig
from trainables.methods import Method
from trainables.methods.own_method import known_class, known_classes
from trainables.stages import Stage

PARTS = (
    "name", "question", "model", "data", "train", "search", "finalists", "stages", "methods", "resources", "tracking",
    "report", "claims",
)  # fmt: skip
SECTIONS = ("model", "data", "train", "search", "resources")  # an entry may override these
ENTRY_CLASSES: dict[str, dict[str, type[BaseModel]]] = {
    "stages": config_classes(Stage),
    "methods": config_classes(Method),
}
SECTION_CLASSES: dict[str, type[BaseModel]] = {
    "model": ModelConfig,
    "data": DataConfig,
    "train": TrainConfig,
    "search": SearchConfig,
    "resources": ResourcesConfig,
    "tracking": TrackingConfig,
    "finalists": FinalistsConfig,
    "report": ReportConfig,
}

ONE_VALUE = "this is the same for all trials, so it can be neither compared nor searched. Give one value"
SAFE_CHARACTERS = "Use letters, digits, dots, dashes and underscores"
SWEEP_WIDE = ("concurrent", "stall_seconds", "wait_seconds")  # resources that no entry may override

Settings = TypeVar("Settings", bound=BaseModel)


def entry_class(part: str, kind: str) -> type[BaseModel] | None:
    """The config class of a kind of stage or method; of a class of one's own, where planning has imported it."""
    return ENTRY_CLASSES[part].get(kind) or (known_class(kind) if part == "methods" else None)


def problems(source: Source) -> list[Problem]:
    """Problems with a spec's shape: unknown parts, unsafe names, entries that are not mappings."""
    return [
        *_unknown_parts(source),
        *_name_and_question(source),
        *(problem for part in ENTRY_CLASSES for problem in _entries(source, part)),
    ]


def error_translator(source: Source) -> ErrorTranslator:
    """The translator of pydantic's errors about this spec."""
    extra_keys: dict[type[BaseModel], tuple[str, ...]] = {
        ModelConfig: ("quantization", "from"),
        **{cls: SECTIONS for classes in ENTRY_CLASSES.values() for cls in classes.values()},
        **dict.fromkeys(known_classes().values(), SECTIONS),
    }
    return ErrorTranslator(source, extra_keys, _key_places())


def _key_places() -> dict[str, str]:
    """The part of a spec that each known key belongs to: ``{"rank": "methods[].rank (lora, qlora)", ...}``."""
    places: dict[str, list[str]] = {}
    for part, cls in SECTION_CLASSES.items():
        for key in fields_by_key(cls):
            places.setdefault(key, []).append(f"{part}.{key}")
    for part, classes in ENTRY_CLASSES.items():
        # A key that several kinds share is one place that names all these kinds.
        for key in dict.fromkeys(key for cls in classes.values() for key in cls.model_fields):
            kinds = [kind for kind, cls in classes.items() if key in cls.model_fields]
            places.setdefault(key, []).append(f"{part}[].{key} ({', '.join(kinds)})")
    return {key: " or ".join(found) for key, found in places.items() if key not in FILLED_BY_PLANNING}


def shared_settings(source: Source, cls: type[Settings], part: str) -> tuple[Settings | None, list[Problem]]:
    """A part of the spec whose settings are the same for all trials, and the problems with it."""
    node = build_node(source.tree.get(part, {}), (part,))
    if not isinstance(node, Branch):
        what = refusal(f"got {format_value(node.plain())}", "a mapping", f". Write {part}: {EXAMPLES[part]}")
        return None, [source.problem((part,), what)]
    # Left out before validation, so that each of these keys is reported once, with a message of its own.
    varied = [key for key, child in node.children.items() if _varies(child.plain())]
    settings, wrong = validate_node(source, cls, node.without(*varied))
    return settings, [*wrong, *(source.problem((part, key), ONE_VALUE) for key in varied)]


def _varies(value: Any) -> bool:
    return is_domain(value) or (isinstance(value, dict) and "compare" in value)


def validate_node(source: Source, cls: type[Settings], node: Branch) -> tuple[Settings | None, list[Problem]]:
    """The node's values as ``cls``, or the problems with them."""
    try:
        # Strict, and from JSON: the text "8" is no number, but a whole number is a float.
        return cls.model_validate_json(json.dumps(node.plain(), default=str), strict=True), []
    except ValidationError as error:
        translated = error_translator(source).problems(error, cls, node)
        return None, [problem for _, problem in translated]


def _unknown_parts(source: Source) -> Iterator[Problem]:
    elsewhere = error_translator(source).elsewhere
    for key in source.tree:
        if key not in PARTS:
            yield source.problem((key,), unknown_key_message(key, PARTS, elsewhere))


def _name_and_question(source: Source) -> Iterator[Problem]:
    name = source.tree.get("name", source.file.stem)
    if not is_safe(name):
        what = f"{format_value(name)} can't be the name of a run folder. {SAFE_CHARACTERS}"
        yield source.problem(("name",), what)
    question = source.tree.get("question")
    if not isinstance(question, str | None):
        yield source.problem(("question",), f"got {format_value(question)}; allowed: a text")


def _entries(source: Source, part: str) -> Iterator[Problem]:
    example = f"{part}: [{{kind: {next(iter(ENTRY_CLASSES[part]))}}}]"
    entries = source.tree.get(part)
    if not isinstance(entries, list) or not entries:
        value = "not given" if not entries else f"got {format_value(entries)}"
        what = f"{value}. Write a list with at least one entry, such as {example}"
        yield source.problem((part,), what)
        return
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or _varies(entry):
            what = f"got {format_value(entry)}; allowed: a mapping, as in {example}"
            yield source.problem((part, index), what)
            continue
        name = entry.get("name")
        if name is not None and not is_safe(name):
            what = f"{format_value(name)} can't be part of a file name. {SAFE_CHARACTERS}"
            yield source.problem((part, index, "name"), what)
        yield from _entry_resources(source, (part, index, "resources"), entry.get("resources", {}))


def _entry_resources(source: Source, path: KeyPath, resources: Any) -> Iterator[Problem]:
    """Keys that an entry's own resources may not hold; the values are checked cell by cell."""
    for key, value in resources.items() if isinstance(resources, dict) else ():
        if key in SWEEP_WIDE:
            yield source.problem((*path, key), "this applies to the whole sweep. Move it to resources")
        elif _varies(value):
            yield source.problem((*path, key), ONE_VALUE)
