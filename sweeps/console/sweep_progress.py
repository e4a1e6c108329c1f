"""The progress of a sweep: a live table on a terminal, one line per event elsewhere; all lines go to sweep.log, too."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sweeps.console.guarded_console import GuardedConsole
from sweeps.console.saving import abandoned_text, saving_text
from sweeps.console.signs_of_life import DueSigns, Sign
from sweeps.console.time_left import TimeLeft
from sweeps.console.trial_counts import trial_counts
from sweeps.runs.outcomes import outcome
from sweeps.runs.status import OUTSIDE
from trainables import results
from trainables.results import Record
from trainables.storage import files
from trainables.system import provenance
from trainables.system.background import Throttle
from trainables.system.byte_sizes import gib
from trainables.system.wording import clock, counted

if TYPE_CHECKING:
    from sweeps.cluster.board import Waiting
    from sweeps.planning.plan import Plan

REFRESH_SECONDS = 1.0  # between readings of the run folder
TABLES_SECONDS = 10.0  # between updates of trials.parquet during the sweep
SAVING_SECONDS = 10.0  # between lines about what a sweep that ends waits for, where no table is shown


@dataclass
class SweepState:
    """A sweep that runs, and the final records that its run folder has so far."""

    plan: Plan
    run_folder: Path
    records: dict[str, Record]  # by trial id
    slots: int

    def __post_init__(self) -> None:
        self.started = time.monotonic()
        self.finished_before = self.ended
        self.tables = results.Tables(self.run_folder)
        times = self.plan.times().cells
        predicted = {name: known.trial.seconds for name, known in times.items() if known is not None}
        self.remaining = TimeLeft(self.budgets, predicted, self.slots)

    @property
    def budgets(self) -> dict[str, int]:
        """The trials of each cell, finalists included."""
        again = self.plan.spec.finalists.per_cell
        return {cell.name: cell.trials + again * cell.holds_out for cell in self.plan.cells}

    @property
    def total(self) -> int:
        """All trials of the search, and the finalists; starting models that are scored are no trials."""
        return self.plan.trials + self.plan.finalists

    @property
    def ended(self) -> int:
        return sum(record.role not in OUTSIDE for record in self.records.values())

    def time_left(self, running: Sequence[Sign]) -> str:
        """``, about 5 min 0 s left``; empty as long as nothing is known of any trial's length."""
        planned = [record for record in self.records.values() if record.role != "added"]
        seconds = self.remaining.seconds(planned, running)
        return f", about {clock(seconds)} left" if seconds is not None else ""


