"""Writes a report over one run or several: ``index.html``, ``samples.html``, ``summary.md``, tables, figures.

write([Path("runs/methods")])     # -> runs/methods/report/index.html
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reports.pages.next_steps import SAMPLES_FILE
from trainables import results
from trainables.system.shown_text import shown

_PARTS = {
    *("index.html", SAMPLES_FILE, "summary.md", "report.json", "figures"),
    *("comparison.csv", "pairs.csv", "claims.csv"),
}


def write(
    runs: Sequence[Path],
    output: Path | None = None,
    claims: Sequence[Mapping[str, Any]] = (),
    peft_results: Path | None = None,
) -> Path:
    """Writes the report into ``output`` and returns its ``index.html``.

    Without ``output``, the report goes into ``report/``: in the run's folder, or beside the first of several runs. An
    existing report is replaced only by a complete new one. ``claims``: to answer beside those of the runs.
    ``peft_results``: a folder of result files of PEFT's comparison, which stand in a table of their own.

    Raises ``FileNotFoundError`` for a path that is no run folder, ``ValueError`` for no run, for runs that can't be
    compared, and for an ``output`` that holds other files, and for a folder without result files.
    """
    if not runs:
        raise ValueError("no run given: name one or several run folders, such as runs/methods")
    runs_read = [results.read_run(Path(run)) for run in runs]
    target = output if output is not None else _default(runs)
    _refuse_other_files(target)
    # Importing Matplotlib takes a second, which only those who write a report should wait for.
    from reports.analysis import cell_table, pairs
    from reports.analysis.peft_results import read_peft_results
    from reports.claims.values import claim_rows
    from reports.pages import page, summary
    from reports.pages.report import build_report, report_json
    from reports.plots import figures

    others = read_peft_results(peft_results) if peft_results is not None else None
    report = build_report(runs_read, claims, others)
    drawn = figures.draw_figures(report.trained_groups, report.data_previews, report.across_stages)
    with replacing(target) as folder:
        drawn.write(folder / "figures")
        (folder / "comparison.csv").write_text(cell_table.to_csv(report.groups), encoding="utf-8")
        (folder / "pairs.csv").write_text(
            cell_table.csv_text(pairs.pair_rows(report.groups)), encoding="utf-8"
        )
        if report.findings:
            rows = cell_table.csv_text(claim_rows(report.findings))
            (folder / "claims.csv").write_text(rows, encoding="utf-8")
        (folder / "report.json").write_text(report_json(report), encoding="utf-8")
        (folder / "summary.md").write_text(shown(summary.summary(report)), encoding="utf-8")
        (folder / "index.html").write_text(page.index_page(report, drawn), encoding="utf-8")
        if (samples := page.samples_page(report)) is not None:
            (folder / SAMPLES_FILE).write_text(samples, encoding="utf-8")
    return target / "index.html"


def _default(runs: Sequence[Path]) -> Path:
    first = Path(runs[0])
    one = len({Path(run).resolve() for run in runs}) == 1
    return (first if one else first.resolve().parent) / "report"


def _refuse_other_files(folder: Path) -> None:
    """A report replaces its whole folder, so the folder must be new, empty, or an earlier report."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file: name a folder for the report")
    others = sorted({path.name for path in folder.iterdir()} - _PARTS)
    if others:
        named = ", ".join(others[:3])
        raise ValueError(
            f"{folder} holds other files ({named}): name a new folder, such as {folder / 'report'}"
        )


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yields an empty folder; it replaces ``target`` if the block succeeds and is removed if it fails."""
    target = target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    workspace = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    try:
        new, old = workspace / "new", workspace / "old"
        new.mkdir()
        yield new
        if target.exists():
            target.rename(old)
        new.rename(target)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
