"""The spec: the question a sweep asks, found, read from YAML, and taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sweeps.spec import overrides, schema, source
from sweeps.spec.domain_parser import is_domain
from sweeps.spec.naming import is_safe
from sweeps.spec.problems import Problem, SpecError, unique
from sweeps.spec.schema import ENTRY_CLASSES, PARTS, SECTION_CLASSES, SECTIONS
from sweeps.spec.settings import ResourcesConfig, SearchConfig, TrackingConfig
from sweeps.spec.source import Source
from sweeps.spec.tree import Branch, Node, build_node
from trainables.system.suggestions import did_you_mean

__all__ = [
    "ResourcesConfig",
    "SearchConfig",
    "Spec",
    "TrackingConfig",
    "find",
    "read",
    "shipped",
    "understand",
]

SHIPPED = Path(__file__).parents[1] / "specs"


@dataclass(frozen=True)
class Spec:
    """A spec whose shape is known. ``problems`` holds what is wrong so far; planning finds the rest."""

    source: Source
    name: str
    question: str | None
    root: Branch  # model, data, train and search: what all cells share
    stages: tuple[Branch, ...]
    methods: tuple[Branch, ...]
    resources: ResourcesConfig
    tracking: TrackingConfig
    problems: tuple[Problem, ...] = ()

    @property
    def overrides(self) -> tuple[str, ...]:
        """The ``--set`` options, as given."""
        return self.source.overrides

    def resolved(self) -> dict[str, Any]:
        """The spec with defaults and overrides applied; domains and comparisons stay as they are."""
        tree = self.source.tree
        parts = {"name": self.name, "question": self.question, **tree}
        defaults = {
            section: _with_defaults(SECTION_CLASSES[section], tree.get(section, {}))
            for section in SECTION_CLASSES
        }
        return {part: {**parts, **defaults}[part] for part in PARTS if part in {**parts, **defaults}}


def read(argument: str | Path, sets: Sequence[str] = ()) -> Spec:
    """The spec in a file, or the shipped one of that name, with ``--set`` overrides applied.

    Raises ``SpecError`` if it can't be read; what else is wrong is in the spec's ``problems``.

    >>> read("methods", ["train.steps=2"]).name  # doctest: +SKIP
    'methods'
    """
    return from_source(overrides.apply(source.read(find_file(argument)), sets))


def shipped_specs() -> tuple[str, ...]:
    """The names of the specs that come with the package."""
    return tuple(sorted(file.stem for file in SHIPPED.glob("*.yaml")))


def find_file(argument: str | Path) -> Path:
    """The file that a SPEC argument means. Raises ``SpecError`` that lists the shipped specs."""
    path = Path(argument).expanduser()
    if path.is_file():
        return path
    if str(argument) in shipped_specs():
        file = SHIPPED / f"{argument}.yaml"
        return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    what = (
        "is a folder; give the spec file in it"
        if path.is_dir()
        else "there is no such file, nor a shipped spec"
    )
    near = did_you_mean(path.stem, shipped_specs())
    raise SpecError(Problem(str(argument), "", f"{what}. Shipped specs: {', '.join(shipped_specs())}{near}"))


def from_source(written: Source) -> Spec:
    """Checks the shape of a spec and takes it apart."""
    tree = written.tree
    problems = schema.problems(written)
    entries = {}
    for part in ENTRY_CLASSES:
        listed: Any = tree.get(part)
        listed = listed if isinstance(listed, list) else []
        grown = [build_node(entry, (part, index)) for index, entry in enumerate(listed)]
        entries[part] = tuple(entry for entry in grown if isinstance(entry, Branch))
    resources, wrong_resources = schema.shared_settings(written, ResourcesConfig, "resources")
    tracking, wrong_tracking = schema.shared_settings(written, TrackingConfig, "tracking")
    name = tree.get("name", written.file.stem)
    return Spec(
        source=written,
        name=name if is_safe(name) else "sweep",
        question=tree.get("question"),
        root=_root(tree),
        stages=entries["stages"],
        methods=entries["methods"],
        resources=resources or ResourcesConfig(),
        tracking=tracking or TrackingConfig(),
        problems=unique([*problems, *wrong_resources, *wrong_tracking]),
    )


def _root(tree: dict[str, Any]) -> Branch:
    sections: dict[str, Node] = {
        section: build_node(tree[section], (section,), listed=section in ("model", "data"))
        for section in SECTIONS
        if section in tree
    }
    return Branch(sections, ())


def _with_defaults(cls: type[BaseModel], tree: Any) -> Any:
    if isinstance(tree, list):
        return [_with_defaults(cls, item) for item in tree]
    if not isinstance(tree, dict) or is_domain(tree) or "compare" in tree:
        return tree
    fields = cls.model_fields.items()
    defaults = {
        name: default
        for name, info in fields
        if not info.is_required()
        and (default := info.get_default(call_default_factory=True)) not in (None, {})
    }
    return {**defaults, **tree}
