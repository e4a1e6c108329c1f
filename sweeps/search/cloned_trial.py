"""A trial that a person adds to a cell: the configuration of one of its trials, with some settings changed.

It is checked as the values of a spec are, by the rules of planning that need no rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweeps.planning.checks.rules import RULES, RuleContext
from sweeps.planning.draft import Draft
from sweeps.planning.inputs import known_architecture
from sweeps.spec import overrides
from sweeps.spec.domain_parser import is_domain
from sweeps.spec.entries import entry_label, placeholder_entry
from sweeps.spec.key_path import KeyPath, format_path, parse_path
from sweeps.spec.problems import Problem, SpecError
from sweeps.spec.schema import error_translator
from sweeps.spec.settings import ResourcesConfig
from sweeps.spec.source import Source
from sweeps.spec.tree import ALTERNATIVES, Branch, build_node
from trainables.methods.own_method import OwnMethod
from trainables.trial.config import TrialConfig

SECTIONS = ("stage", "method", "train")  # whose settings may be changed
ENTRIES = {"stage": "stages", "method": "methods"}  # what they are called in a spec
IDENTITY = ("model", "data")  # the same in all trials of a cell


def cloned_trial(
    config: TrialConfig, like: str, changes: Sequence[str], resources: ResourcesConfig
) -> TrialConfig:
    """The config of the trial ``like`` with ``changes``, each a ``PATH=VALUE``, as a trial that was added by hand.

    ``resources``: those of the trial. Raises ``SpecError`` for what no trial of the cell can have.

    >>> cloned_trial(config, "3f2a9c81d0b4", ["method.rank=64"], resources).role  # doctest: +SKIP
    'added'
    """
    whole = config.model_dump(mode="json")
    parts = {name: whole[name] for name in (*SECTIONS, *IDENTITY)}
    if found := [problem for change in changes for problem in _path_problems(config, parts, change)]:
        raise SpecError(*found)
    source = overrides.apply(Source(Path(f"trial {like}"), "", parts, {}), changes)
    _replace_alternatives(source)
    if found := list(_value_problems(config, parts, source)):
        raise SpecError(*found)
    made = _validated({**whole, **source.tree, "role": "added"}, source)
    if list(made.trained()) != list(config.trained()):
        raise SpecError(Problem("--set", "", leaving(config.cell, "another trained model")))
    if found := [problem for problem in _rule_problems(made, source, resources) if problem.error]:
        raise SpecError(*found)
    return made


def _path_problems(config: TrialConfig, parts: dict[str, Any], change: str) -> Iterator[Problem]:
    """Settings that no trial has, or that are the same in all trials of a cell."""
    text = change.partition("=")[0].strip()
    path = parse_path(text)
    if path is None:  # `overrides` says so
        return
    section, where = path[0], f"--set {text}"
    if section in IDENTITY or path[1:2] in (("kind",), ("name",)):
        yield Problem(where, text, leaving(config.cell, f"another {format_path(path[:2])}"))
    elif section not in SECTIONS:
        near = next((f"{each}.{path[-1]}" for each in SECTIONS if path[-1] in (parts[each] or {})), None)
        what = "a trial has no such setting; those of its stage, its method and train can be changed"
        yield Problem(where, text, f"{what}{f'. Did you mean {near}?' if near else ', as in method.rank=8'}")
    elif section == "method" and isinstance(config.method, OwnMethod):
        what = (
            f"options of {config.method.kind} are checked by its class, whose code this command doesn't run"
        )
        yield Problem(where, text, f"{what}: change settings of train or stage, or write it in a spec")
    elif len(path) == 1:
        yield Problem(where, text, f"give its settings one by one, as in --set {section}.NAME=VALUE")
    elif any(path[:2] == (part, key) for part, key, _ in config.trained()):
        yield Problem(where, text, leaving(config.cell, f"another {text}"))


def leaving(cell: str, what: str) -> str:
    """The message for a change that makes another cell."""
    return (
        f"{what} makes another cell than {cell}, with a search of its own: write it in a spec of another name, run "
        "that, and compare both by paretune report RUN OTHER_RUN"
    )


def _replace_alternatives(source: Source) -> None:
    """Of settings that exclude one another, such as steps and epochs, the one that is given replaces the other."""
    for path in source.overridden:
        for group in ALTERNATIVES:
            given = {other[-1] for other in source.overridden if other[:-1] == path[:-1]}
            if path[0] == "train" and path[-1] in group and len(given & group) == 1:
                source.tree["train"].update(dict.fromkeys(group - given))


def _value_problems(config: TrialConfig, before: dict[str, Any], source: Source) -> Iterator[Problem]:
    """Domains, of which a trial has none, and values by which a method or a stage has another name."""
    for path in sorted(source.overridden, key=format_path):
        value = _at(source.tree, path)
        if is_domain(value) or (isinstance(value, dict) and "compare" in value):
            yield source.problem(
                path, "an added trial has one value for each setting. Add a trial for each value"
            )
            return
    for section, part in ENTRIES.items():
        names = [_label(part, tree[section]) for tree in (before, source.tree)]
        if names[0] != names[1]:
            changed = next(path for path in source.overridden if path[0] == section)
            yield source.problem(changed, leaving(config.cell, f"{names[1]} in place of {names[0]}"))


def _at(tree: Any, path: KeyPath) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _label(part: str, settings: dict[str, Any] | None) -> str | None:
    node = build_node(settings, ())
    return entry_label(part, node) if isinstance(node, Branch) else None


def _validated(tree: dict[str, Any], source: Source) -> TrialConfig:
    try:
        # As where planning builds configs: strict, and from JSON.
        return TrialConfig.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        node = build_node(source.tree, ())
        assert isinstance(node, Branch)
        found = error_translator(source).problems(error, TrialConfig, node)
        raise SpecError(*(problem for _, problem in found)) from error


def _rule_problems(config: TrialConfig, source: Source, resources: ResourcesConfig) -> Iterator[Problem]:
    parts = build_node(source.tree, ())
    assert isinstance(parts, Branch)
    draft = Draft(
        source=source,
        name=config.cell,
        stage=config.stage.kind,
        method=config.method_name,
        stage_entry=placeholder_entry("stages", config.stage.kind),
        method_entry=placeholder_entry("methods", str(getattr(config.method, "kind", ""))),
        parts=parts,
        space={},
        broken=frozenset(),
        problems=(),
        placeholder=True,
    )
    context = RuleContext(draft, resources, None, known_architecture(config))
    for rule in RULES:
        yield from rule(context, config)
