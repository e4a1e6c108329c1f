"""Makes the run folder: writes what the run is made from, and checks whether a plan may resume an existing run."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from sweeps.execution import input_changes
from sweeps.execution.stated_claims import stated_claims
from sweeps.planning import identity
from sweeps.planning.checks import own_methods, own_rewards
from sweeps.planning.plan import CHOSEN, Plan
from sweeps.planning.resources.default_precision import DTYPE, PRECISION
from sweeps.runs.layout import read_environment
from sweeps.runs.location import RunLocation
from sweeps.runs.trial_requests import MARK
from sweeps.spec import source
from sweeps.spec.key_path import KeyPath
from sweeps.spec.problems import Problem, SpecError, unique
from sweeps.spec.spec import Spec
from sweeps.tracking import sweep_id
from trainables import results
from trainables.storage import files
from trainables.system import machine, provenance, redaction

BY_GPU = (PRECISION, DTYPE)  # settings that planning fills in by what GPUs can compute


def prepare(plan: Plan, run: Path, resume: bool, display_name: str | None = None) -> None:
    """Makes the folder of a new run, or checks that an existing one may be resumed with this plan.

    ``display_name``: the run's name in messages, if not its path. Raises ``SpecError`` as :func:`check_resumable` does.
    """
    previous = check_resumable(plan, run, resume, display_name)
    if previous is not None:
        set_aside_damaged(run)
    run.mkdir(parents=True, exist_ok=True)
    files.write_text(run / "spec.yaml", redaction.redacted(plan.spec.source.text))
    with files.atomic(run / "resolved.yaml") as temporary:
        YAML(typ="safe").dump(_resolved_for_file(plan), temporary)
    # Written last, because it makes the folder a run: what a crash left before is simply made again.
    environment = {"place": display_name or str(run), **_describe(plan, run, previous or {})}
    environment |= redaction.redacted_values(stated_claims(plan.spec.claims, previous))
    files.write_json(run / "environment.json", environment)


def check_resumable(
    plan: Plan, run: Path, resume: bool, display_name: str | None = None
) -> dict[str, Any] | None:
    """The ``environment.json`` of a run that may be resumed with this plan; ``None`` for a new run.

    Raises ``SpecError`` for a run that exists and is not to be resumed, and for one that was made from another spec.
    """
    previous = read_environment(run)
    if previous is not None and not resume:
        raise SpecError(
            Problem(
                display_name or str(run),
                "",
                "this run exists already. Continue it with --resume, or give another --output or name",
            )
        )
    if previous is not None:
        _check_unchanged(plan, run, previous.get("plan", {}))
    return previous


def check_location(plan: Plan, location: RunLocation, resume: bool) -> None:
    """Raises ``SpecError`` where another process holds the run, or where :func:`check_resumable` does."""
    location.require_free()
    location.mirror.fetch()
    check_resumable(plan, location.folder, resume, location.display_name)


def set_aside_damaged(run: Path) -> list[Path]:
    """Renames records that can't be read, with a warning: their trials resume from their last checkpoint."""
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


def keep_first_comparison(run: Path, comparison: dict[str, Any]) -> None:
    """Keeps how the cells compared at their first rung, for the status and the report."""
    files.write_json(
        run / "environment.json", {**(read_environment(run) or {}), "first_comparison": comparison}
    )


def add_seconds(run: Path, seconds: float) -> None:
    """Adds to the wall-clock time of a run over all its sessions."""
    environment = read_environment(run) or {}
    total = environment.get("seconds", 0.0) + seconds
    files.write_json(run / "environment.json", {**environment, "seconds": total})


def _describe(plan: Plan, run: Path, previous: dict[str, Any]) -> dict[str, Any]:
    from_user = {
        "name": plan.spec.name,
        "question": plan.spec.question,
        "command": shlex.join(["paretune", *sys.argv[1:]]),
        "overrides": list(plan.spec.overrides),
        "report": plan.spec.report.model_dump(),
        **_notes(plan),
    }
    return {
        **redaction.redacted_values(from_user),
        # Without the limit of data.eval_rows: how many `paretune settle` could score.
        "test_rows": {
            cell.name: cell.quality_rows.held_out for cell in plan.cells if cell.quality_rows is not None
        },
        "rungs": {cell.name: list(cell.rungs) for cell in plan.cells},
        "plan": _identity(plan),
        MARK: True,
        "wandb_id": sweep_id.keep_or_make(run, previous),
        "commit": provenance.commit(),
        "python": sys.version.split()[0],
        "packages": provenance.package_versions(),
        "seconds": previous.get("seconds", 0.0),
        **{name: previous[name] for name in ("first_comparison",) if name in previous},
        **machine.describe_machine(),
    }


