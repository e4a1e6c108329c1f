"""The record of each time that more was added to a run that had been reported, by ``settle`` or by ``run --resume``.

The report's verdicts depend on it (``reports.statistics.looks``).

``settle.json`` in the run folder: ``{"looks": [{"begun": "2026-11-28T10:00:00Z", "reported": null, "settled":
[["sft-full", "sft-lora"]], "claims": [{"kind": "better", ...}]}]}``, with what the report before it had settled. An
entry is written before anything is added to the run, so that no report can show more without counting as another look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sweeps.runs.status import run_state
from trainables.storage import files
from trainables.storage.damaged_files import DamagedFile, read_object, reading
from trainables.system import provenance

FILE = "settle.json"
REPORT = Path("report", "report.json")
SETTLED = ("supported", "contradicted")  # outcomes of claims


def begin(run: Path, settled: Sequence[tuple[str, str]] = ()) -> None:
    """Begins another look; one that was begun and that no report has shown goes on instead. ``settled``: the cells
    whose differences are settled by now.
    """
    looks = _read(run)
    if not looks or looks[-1]["reported"] is not None:
        pairs = [list(pair) for pair in settled]
        entry = {
            "begun": provenance.now(),
            "reported": None,
            "settled": pairs,
            "claims": _settled_claims(run),
        }
        _write(run, [*looks, entry])


def begin_for_more_trials(run: Path, settled_pairs: Callable[[Path], Sequence[tuple[str, str]]]) -> None:
    """Begins another look if a report shows that the run had ended, and its plan has more trials by now.

    Trials that were planned before the report, and that an interruption kept from running, make no other look.
    """
    report = run / REPORT
    if report.exists() and not _shows_unfinished(report) and run_state(run).remaining:
        begin(run, settled_pairs(run))


def _settled_claims(run: Path) -> list[Any]:
    """The claims, as the run keeps them, that the run's report calls supported or contradicted; none where it is
    damaged or there is none.
    """
    report = run / REPORT
    try:
        found = read_object(report).get("claims") if report.exists() else None
    except DamagedFile:
        return []
    claims = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    return [each["values"] for each in claims if each.get("outcome") in SETTLED and each.get("values")]


def _shows_unfinished(report: Path) -> bool:
    """Whether a report says that trials were to go; not where it is damaged, as it may have shown anything."""
    try:
        return bool(read_object(report).get("unfinished"))
    except DamagedFile:
        return False


def mark_reported(run: Path) -> None:
    """Notes that a report shows what has been added so far; nothing for a run that was never settled."""
    looks = _read(run)
    if looks and looks[-1]["reported"] is None:
        _write(run, [*looks[:-1], {**looks[-1], "reported": provenance.now()}])


def _read(run: Path) -> list[dict[str, Any]]:
    """The entries. Raises ``DamagedFile``."""
    path = run / FILE
    if not path.exists():
        return []
    with reading(path):
        looks = read_object(path)["looks"]
        if not isinstance(looks, list) or not all("reported" in dict(each) for each in looks):
            raise ValueError("its looks are no list of entries")
        return looks


def _write(run: Path, looks: list[dict[str, Any]]) -> None:
    files.write_json(run / FILE, {"looks": looks})
