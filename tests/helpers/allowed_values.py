"""The tables of allowed values in the documents, made from the classes of the settings.

python -m tests.helpers.allowed_values      writes them anew
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from sweeps.spec.claims.reading import KINDS
from sweeps.spec.schema import ENTRY_CLASSES, SECTION_CLASSES
from tests.helpers.paths import ROOT
from trainables.config.data import QUALITIES
from trainables.config.rope import Kind
from trainables.data.sources import EMBEDDED
from trainables.models.catalog import CATALOG, PACKAGED
from trainables.templates.built_in import ALIASES, NAMES

BEGIN, END = "<!-- allowed values: begin -->\n", "<!-- allowed values: end -->"
# Which parts of a spec a document describes.
DOCUMENTS = {
    "sweeps/README.md": ("train", "search", "resources", "tracking", "claims"),
    "trainables/README.md": ("stages", "methods", "model", "data"),
}
ENTRIES = {**ENTRY_CLASSES, "claims": KINDS}  # parts that are lists of entries, each of a kind
# Of settings whose class alone doesn't say them.
OTHERS: dict[str, dict[str, tuple[str, ...]]] = {
    "model": {
        "name": (
            *dict.fromkeys((*PACKAGED, *CATALOG)),
            *("hf:ORG/NAME", "ms:ORG/NAME", "wandb:ENTITY/PROJECT/ARTIFACT:VERSION"),
        ),
        "rope": ("none", *get_args(Kind)),
    },
    "data": {
        "train": (*EMBEDDED, "a path", "hf:...", "ms:..."),
        "quality": (*QUALITIES, "MODULE:FUNCTION"),
        "template": (*NAMES, *ALIASES, "a path"),
    },
}
DESCRIBED = ("a path", "a number", "a number for each label")  # words, and no values


def table(document: str) -> str:
    """The table of one document, with its last line's end."""
    lines = [
        "| part | setting | allowed values, the default first where it is one of them |",
        "|---|---|---|",
    ]
    for part in DOCUMENTS[document]:
        lines += [f"| `{part}` | {name} | {_listed(values)} |" for name, values in _settings(part)]
    return "".join(f"{line}\n" for line in lines)


def with_table(document: str, text: str) -> str:
    """The document's text with its table made anew."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table(document) + END + rest.split(END)[1]


def _settings(part: str) -> Iterator[tuple[str, list[Any]]]:
    if part in ENTRIES:
        yield "`kind`", list(ENTRIES[part])
        of_kinds: dict[tuple[str, str], list[str]] = {}
        for kind, cls in ENTRIES[part].items():
            for name, values in _of_class(cls):
                if name != "kind":
                    of_kinds.setdefault((name, repr(values)), []).append(kind)
        for (name, _), kinds in of_kinds.items():
            values = dict(_of_class(ENTRIES[part][kinds[0]]))[name]
            yield f"`{name}` ({', '.join(kinds)})", values
        return
    for name, values in (*_of_class(SECTION_CLASSES[part]), *OTHERS.get(part, {}).items()):
        yield f"`{name}`", list(values)


def _of_class(cls: type[BaseModel]) -> Iterator[tuple[str, list[Any]]]:
    for name, info in cls.model_fields.items():
        values = list(values_of(info.annotation))
        if all(value in DESCRIBED or isinstance(value, bool) for value in values):
            continue
        if info.default in values and info.default is not None and values[0] != info.default:
            values = [info.default, *(value for value in values if repr(value) != repr(info.default))]
        yield name, values


def values_of(annotation: Any) -> Iterator[Any]:
    """The values of a type's literals; with them, what else the type allows."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
        return
    if get_origin(annotation) is dict and get_args(annotation)[1] in (int, float):
        yield "a number for each label"  # no setting has numbers by other names
        return
    for member in get_args(annotation):
        if member is bool:
            yield from (False, True)
        elif member in (int, float):
            yield "a number"
        elif member is not type(None):
            yield from values_of(member)


def _listed(values: list[Any]) -> str:
    texts = [
        {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value) for value in values
    ]
    return ", ".join(text if text in DESCRIBED else f"`{text}`" for text in texts)


def main() -> None:
    for document in DOCUMENTS:
        path = ROOT / document
        path.write_text(with_table(document, path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
