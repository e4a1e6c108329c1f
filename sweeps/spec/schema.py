"""What a spec is made of, and whether it has that shape.

What the cells hold is checked cell by cell while planning, where it is known what they come from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sweeps.spec.domain_parser import is_domain
from sweeps.spec.key_path import KeyPath
from sweeps.spec.naming import is_safe
from sweeps.spec.problems import Problem, format_value, unknown_key_message
from sweeps.spec.settings import ResourcesConfig, SearchConfig, TrackingConfig
from sweeps.spec.source import Source
from sweeps.spec.tree import Branch, build_node
from sweeps.spec.validation_messages import FILLED_BY_PLANNING, ErrorTranslator, config_classes
from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.config.train import TrainConfig
from trainables.methods import Method
from trainables.stages import Stage

SECTIONS = ("model", "data", "train", "search", "resources")  # what an entry may override
PARTS = ("name", "question", "model", "data", "train", "search", "stages", "methods", "resources", "tracking")
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
}

ONE_VALUE = "this is the same for all trials, neither compared nor searched. Give one value"
WHOLE_SWEEPS = ("concurrent", "stall_seconds", "wait_seconds")  # of the resources: no entry has its own

Settings = TypeVar("Settings", bound=BaseModel)


def problems(written: Source) -> list[Problem]:
    """What is wrong with the spec's shape: unknown parts, names, entries that are no mappings."""
    wrong = [*_unknown_parts(written), *_wrong_texts(written)]
    return [*wrong, *(problem for part in ENTRY_CLASSES for problem in _wrong_entries(written, part))]


def error_translator(written: Source) -> ErrorTranslator:
    """What turns pydantic's errors about this spec's parts into problems."""
    extra: dict[type[BaseModel], tuple[str, ...]] = {
        ModelConfig: ("quantization", "from"),
        **{cls: SECTIONS for classes in ENTRY_CLASSES.values() for cls in classes.values()},
    }
    return ErrorTranslator(written, extra, _moved())


def _moved() -> dict[str, str]:
    """Where each known key stands: ``{"rank": "methods[].rank (lora, qlora)", ...}``."""
    places: dict[str, list[str]] = {}
    for part, cls in SECTION_CLASSES.items():
        for key in cls.model_fields:
            places.setdefault(key, []).append(f"{part}.{key}")
    for part, classes in ENTRY_CLASSES.items():
        for key in dict.fromkeys(key for cls in classes.values() for key in cls.model_fields):
            kinds = [kind for kind, cls in classes.items() if key in cls.model_fields]
            places.setdefault(key, []).append(f"{part}[].{key} ({', '.join(kinds)})")
    return {key: " or ".join(found) for key, found in places.items() if key not in FILLED_BY_PLANNING}


def shared_settings(written: Source, cls: type[Settings], part: str) -> tuple[Settings | None, list[Problem]]:
    """A part of the spec that is the same for all trials, and what is wrong with it."""
    node = build_node(written.tree.get(part, {}), (part,))
    if not isinstance(node, Branch):
        return None, [written.problem((part,), f"got {format_value(node.plain())}; allowed: a mapping")]
    varied = [key for key, child in node.children.items() if _varies(child.plain())]
    found, wrong = validate_node(written, cls, node.without(*varied))
    return found, [*(written.problem((part, key), ONE_VALUE) for key in varied), *wrong]


def _varies(tree: Any) -> bool:
    return is_domain(tree) or (isinstance(tree, dict) and "compare" in tree)


def validate_node(
    written: Source, cls: type[Settings], node: Branch
) -> tuple[Settings | None, list[Problem]]:
    """The node's values as ``cls``, or what is wrong with them."""
    try:
        return cls.model_validate_json(json.dumps(node.plain(), default=str), strict=True), []
    except ValidationError as error:
        return None, [problem for _, problem in error_translator(written).problems(error, cls, node)]


def _unknown_parts(written: Source) -> Iterator[Problem]:
    moved = error_translator(written).moved
    for key in written.tree:
        if key not in PARTS:
            yield written.problem((key,), unknown_key_message(key, PARTS, moved))


def _wrong_texts(written: Source) -> Iterator[Problem]:
    name = written.tree.get("name", written.file.stem)
    if not is_safe(name):
        what = (
            f"{format_value(name)} can't name a run's folder. Use letters, digits, dot, dash and underscore"
        )
        yield written.problem(("name",), what)
    question = written.tree.get("question")
    if not isinstance(question, str | None):
        yield written.problem(("question",), f"got {format_value(question)}; allowed: a text")


def _wrong_entries(written: Source, part: str) -> Iterator[Problem]:
    example = f"{part}: [{{kind: {next(iter(ENTRY_CLASSES[part]))}}}]"
    entries = written.tree.get(part)
    if not isinstance(entries, list) or not entries:
        given = "none" if not entries else format_value(entries)
        yield written.problem(
            (part,), f"a list with at least one entry is needed, got {given}. Write {example}"
        )
        return
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or _varies(entry):
            yield written.problem(
                (part, index), f"got {format_value(entry)}; allowed: a mapping, as in {example}"
            )
            continue
        name = entry.get("name")
        if name is not None and not is_safe(name):
            what = f"{format_value(name)} can't be part of a file's name. Use letters, digits, dot, dash and underscore"
            yield written.problem((part, index, "name"), what)
        yield from _wrong_resources(written, (part, index, "resources"), entry.get("resources", {}))


def _wrong_resources(written: Source, place: KeyPath, own: Any) -> Iterator[Problem]:
    """What an entry's own resources may not hold; their values are checked cell by cell."""
    for key, value in own.items() if isinstance(own, dict) else ():
        if key in WHOLE_SWEEPS:
            yield written.problem((*place, key), "this is for the whole sweep. Move it to resources")
        elif _varies(value):
            yield written.problem((*place, key), ONE_VALUE)
