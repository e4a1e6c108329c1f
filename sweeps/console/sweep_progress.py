"""What a sweep is doing: a live table on a terminal, one line per event elsewhere, and the same lines in sweep.log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trainables import results
from trainables.results import Record
from trainables.system import provenance

if TYPE_CHECKING:
    from sweeps.planning.plan import Plan

GIB = 2**30
LOOK_SECONDS = 1.0  # between looks at the run folder
TABLES_SECONDS = 10.0  # between writings of trials.parquet while the sweep goes on


@dataclass
class Progress:
    """Follows a run folder. ``tick`` is called often and does little.

    ``listeners`` hear every tick too (the W&B tracker's liveness, say).
    """

    console: Console = field(default_factory=lambda: Console(stderr=True))
    listeners: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._tables: results.Tables | None = None
        self._live: Live | None = None
        self._plan: Plan | None = None
        self._looked = self._tabled = 0.0
        self._leaving = False

    def begin(self, plan: Plan, run: Path, slots: int) -> None:
        """Starts following; what was finished before counts as done but is not announced."""
        self._plan, self._run, self._began = plan, run, time.monotonic()
        self._records = {record.trial_id: record for record in _finished(run)}
        self._before = len(self._records)
        self.say(
            f"{plan.spec.name}: {self._total} trials in {len(plan.cells)} cells, {slots} at a time, in {run}"
        )
        if self._before:
            self.say(f"{self._before} of them were finished before")
        if self.console.is_terminal and self._live is None:
            self._live = Live(self._view(), console=self.console, refresh_per_second=2, transient=True)
            self._live.start()

    def end(self) -> None:
        if self._plan is not None:
            self._look()
        if self._live is not None:
            self._live.stop()
            self._live = None
            self.console.print(self._view())

    def leaving(self) -> None:
        self._leaving = True
        self.say("interrupted: trials are saving themselves; everything finished is kept")

    def tick(self) -> None:
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        self._look()
        if self._live is not None:
            self._live.update(self._view())
        for listener in self.listeners:
            listener()

    def say(self, text: str) -> None:
        """One line, on the screen and in the log."""
        line = f"{provenance.now()[11:19]} {text}"
        print(line, file=sys.stderr) if self._live is None else self._live.console.print(
            line, highlight=False
        )
        if self._plan is not None:
            # The screen has it, and a sweep doesn't end for want of a line.
            with suppress(OSError), (self._run / "sweep.log").open("a", encoding="utf-8") as log:
                log.write(line + "\n")

    def _look(self) -> None:
        new = _finished(self._run, known=self._records)
        for record in new:
            self._records[record.trial_id] = record
            self.say(f"{describe(record)}  ({len(self._records)} of {self._total}{self._left()})")
        if new and time.monotonic() - self._tabled > TABLES_SECONDS:
            self._tabled = time.monotonic()
            self._tables = self._tables or results.Tables(self._run)
            with suppress(OSError):  # they are written again, and at the end
                self._tables.write()

    @property
    def _total(self) -> int:
        assert self._plan is not None
        return self._plan.trials + len(self._plan.bases)

    def _left(self) -> str:
        done = len(self._records) - self._before
        if done <= 0 or self._leaving:
            return ""
        seconds = (time.monotonic() - self._began) / done * (self._total - len(self._records))
        return f", about {clock(seconds)} left"

    def _view(self) -> Group:
        assert self._plan is not None
        table = Table(box=None, pad_edge=False)
        for name, side in (
            ("cell", "left"),
            ("trials", "right"),
            ("best", "right"),
            ("peak memory", "right"),
        ):
            table.add_column(name, justify=side)  # type: ignore[arg-type]
        budgets = {base.cell: 1 for base in self._plan.bases} | {c.name: c.trials for c in self._plan.cells}
        for cell, budget in budgets.items():
            mine = [record for record in self._records.values() if record.cell == cell]
            table.add_row(cell, f"{len(mine)}/{budget}", _best(mine), _peak(mine))
        state = (
            f"{len(self._records)} of {self._total} trials, {clock(time.monotonic() - self._began)} so far"
        )
        return Group(table, Text(state + ("" if self._leaving else self._left()), style="dim"))


def _finished(run: Path, known: Collection[str] = ()) -> list[Record]:
    """The records that are final, but for those that are known already."""
    folders = (folder for folder in results.trial_folders(run) if folder.name not in known)
    records = (results.read_record(folder) for folder in folders)
    return [record for record in records if record is not None and record.status != "interrupted"]


def describe(record: Record) -> str:
    """One line that says what came of a trial.

    >>> describe(record)  # doctest: +SKIP
    'sft-lora 1d7212d16c92 done: exact_match 0.953, peak 0.92 GiB, 149 tokens/s'
    """
    what = [f"{record.quality_name} {record.quality:.3f}" if record.quality is not None else None]
    what += [f"peak {record.peak_train_bytes / GIB:.2f} GiB" if record.peak_train_bytes else None]
    what += [f"{record.tokens_per_second:.0f} tokens/s" if record.tokens_per_second else None]
    what += [record.error]
    return f"{record.cell} {record.trial_id} {record.status}: {', '.join(part for part in what if part)}"


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes, for people.

    >>> clock(75), clock(7500)
    ('1 min 15 s', '2 h 5 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _best(records: list[Record]) -> str:
    done = [r for r in records if r.status == "done" and r.objective is not None and r.quality is not None]
    if not done:
        return "–"
    best = max(done, key=lambda record: record.objective or 0.0)
    return f"{best.quality_name} {best.quality:.3f}"


def _peak(records: list[Record]) -> str:
    peaks = [record.peak_train_bytes for record in records if record.peak_train_bytes]
    return f"{max(peaks) / GIB:.2f} GiB" if peaks else "–"