def _notes(plan: Plan) -> dict[str, list[str]]:
    """The notes and warnings of planning; those about the data apart, because ``data.json`` has them too."""
    notes = [*plan.notes, *(warning.what for warning in plan.warnings)]
    about_data = {note for cell in plan.cells for note in (*cell.data_notes, *cell.data_warnings)}
    return {
        "notes": [note for note in notes if note not in about_data],
        "data_notes": [note for note in notes if note in about_data],
    }


def _identity(plan: Plan) -> dict[str, Any]:
    """What must not change while a run exists: the spec except for its number of trials, and the contents of models
    and data.
    """
    contents = {(config.model.fingerprint, config.data.contents) for config in plan.first_configs}
    return {
        "fingerprint": plan.fingerprint(),
        # As lists, because they are compared with those read back from JSON.
        "contents": sorted(list(pair) for pair in contents),
        "files": input_changes.file_states(plan),
        "settled": plan.settled,
        **{name: getattr(plan.spec.resources, name) for name in CHOSEN},
        "precision": plan.precision,
        "date": plan.date,
        "conventions": plan.conventions.version,
        "trials": {cell.name: cell.trials for cell in plan.cells},
        "finalists": plan.spec.finalists.model_dump(),
        **({"method_code": code} if (code := own_methods.hashes(plan.spec)) else {}),
        **({"reward_code": code} if (code := own_rewards.hashes(plan.cells)) else {}),
    }


def _check_unchanged(plan: Plan, run: Path, previous: dict[str, Any]) -> None:
    """Raises ``SpecError`` with everything that is not as it was when the run was started."""
    now = _identity(plan)
    problems: list[Problem] = []
    if previous.get("fingerprint") != now["fingerprint"]:
        problems += _changed_settings(plan, run)
    if not problems and previous.get("contents") != now["contents"]:
        problems += input_changes.problems(plan, previous)
    if not problems:
        problems += own_methods.changes(plan.spec, previous.get("method_code", {}))
        problems += own_rewards.changes(plan.spec.source, plan.cells, previous.get("reward_code", {}))
    for cell, trials in previous.get("trials", {}).items():
        if not problems and now["trials"].get(cell, 0) < trials:
            what = (
                f"{cell} had {trials} trials and now has {now['trials'].get(cell, 0)}; trials may only grow"
            )
            problems.append(Problem(str(plan.spec.source.file), "search.trials", what))
    if problems:
        raise SpecError(*unique(problems))


def check_spec(spec: Spec, run: Path) -> None:
    """Raises ``SpecError`` with the line of each setting that is not as the run was started with, before planning,
    which may take long: reading data, fetching models.
    """
    before = _resolved_before(run)
    if before is None:
        return
    changes = [
        change
        for change in identity.changes(before, _plain(spec.resolved()))
        if not _is_filled_in(spec, change.path[:2])
    ]
    if changes:
        raise SpecError(*_change_problems(spec, run, changes))


def _is_filled_in(spec: Spec, path: KeyPath) -> bool:
    """Whether planning fills in the setting at ``path``, as the spec leaves it out."""
    if len(path) < 2 or not (path[0] == "resources" or path in BY_GPU):
        return False
    section = spec.source.tree.get(str(path[0]))
    return not (isinstance(section, dict) and path[1] in section)


def _changed_settings(plan: Plan, run: Path) -> list[Problem]:
    """A problem for each setting that is not as in the run's ``resolved.yaml``."""
    before = _resolved_before(run)
    if before is None:
        what = f"the spec is not the one this run was started with (only search.trials may grow). {_restore(run)}"
        return [Problem(str(plan.spec.source.file), "", what)]
    changes = [
        change
        for change in identity.changes(before, _resolved_for_file(plan))
        if not (change.path in BY_GPU and _is_filled_in(plan.spec, change.path))
    ]
    return _change_problems(plan.spec, run, changes)


def _change_problems(spec: Spec, run: Path, changes: Iterable[identity.Change]) -> list[Problem]:
    return [spec.source.problem(change.path, f"{change}. {_restore(run)}") for change in changes]


def _restore(run: Path) -> str:
    return f"Restore it ({run / 'spec.yaml'} has the spec), or start a new run under another name"


def _resolved_before(run: Path) -> dict[str, Any] | None:
    """The resolved spec that a run was started with; ``None`` where it can't be read."""
    try:
        return source.read(run / "resolved.yaml").tree
    except SpecError:
        return None


def _resolved_for_file(plan: Plan) -> dict[str, Any]:
    """The resolved spec in plain types, which YAML's safe writer needs, and without credentials."""
    return _plain(plan.resolved())


def _plain(resolved: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = redaction.redacted_values(json.loads(json.dumps(resolved, default=str)))
    return plain
