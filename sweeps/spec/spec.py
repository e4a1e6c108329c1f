"""A spec, the question that a sweep answers: finds it, reads it, and splits it into its parts."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sweeps.spec import overrides, schema, shorthand, source
from sweeps.spec.claims.base import BaseClaim
from sweeps.spec.claims.reading import read_claims
from sweeps.spec.domain_parser import is_domain
from sweeps.spec.naming import is_safe
from sweeps.spec.problems import Problem, SpecError, unique
from sweeps.spec.schema import ENTRY_CLASSES, PARTS, SECTION_CLASSES, SECTIONS
from sweeps.spec.settings import (
    COMPARISON,
    EARLIER_SEARCH,
    SEARCH_VERSION,
    FinalistsConfig,
    ReportConfig,
    ResourcesConfig,
    SearchConfig,
    TrackingConfig,
)
from sweeps.spec.source import Source
from sweeps.spec.tree import Branch, Node, build_node
from trainables.data.files.data_files import data_suffix
from trainables.system.suggestions import did_you_mean

__all__ = [
    "ResourcesConfig",
    "SearchConfig",
    "Spec",
    "TrackingConfig",
    "find_file",
    "from_source",
    "from_text",
    "read",
    "shipped_specs",
]

SHIPPED = Path(__file__).parents[1] / "specs"
SUFFIXES = (".yaml", ".yml")  # of spec files


@dataclass(frozen=True)
class Spec:
    """A spec split into its parts. ``problems`` holds those with its shape; planning finds the others."""

    source: Source
    name: str
    question: str | None
    root: Branch  # model, data, train, search and resources, as all cells share them
    stages: tuple[Branch, ...]
    methods: tuple[Branch, ...]
    resources: ResourcesConfig
    tracking: TrackingConfig
    finalists: FinalistsConfig
    report: ReportConfig
    problems: tuple[Problem, ...] = ()
    claims: tuple[BaseClaim, ...] = ()  # what the report answers
    claim_places: tuple[int, ...] = ()  # of each in the spec's list

    @property
    def overrides(self) -> tuple[str, ...]:
        """The ``--set`` options, as given."""
        return self.source.overrides

    def claim_index(self, claim: BaseClaim) -> int:
        """The place of a claim in the spec's list, whose invalid entries are no claims."""
        return self.claim_places[self.claims.index(claim)]

    def resolved(self) -> dict[str, Any]:
        """The spec with defaults and overrides applied; domains and comparisons stay as written."""
        tree = self.source.tree
        defaults = {
            section: _with_defaults(cls, tree.get(section, {})) for section, cls in SECTION_CLASSES.items()
        }
        parts = {"name": self.name, "question": self.question, **tree, **defaults}
        # In the order of PARTS, whatever the file's order is, and without unknown parts, which are reported.
        return {part: parts[part] for part in PARTS if part in parts}


def as_begun(spec: Spec, environment: Mapping[str, Any]) -> Spec:
    """A spec as a run that is resumed began with it, by the run's ``environment.json``: one of an earlier version has
    finalists only if the spec names them now, and searches as it did then where the spec doesn't say how.
    """
    begun = environment.get("plan", {})
    if (begun.get("conventions") or 1) < SEARCH_VERSION:
        spec = from_source(_with_earlier_search(spec.source))
    if "finalists" in spec.source.tree or "finalists" in begun:
        return spec
    return replace(spec, finalists=FinalistsConfig(seeds=1))


def _with_earlier_search(written: Source) -> Source:
    search = written.tree.get("search") or {}
    if not isinstance(search, dict):
        return written  # which is among the spec's problems
    compares = search.get("scheduler") != "none"  # otherwise a comparison's settings would be without effect
    earlier = {key: value for key, value in EARLIER_SEARCH.items() if compares or key not in COMPARISON}
    return replace(written, tree={**written.tree, "search": {**earlier, **search}})


def read(argument: str | Path, sets: Sequence[str] = ()) -> Spec:
    """Reads a spec file, or the shipped spec of that name, with ``--set`` overrides applied.

    Raises ``SpecError`` if it can't be read; other mistakes are in the spec's ``problems``.

    >>> read("methods", ["train.steps=2"]).name  # doctest: +SKIP
    'methods'
    """
    # Before the overrides, which may change a key of a section that is written as a text.
    return from_source(overrides.apply(shorthand.expanded(source.read(find_file(argument))), sets))


def from_text(text: str, file: Path, sets: Sequence[str] = ()) -> Spec:
    """Reads a spec from its text, as if ``file`` had it: relative paths are relative to the file's folder.

    Raises ``SpecError`` as :func:`read` does.
    """
    return from_source(overrides.apply(shorthand.expanded(source.parse(file, text)), sets))


