"""What came out of a study, as ``reports/studies/NAME/study.json`` keeps it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from reports.claims.cells import NamedCells
from reports.claims.kinds import claim_of

FILE = "study.json"


@dataclass(frozen=True)
class ClaimOutcome:
    """What came out of one claim. ``values``: the claim as a spec has it, without its source. ``figures``: each
    estimate with its interval, in words. ``reason``: why nothing could be said, or what would settle it.
    """

    statement: str
    outcome: str
    source: str | None
    values: dict[str, Any]
    p: float | None
    figures: tuple[str, ...]
    reason: str | None
    results: list[dict[str, Any]] = field(default_factory=list)  # the figures as numbers


@dataclass(frozen=True)
class StoredStudy:
    """``seconds``: from the start of the run to its end, without its report. ``trials``: that ended, the untrained
    model's scoring not among them. ``machine``: in general words. ``spec_sha256``: of the spec's text. ``overrides``:
    what the command line changed of it, but for resources and tracking. ``note``: what is to be known of the outcomes,
    written by hand once they were known: a reason, or what is loose in a claim.
    """

    name: str
    question: str | None
    begun: str | None
    seconds: float | None
    trials: int
    machine: str
    spec_sha256: str | None
    packages: dict[str, str]
    claims: tuple[ClaimOutcome, ...]
    overrides: tuple[str, ...] = ()
    note: str | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def stored_studies(folder: Path | None = None) -> dict[str, StoredStudy]:
    """The studies of a folder by their names, by default those that are shipped with the package.

    Raises ``ValueError`` that names a damaged file.
    """
    place: Traversable = folder if folder is not None else resources.files("reports") / "studies"
    files = {each.name: each / FILE for each in place.iterdir() if each.is_dir()} if place.is_dir() else {}
    return {name: _read(file) for name, file in sorted(files.items()) if file.is_file()}


def _read(file: Traversable) -> StoredStudy:
    try:
        return TypeAdapter(StoredStudy).validate_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: damaged: {str(error).splitlines()[0]}") from error


def claim_statement(values: dict[str, Any]) -> str:
    """A claim of a spec as a sentence without a full stop, as long as no run answers it. Raises ``ValueError``."""
    claim = claim_of(values)
    return claim.statement(NamedCells(claim.names))


def stored_study_values() -> dict[str, dict[str, Any]]:
    """The shipped studies as plain values by their names."""
    return {name: asdict(study) for name, study in stored_studies().items()}