@dataclass
class SweepProgress:
    """Shows what happens in a run folder. ``tick`` is to be called often, and seldom does anything."""

    console: Console = field(default_factory=lambda: GuardedConsole(stderr=True))

    def __post_init__(self) -> None:
        self._sweep: SweepState | None = None
        self._live: Live | None = None
        self._interrupted = False
        self._saving = ""  # what a sweep that ends waits for
        self._abandoned: set[str] = set()
        self._failures: dict[str, str] = {}
        self._saving_line = Throttle(SAVING_SECONDS)
        self._signs: Sequence[Sign] = ()
        self._due_signs = DueSigns()
        self._unwritten_lines: list[str] = []  # of the log: its folder is not known yet, or can't be written
        self._refresh, self._write_tables = Throttle(REFRESH_SECONDS), Throttle(TABLES_SECONDS)

    def begin(self, plan: Plan, run: Path, slots: int) -> None:
        """Starts following a run folder. Trials that have ended already count, but are not announced."""
        sweep = SweepState(plan, run, {record.trial_id: record for record in _finished(run)}, slots)
        self._sweep = sweep
        self.log(f"{plan.spec.name}: {trial_counts(plan)}; {slots} at a time, in {run}")
        if sweep.finished_before:
            have = "has" if sweep.finished_before == 1 else "have"
            self.log(f"{counted(sweep.finished_before, 'trial')} {have} finished already")
        # A sweep that goes on after an outage begins again, with the same display.
        if self.console.is_terminal and self._live is None:
            self._live = Live(self._view(sweep), console=self.console, refresh_per_second=2, transient=True)
            self._live.start()

    def end(self) -> None:
        if self._sweep is None:
            return
        self._announce_finished(self._sweep)
        if self._live is not None:
            self._live.stop()
            self._live, self._saving = None, ""
            # The live table disappears when it stops, so its last state is printed.
            self.console.print(self._view(self._sweep))

    def interrupted(self) -> None:
        self._interrupted = True
        self.log("interrupted: the running trials are saving themselves; all finished trials are kept")

    def show_saving(self, waiting: Waiting) -> None:
        """Shows what a sweep that ends waits for."""
        self._saving = saving_text(waiting.saving)
        if self._live is not None and self._sweep is not None:
            self._live.update(self._view(self._sweep))
        elif self._saving and self._saving_line.due():
            self.log(self._saving)
        for trial_id in sorted(waiting.abandoned.keys() - self._abandoned):
            self._abandoned.add(trial_id)
            self.log(f"{trial_id} does not save itself: {abandoned_text(waiting.abandoned[trial_id])}")

    def show_failures(self, failures: Mapping[str, str]) -> None:
        """Tells at once why trials can't write, and when they can again. ``failures``: the reasons by trial."""
        for trial_id, reason in failures.items():
            if self._failures.get(trial_id) != reason:
                self.log(f"{trial_id} waits, as it can't write ({reason}); it goes on once it can")
        for trial_id in self._failures.keys() - failures.keys():
            self.log(f"{trial_id} can write again")
        self._failures = dict(failures)

    def show_trials(self, signs: Sequence[Sign]) -> None:
        """Shows what the running trials are doing: in the table, or by lines; the lines are in ``sweep.log`` anyway."""
        self._signs = signs
        if self._sweep is not None:
            self._sweep.remaining.follow(signs)
        for sign in self._due_signs.due(signs) if not self._interrupted else ():
            self.log(str(sign), on_screen=self._live is None)

    def tick(self) -> None:
        if self._sweep is None or not self._refresh.due():
            return
        self._announce_finished(self._sweep)
        if self._live is not None:
            self._live.update(self._view(self._sweep))

    def log(self, text: str, on_screen: bool = True) -> None:
        """Writes one line, with the time, to the screen and to ``sweep.log``."""
        line = f"{provenance.now()[11:19]} {text}"
        if not on_screen:
            pass
        elif self._live is None:
            print(line, file=sys.stderr)
        else:
            self._live.console.print(line, highlight=False)
        self._unwritten_lines.append(line)
        if self._sweep is not None:
            # A full disk must not end the sweep here: the screen has the line, and the log gets it with a later one.
            with suppress(OSError):
                with files.open_to_append(self._sweep.run_folder / "sweep.log") as log:
                    log.writelines(f"{each}\n" for each in self._unwritten_lines)
                self._unwritten_lines.clear()

    def _announce_finished(self, sweep: SweepState) -> None:
        new = _finished(sweep.run_folder, known=sweep.records)
        for record in new:
            sweep.records[record.trial_id] = record
            self.log(f"{describe(record)}  ({sweep.ended} of {sweep.total}{self._time_left(sweep)})")
        if new and self._write_tables.due():
            with suppress(OSError):  # they are written again with later trials, and at the end
                sweep.tables.write()

    def _time_left(self, sweep: SweepState) -> str:
        return "" if self._interrupted else sweep.time_left(self._signs)

    def _view(self, sweep: SweepState) -> Group:
        table = Table(box=None, pad_edge=False)
        table.add_column("cell")
        for heading in ("trials", "best", "peak memory"):
            table.add_column(heading, justify="right")
        for cell, budget in ({base.cell: 1 for base in sweep.plan.bases} | sweep.budgets).items():
            records = [record for record in sweep.records.values() if record.cell == cell]
            planned = sum(record.role != "added" for record in records)
            added = f" + {len(records) - planned}" if planned < len(records) else ""
            table.add_row(cell, f"{planned}/{budget}{added}", _best(records), _peak(records))
        elapsed = clock(time.monotonic() - sweep.started)
        summary = (
            f"{sweep.ended} of {counted(sweep.total, 'trial')}, {elapsed} so far{self._time_left(sweep)}"
        )
        training = [Text(str(sign)) for sign in self._signs if sign.trial_id not in sweep.records]
        saving = [Text(self._saving, style="bold")] if self._saving else []
        return Group(table, *training, Text(summary, style="dim"), *saving)


def _finished(run: Path, known: Collection[str] = ()) -> list[Record]:
    """The final records of trials that are not ``known`` yet."""
    folders = (folder for folder in results.trial_folders(run) if folder.name not in known)
    records = (results.read_record(folder) for folder in folders)
    return [record for record in records if record is not None and record.status != "interrupted"]


def describe(record: Record) -> str:
    """The outcome of a trial in one line.

    >>> describe(record)  # doctest: +SKIP
    'sft-lora 1d7212d16c92 done: exact_match 0.953, peak 0.92 GiB, 149 tokens/s'
    """
    parts = [f"{record.quality_name} {record.quality:.3f}" if record.quality is not None else None]
    parts += [f"peak {gib(record.peak_train_bytes)}" if record.peak_train_bytes else None]
    parts += [f"{record.tokens_per_second:.0f} tokens/s" if record.tokens_per_second else None]
    parts += [record.error]
    ended, figures = outcome(record), ", ".join(part for part in parts if part)
    ended = f"(added by hand) {ended}" if record.role == "added" else ended
    # The words of an early stop have a colon of their own.
    return f"{record.cell} {record.trial_id} {ended}{'; ' if ':' in ended else ': '}{figures}"


def _best(records: list[Record]) -> str:
    done = [
        r
        for r in records
        if r.status == "done" and r.role != "added" and r.objective is not None and r.quality is not None
    ]
    if not done:
        return "–"
    best = max(done, key=lambda record: record.objective or 0.0)
    return f"{best.quality_name} {best.quality:.3f}"


def _peak(records: list[Record]) -> str:
    peaks = [record.peak_train_bytes for record in records if record.peak_train_bytes]
    return gib(max(peaks)) if peaks else "–"