def shipped_specs() -> tuple[str, ...]:
    """The names of the specs that come with the package."""
    return tuple(sorted(file.stem for file in SHIPPED.glob("*.yaml")))


def find_file(argument: str | Path) -> Path:
    """The file that a SPEC argument means. Raises ``SpecError`` that lists the shipped specs."""
    path = Path(argument).expanduser()
    if path.is_file():
        _refuse_data(path)
        return path
    if str(argument) in shipped_specs():
        file = SHIPPED / f"{argument}.yaml"
        return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    what = (
        "is a folder; give the spec file in it"
        if path.is_dir()
        else "there is no such file, and no shipped spec of that name"
    )
    if proposed := proposed_file(path):
        raise SpecError(Problem(str(argument), "", f"{what}. Did you mean {proposed}?"))
    near = did_you_mean(path.stem, shipped_specs())
    raise SpecError(Problem(str(argument), "", f"{what}. Shipped specs: {', '.join(shipped_specs())}{near}"))


def proposed_file(path: Path) -> Path | None:
    """The spec that a path without a file probably means: ``home.yaml`` for ``home``, and a folder's only spec."""
    beside = [path.with_name(f"{path.name}{suffix}") for suffix in SUFFIXES] if path.name else []
    inside = (
        [file for suffix in SUFFIXES for file in sorted(path.glob(f"*{suffix}"))] if path.is_dir() else []
    )
    # Of a run's folder, the spec as it was written.
    inside = [file for file in inside if file.name != "resolved.yaml"]
    candidates = [*(file for file in beside if file.is_file()), *(inside if len(inside) == 1 else [])]
    return next(iter(candidates), None)


def _refuse_data(path: Path) -> None:
    """Raises ``SpecError`` for a file of rows, which says what to do with it."""
    if data_suffix(path) not in (None, ".json", ".txt"):  # these may hold a spec, too
        file = shlex.quote(str(path))
        what = f"these are rows, and a spec is needed: paretune init {file} writes one; paretune data {file} shows them"
        raise SpecError(Problem(str(path), "", what))


def from_source(written: Source) -> Spec:
    """Checks the shape of a spec and splits it into its parts."""
    written = shorthand.expanded(written)
    tree = written.tree
    problems = schema.problems(written)
    resources, resource_problems = schema.shared_settings(written, ResourcesConfig, "resources")
    tracking, tracking_problems = schema.shared_settings(written, TrackingConfig, "tracking")
    finalists, finalists_problems = schema.shared_settings(written, FinalistsConfig, "finalists")
    report, report_problems = schema.shared_settings(written, ReportConfig, "report")
    claims, claims_problems = read_claims(written)  # by their places in the list
    name = tree.get("name", written.file.stem)
    entries = {part: _entry_branches(tree, part) for part in ENTRY_CLASSES}
    return Spec(
        source=written,
        # An unsafe name is among the problems; with a safe one in its place the rest can still be planned.
        name=name if is_safe(name) else "sweep",
        question=tree.get("question"),
        root=_root(tree),
        stages=entries["stages"],
        methods=entries["methods"],
        resources=resources or ResourcesConfig(),
        tracking=tracking or TrackingConfig(),
        finalists=finalists or FinalistsConfig(),
        report=report or ReportConfig(),
        problems=unique(
            [
                *problems,
                *resource_problems,
                *tracking_problems,
                *finalists_problems,
                *report_problems,
                *claims_problems,
            ]
        ),
        claims=tuple(claims.values()),
        claim_places=tuple(claims),
    )


def _entry_branches(tree: dict[str, Any], part: str) -> tuple[Branch, ...]:
    """The entries that are mappings; the others are among the problems with the spec's shape."""
    entries: Any = tree.get(part)
    entries = entries if isinstance(entries, list) else []
    nodes = [build_node(entry, (part, index)) for index, entry in enumerate(entries)]
    return tuple(node for node in nodes if isinstance(node, Branch))


def _root(tree: dict[str, Any]) -> Branch:
    sections: dict[str, Node] = {
        section: build_node(tree[section], (section,), list_compares=section in ("model", "data"))
        for section in SECTIONS
        if section in tree
    }
    return Branch(sections, ())


def _with_defaults(cls: type[BaseModel], tree: Any) -> Any:
    if isinstance(tree, list):
        return [_with_defaults(cls, item) for item in tree]
    if not isinstance(tree, dict) or is_domain(tree) or "compare" in tree:
        return tree
    defaults = {
        name: default
        for name, info in cls.model_fields.items()
        if not info.is_required()
        and (default := info.get_default(call_default_factory=True)) not in (None, {})
    }
    return {**defaults, **tree}
