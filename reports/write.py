"""Writes a report over one run or several: ``index.html``, ``summary.md``, ``comparison.csv``, figures.

write([Path("runs/methods")])     # -> runs/methods/report/index.html
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from reports.pages.next_steps import PAGE
from trainables import results

_PARTS = {"index.html", PAGE, "summary.md", "comparison.csv", "figures"}


def write(runs: Sequence[Path], output: Path | None = None) -> Path:
    """Writes the report into ``output`` and returns its ``index.html``.

    Without ``output``: into ``report/`` in the one run's folder, or beside the first of several runs. An old
    report is replaced only by a complete new one. Raises ``FileNotFoundError`` for what is not a run folder,
    ``ValueError`` for no run, for runs that can't be compared, and for an ``output`` that holds other files.
    """
    if not runs:
        raise ValueError("no run given: name one run folder or several, such as runs/methods")
    read = [results.read(Path(run)) for run in runs]
    target = output if output is not None else _default(runs)
    _refuse_other_files(target)
    # Drawing takes a second to import: only those who write a report pay for it.
    from reports.analysis import comparison
    from reports.pages import page, summary
    from reports.pages.report import contents
    from reports.plots import figures

    gathered = contents(read)
    trained = [group for group in gathered.groups if group.rows]
    drawn = figures.draw(trained, gathered.seen, gathered.across)
    with _replacing(target) as folder:
        drawn.write(folder / "figures")
        (folder / "comparison.csv").write_text(comparison.to_csv(gathered.groups), encoding="utf-8")
        (folder / "summary.md").write_text(summary.summary(gathered), encoding="utf-8")
        (folder / "index.html").write_text(page.page(gathered, drawn), encoding="utf-8")
        if (answers := page.samples_page(gathered)) is not None:
            (folder / PAGE).write_text(answers, encoding="utf-8")
    return target / "index.html"


def _default(runs: Sequence[Path]) -> Path:
    first = Path(runs[0])
    one = len({Path(run).resolve() for run in runs}) == 1
    return (first if one else first.resolve().parent) / "report"


def _refuse_other_files(folder: Path) -> None:
    """A report takes the place of its folder, so that folder must be new, empty, or an earlier report."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file: give a folder for the report")
    others = sorted({path.name for path in folder.iterdir()} - _PARTS)
    if others:
        named = ", ".join(others[:3])
        raise ValueError(
            f"{folder} holds other files ({named}): give a new folder, such as {folder / 'report'}"
        )


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """Yields an empty folder that takes the place of ``target`` on a clean exit, and goes on any other."""
    target = target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    try:
        new, old = workplace / "new", workplace / "old"
        new.mkdir()
        yield new
        if target.exists():
            target.rename(old)
        new.rename(target)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
