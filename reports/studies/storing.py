"""Stores what came out of a run of a study, and compares another run of it with that.

A stored study has no names of hosts and no paths of a machine: its table of trials lacks the host, its summary what
repeats the run and goes on from it, and of a path in any text only the last part is kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reports.claims.finding import Finding
from reports.claims.wording import figure_text
from reports.pages import summary
from reports.pages.report import Report, build_report
from reports.pages.reproduce import wall_seconds
from reports.studies.stored_study import FILE, ClaimOutcome, StoredStudy, stored_studies
from reports.write import replacing
from trainables import results
from trainables.results import Run
from trainables.system.shown_text import shown

TRIALS, SUMMARY = "trials.parquet", "summary.md"
# Where and on what process of a machine a trial ran, which is nobody's business.
LEFT_OUT = ("host", "slot", "slot_trial")
SECTIONS = (summary.ANSWER, summary.COMPARISON, summary.FAILURES)
WITHOUT_EFFECT = ("resources.", "tracking.")  # settings that no outcome depends on
# A path from the root or the home folder, of two parts or more; not the address of a page.
PATH = re.compile(r"(?<![\w./:<-])~?/(?:[^\s/'\"`:,;|()<>]+/)+")


def study_of(run_folder: Path) -> tuple[StoredStudy, Report]:
    """What came out of a finished run, and its report. Raises ``ValueError`` for one that has trials to go or damaged
    files, or claims nothing, and ``FileNotFoundError`` for no run.
    """
    if not (run_folder / "trials").is_dir():
        raise FileNotFoundError(f"{run_folder}: no trials here; is it a run folder (runs/NAME)?")
    tables = results.Tables(run_folder)
    tables.read_trials()
    if tables.damaged:
        raise ValueError("; ".join(tables.damaged.values()))
    run = results.gather_run(run_folder)
    report = build_report([run])
    if report.unfinished_sentence is not None:
        raise ValueError(f"{run_folder}: {report.unfinished_sentence}")
    if not report.findings:
        raise ValueError(f"{run_folder} claims nothing; a study has claims")
    environment = run.environment
    seconds = wall_seconds(run)
    study = StoredStudy(
        str(environment.get("name") or run.name),
        report.question,
        min((record.started_at for record in run.records if record.started_at), default=None),
        round(seconds[0], 1) if seconds is not None else None,
        sum(record.role != "base" for record in run.records),
        _machine(environment),
        _spec_hash(run),
        {name: str(version) for name, version in (environment.get("packages") or {}).items()},
        tuple(map(_outcome, report.findings)),
        tuple(each for each in environment.get("overrides") or () if not each.startswith(WITHOUT_EFFECT)),
    )
    return study, report


def store(run_folder: Path, folder: Path, note: str | None = None) -> StoredStudy:
    """Writes what came out of a run into a folder of its name in ``folder``, in place of what was there. Without a
    ``note``, that of an earlier run is kept where all claims came out as they did there.

    Raises ``ValueError`` and ``FileNotFoundError`` as :func:`study_of`.
    """
    study, report = study_of(run_folder)
    before = stored_studies(folder).get(study.name) if folder.is_dir() else None
    if note is None and before is not None and not list(differences(before, study)):
        note = before.note
    study = replace(study, note=note)
    results.write_tables(run_folder)
    trials = pq.read_table(run_folder / TRIALS)
    with replacing(folder / study.name) as target:
        kept = trials.drop_columns([name for name in LEFT_OUT if name in trials.column_names])
        pq.write_table(_without_paths(kept), target / TRIALS, compression="zstd")
        text = without_paths(shown(summary.summary(report, SECTIONS, note)))
        (target / SUMMARY).write_text(text, encoding="utf-8")
        (target / FILE).write_text(study.to_json(), encoding="utf-8")
    return study


def differences(stored: StoredStudy, again: StoredStudy) -> Iterator[str]:
    """A sentence for each claim that another run of a study answers otherwise, or that only one of both has, and for
    what else tells that both were not of one spec.
    """
    if stored.spec_sha256 != again.spec_sha256:
        yield f"{stored.name}: its spec is another one than when it was stored: run it anew"
    if sorted(stored.overrides) != sorted(again.overrides):
        changes = (" ".join(each.overrides) or "nothing" for each in (stored, again))
        yield f"{stored.name}: stored with {next(changes)} changed by --set, now {next(changes)}"
    before = {_key(claim): claim for claim in stored.claims}
    after = {_key(claim): claim for claim in again.claims}
    for key in dict.fromkeys((*before, *after)):
        one, other = before.get(key), after.get(key)
        if other is None:
            yield f"{stored.name}: {before[key].statement}: stored, and not claimed"
        elif one is None:
            yield f"{stored.name}: {other.statement}: claimed, and not stored"
        elif one.outcome != other.outcome:
            yield (
                f"{stored.name}: {other.statement}: stored as {one.outcome} ({'; '.join(one.figures)}), now "
                f"{other.outcome} ({'; '.join(other.figures)})"
            )


def without_paths(text: str) -> str:
    """The text with the last part alone of each path.

    >>> without_paths("[Errno 2] '/home/ada/runs/a/config.json'; see https://a.example/b/c and 3/4 of it")
    "[Errno 2] 'config.json'; see https://a.example/b/c and 3/4 of it"
    """
    return PATH.sub("", text)


def _without_paths(trials: pa.Table) -> pa.Table:
    for place, field in enumerate(trials.schema):
        if pa.types.is_string(field.type):
            texts = [text and without_paths(text) for text in trials[field.name].to_pylist()]
            trials = trials.set_column(place, field, pa.array(texts, field.type))
    return trials


def _key(claim: ClaimOutcome) -> str:
    return repr(sorted(claim.values.items()))


def _outcome(finding: Finding) -> ClaimOutcome:
    return ClaimOutcome(
        str(finding.statement),
        finding.outcome,
        finding.source,
        dict(finding.values),
        finding.p,
        tuple(str(figure_text(figure)) for figure in finding.figures),
        str(why) if (why := finding.reason or finding.settled_by_text) else None,
        [
            {
                "figure": str(each.name),
                "estimate": each.value,
                "low": each.interval[0],
                "high": each.interval[1],
            }
            for each in finding.figures
        ],
    )


def _machine(environment: dict[str, Any]) -> str:
    """``2 cores of an Intel Xeon Processor``: no name of a host."""
    cores, model = environment.get("cpus"), str(environment.get("cpu_model") or "")
    kind = " ".join(model.replace("(R)", "").replace("(TM)", "").split()) or "unknown processor"
    devices = environment.get("gpus") or []
    return ", ".join([f"{cores or 'unknown number of'} cores, {kind}", *map(str, devices)])


def _spec_hash(run: Run) -> str | None:
    return hashlib.sha256(run.spec.encode()).hexdigest() if run.spec else None
