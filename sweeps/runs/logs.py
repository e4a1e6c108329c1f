"""The log of a run, and that of one of its trials, as ``paretune logs`` prints them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sweeps.runs.layout import LOG
from sweeps.runs.outcomes import outcome
from sweeps.runs.status import NoRun
from trainables import results
from trainables.storage.damaged_files import read_object

LAST_STEPS = 12  # of a trial's curve that are printed


def log_lines(run: Path, trial_id: str | None, display_name: str | None = None) -> Iterator[str]:
    """The lines of a run's log, or the last steps and the error of one trial. Raises :class:`NoRun`."""
    display_name = display_name or str(run)
    if trial_id is None:
        yield from _run_log(run, display_name)
    else:
        yield from _trial_log(_trial_folder(run, trial_id, display_name))


def _run_log(run: Path, display_name: str) -> Iterator[str]:
    """The sweep's log, then the other lines that a detached driver printed, with its exit code last."""
    logs = [path for path in (run / "sweep.log", run / LOG) if path.exists()]
    if not logs:
        raise NoRun(f"{display_name}: no sweep.log here; is it a run folder (runs/NAME), and was it started?")
    yielded: set[str] = set()  # a detached driver prints the sweep's events too
    for path in logs:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        yield from (line for line in lines if line not in yielded)
        yielded.update(lines)


def _trial_folder(run: Path, trial_id: str, display_name: str) -> Path:
    matching = [folder for folder in results.trial_folders(run) if folder.name.startswith(trial_id)]
    if len(matching) == 1:
        return matching[0]
    what = "names several trials" if matching else "is no trial of this run"
    ids = ", ".join(folder.name for folder in (matching or results.trial_folders(run))[:12])
    raise NoRun(f"{display_name}: {trial_id!r} {what}; there are {ids or 'none yet'}")


def _trial_log(folder: Path) -> Iterator[str]:
    record = results.read_record(folder)
    config = read_object(folder / "config.json")
    yield f"{config.get('cell')} {folder.name}: {outcome(record) if record else 'no record yet'}"
    points = sorted(results.read_curve(folder), key=lambda point: (point["step"], point["name"]))
    steps = sorted({point["step"] for point in points})[-LAST_STEPS:]
    for step in steps:
        values = ", ".join(f"{p['name']} {p['value']:.4g}" for p in points if p["step"] == step)
        yield f"step {step}: {values}"
    if record is not None and record.error:
        yield record.error
    error = folder / "error.txt"
    if error.exists():
        yield from error.read_text(encoding="utf-8", errors="replace").splitlines()
