"""The run folder: who holds it, what it was made from, and whether it may be gone on with."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from sweeps.planning.plan import Plan
from sweeps.runs.layout import _environment
from sweeps.runs.location import RunLocation
from sweeps.spec.problems import Problem, SpecError
from trainables import results
from trainables.storage import files
from trainables.system import machine, provenance, redaction


def prepare(plan: Plan, run: Path, resume: bool, shown: str | None = None) -> None:
    """Makes the folder of a new run, or checks that an old one may be resumed with this plan. ``shown``: what people
    call it, if not by its path.

    Raises ``SpecError`` as :func:`check` does.
    """
    before = check(plan, run, resume, shown)
    if before is not None:
        set_aside_damaged(run)
    run.mkdir(parents=True, exist_ok=True)
    files.write_text(run / "spec.yaml", redaction.redacted(plan.spec.source.text))
    with files.atomic(run / "resolved.yaml") as temporary:
        YAML(typ="safe").dump(
            redaction.redacted_values(json.loads(json.dumps(plan.resolved(), default=str))), temporary
        )
    told = {"place": shown or str(run), **_describe(plan, before or {})}
    files.write_json(run / "environment.json", told)


def check(plan: Plan, run: Path, resume: bool, shown: str | None = None) -> dict[str, Any] | None:
    """What ``environment.json`` says of a run that may be resumed with this plan; ``None`` for a new one.

    Raises ``SpecError`` for a run that exists and isn't resumed, and for one that was made from another spec.
    """
    before = _environment(run)
    if before is not None and not resume:
        raise SpecError(
            Problem(
                shown or str(run),
                "",
                "this run exists. Go on with it: --resume; or give another --output or name",
            )
        )
    if before is not None:
        _check_same(plan, run, before.get("plan", {}))
    return before


def check_location(plan: Plan, location: RunLocation, resume: bool) -> None:
    """Raises ``SpecError`` where somebody holds the run, or where :func:`check` does."""
    location.require_free()
    location.mirror.fetch()
    check(plan, location.folder, resume, location.display_name)


def set_aside_damaged(run: Path) -> list[Path]:
    """Moves records that can't be read out of the way, and says so: their trials go on from their last checkpoint."""
    moved = []
    for trial in results.trial_folders(run):
        try:
            results.read_record(trial)
        except ValueError as error:
            damaged = trial / "record.damaged.json"
            (trial / "record.json").replace(damaged)
            moved.append(damaged)
            what = f"{str(error).splitlines()[0]} It is now {damaged.name}; the trial is run again"
            print(f"warning: {what}", file=sys.stderr)
    return moved


def add_seconds(run: Path, seconds: float) -> None:
    """Adds to the wall clock that a run has taken over all its sessions."""
    known = _environment(run) or {}
    files.write_json(run / "environment.json", {**known, "seconds": known.get("seconds", 0.0) + seconds})


def _describe(plan: Plan, before: dict[str, Any]) -> dict[str, Any]:
    told = {
        "name": plan.spec.name,
        "question": plan.spec.question,
        "command": shlex.join(["paretune", *sys.argv[1:]]),
        "overrides": list(plan.spec.overrides),
        **_notes(plan),
    }
    return {
        **redaction.redacted_values(told),
        "plan": _essence(plan),
        "commit": provenance.commit(),
        "python": sys.version.split()[0],
        "packages": provenance.package_versions(),
        "seconds": before.get("seconds", 0.0),
        **machine.describe_machine(),
    }


def _notes(plan: Plan) -> dict[str, list[str]]:
    """What planning had to say; of the data apart, for ``data.json`` says it too."""
    told = [*plan.notes, *(warning.what for warning in plan.warnings)]
    of_data = {note for cell in plan.cells for note in (*cell.data_notes, *cell.data_warnings)}
    return {
        "notes": [note for note in told if note not in of_data],
        "data_notes": [note for note in told if note in of_data],
    }


def _essence(plan: Plan) -> dict[str, Any]:
    """What must not change under a run: the spec but for its number of trials, the model's and data's contents."""
    contents = {(base.model.fingerprint, base.data.sha256) for base in plan.bases}
    return {
        "fingerprint": plan.fingerprint(),
        "contents": sorted(list(pair) for pair in contents),
        "settled": plan.settled,
        "trials": {cell.name: cell.trials for cell in plan.cells},
    }


def _check_same(plan: Plan, run: Path, before: dict[str, Any]) -> None:
    now = _essence(plan)
    changed = {
        "fingerprint": "the spec is not the one this run was started with (only search.trials may grow)",
        "contents": "the model's or the data's files are not those this run was started with",
    }
    for part, what in changed.items():
        if before.get(part) != now[part]:
            advice = f"Give the old ones back ({run / 'spec.yaml'} shows the spec), or start anew under another name"
            raise SpecError(Problem(str(plan.spec.source.file), "", f"{what}. {advice}"))
    for cell, trials in before.get("trials", {}).items():
        if now["trials"].get(cell, 0) < trials:
            what = (
                f"{cell} had {trials} trials and now has {now['trials'].get(cell, 0)}; trials may only grow"
            )
            raise SpecError(Problem(str(plan.spec.source.file), "search.trials", what))
