"""What a draft may be made from: a shipped spec, a run's, an upload, a data file by ``init``, or nothing."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from sweeps.spec.naming import is_safe
from sweeps.spec.problems import SpecError
from sweeps.ui.children import WrongArgument, operand
from sweeps.ui.drafts.edits import plain_tree, set_value

UPLOAD_BYTES = 2**20
EMPTY = """\
name: sweep
model: {name: smollm2-135m}
data: {train: commands}
stages: [{kind: sft}]
methods:
  - {kind: lora}
train: {steps: 100}
search: {trials: 8}
"""


@dataclass(frozen=True)
class NewText:
    """The text of a new draft, its name, and what it was made from."""

    text: str
    name: str
    origin: str


def shipped(name: str) -> NewText | None:
    """A shipped spec; ``None`` for another name."""
    from sweeps.spec.spec import shipped_specs  # takes a second: the UI is ready before

    if name not in shipped_specs():
        return None
    return NewText(_text(name), name, name)


def shipped_questions() -> list[dict[str, str]]:
    """The shipped specs with the questions that they answer."""
    from sweeps.spec.spec import shipped_specs

    return [
        {"name": name, "question": str(plain_tree(_text(name)).get("question") or "")}
        for name in shipped_specs()
    ]


def _text(name: str) -> str:
    from sweeps.spec.spec import SHIPPED

    return (SHIPPED / f"{name}.yaml").read_text(encoding="utf-8")


def uploaded(content: bytes, file_name: str) -> NewText:
    """An uploaded spec. Raises ``ValueError`` for what is no text."""
    from sweeps.spec.spec import SUFFIXES

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"the file is no text in UTF-8: {error.reason} at byte {error.start}") from error
    if "\0" in text:
        raise ValueError("the file is no text: it contains NUL")
    stem = Path(file_name.replace("\\", "/")).name
    for suffix in SUFFIXES:
        stem = stem.removesuffix(suffix)
    return NewText(text, safe_name(stem), stem)


def copied(text: str, run: str) -> NewText:
    """A copy of a run's spec, under a name that no run of its folder has."""
    return NewText(text, safe_name(run), run)


def safe_name(name: str) -> str:
    """The name, or a usual one where it can't be the name of a file and a run."""
    return name if is_safe(name) and not name.startswith((".", "-")) else "sweep"


def spec_name(text: str, otherwise: str) -> str:
    """The name that a spec gives itself, which its run has."""
    try:
        name = plain_tree(text).get("name", otherwise)
    except (SpecError, YAMLError):
        return otherwise
    return name if is_safe(name) and not name.startswith((".", "-")) else otherwise


@dataclass(frozen=True)
class InitRequest:
    """``paretune init`` for a file of the data folder. Its spec is written beside the data, and taken from there."""

    source: str
    model: str | None
    stage: str | None
    minutes: float | None
    file: str

    @classmethod
    def new(cls, source: str, model: Any, stage: Any, minutes: float | None) -> InitRequest:
        """The request with values as a page sends them. Raises ``WrongArgument`` for what is no text."""
        for name, value in (("model", model), ("stage", stage)):
            if not isinstance(value, str | None):
                raise WrongArgument(f"{name}: a name is expected, not {value!r:.40}; select one of the list")
        return cls(
            source, model or None, stage or None, minutes, f".paretune-init-{secrets.token_hex(6)}.yaml"
        )

    def made(self, text: str) -> NewText:
        """The draft out of what ``init`` wrote: named after the data, not after the file that it was written to."""
        name = safe_name(self.source.rpartition("/")[2].partition(".")[0])
        text = text.replace(f" --output {self.file}", "").replace("runs/sweep", f"runs/{name}")
        return NewText(set_value(text, ("name",), name), name, self.source)

    def argv(self) -> Sequence[str]:
        """The arguments; raises ``WrongArgument`` for a value that would be an option."""
        options = {"--model": self.model, "--stage": self.stage}
        given = [part for name, value in options.items() if value for part in (name, operand(value))]
        minutes = ["--minutes", f"{self.minutes:g}"] if self.minutes else []
        return ["init", operand(self.source), "--output", self.file, *given, *minutes]
