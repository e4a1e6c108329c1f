"""The log of a run, and that of one of its trials, as ``paretune logs`` prints them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sweeps.runs.layout import LOG
from sweeps.runs.outcomes import outcome
from sweeps.runs.status import NoRun
from sweeps.runs.trial_names import NamedTrial, find_trial
from trainables import results

LAST_STEPS = 12  # of a trial's curve that are printed


def log_lines(run: Path, trial_id: str | None, display_name: str | None = None) -> Iterator[str]:
    """The lines of a run's log, or the last steps and the error of one trial. Raises :class:`NoRun`."""
    display_name = display_name or str(run)
    if trial_id is None:
        yield from _run_log(run, display_name)
    else:
        yield from _trial_log(find_trial(run, trial_id, display_name))


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


def _trial_log(trial: NamedTrial) -> Iterator[str]:
    folder, record = trial.folder, trial.record
    added = ", added by hand" if trial.role == "added" else ""
    yield f"{trial}{added}: {outcome(record) if record else 'no record yet'}"
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
