"""What of a GPU needs Ray: a sweep of two slots on halves of it, which is killed and resumed. ``make gpu-sweep``.

    python -m tests.gpu.sweep [--dry] [--out gpu-sweep-report.json]

With ``--dry`` the same on a CPU, with a tiny model.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from tests.gpu.bench import Bench
from tests.gpu.check import Case, Finding, lacking, run_case
from tests.gpu.report import Report, row_lines
from tests.gpu.worker import environment, prepare
from trainables.results import Record

if TYPE_CHECKING:
    from tests.helpers.sweeps import Command, Home

SPEC = """\
name: halves
question: Do two trials share a GPU?
model: {path: %(model)s}
data: {train: commands, eval_fraction: 0.1, eval_rows: 8, cutoff: 128}
stages: [{kind: sft}]
methods:
%(methods)s
train: {steps: %(steps)d, batch_size: 4, save_steps: %(saved)d, learning_rate: 1.0e-3}
search: {trials: 2, sampler: random, scheduler: none}
resources: {cpus: 1, gpus: %(gpus)s, concurrent: 2}
tracking: {wandb: off}
finalists: {seeds: 1}
"""
LORA, QLORA = "  - {kind: lora, rank: {choice: [4, 8]}}", "  - {kind: qlora, rank: {choice: [4, 8]}}"
SECONDS, DRY_SECONDS = 240, 900  # for each of both commands


@dataclass(frozen=True)
class Sweep:
    """The sweep of one run folder. ``home``: where its commands run."""

    bench: Bench
    home: Home

    @property
    def run(self) -> Path:
        return self.bench.folder / "runs" / "halves"

    @property
    def seconds(self) -> int:
        return self.bench.pick(SECONDS, DRY_SECONDS)

    def start(self, *options: str) -> Command:
        from tests.helpers.sweeps import start

        return start(self.home, "run", self._spec(), "--output", self.run.parent, *options)

    def kill_amid_trials(self) -> dict[str, Record]:
        """Starts the sweep, and kills it with all its processes while one trial is done and another has a checkpoint.
        The records that were there by then.
        """
        from tests.helpers.sweeps import finished

        command = self.start()
        command.until(self._is_amid_trials, self.seconds)
        command.process.send_signal(signal.SIGKILL)
        command.end()
        command.surviving()
        return finished(self.run)

    def _is_amid_trials(self) -> bool:
        from tests.helpers.sweeps import finished
        from trainables import results
        from trainables.training.checkpoints import newest_complete

        done = finished(self.run)
        others = (folder for folder in results.trial_folders(self.run) if folder.name not in done)
        return bool(done) and any(newest_complete(folder) is not None for folder in others)

    def _spec(self) -> Path:
        quantizes = lacking(("bitsandbytes 4-bit",)) is None
        text = SPEC % {
            "model": self.bench.small,
            "methods": f"{LORA}\n{QLORA}" if quantizes else LORA,
            "steps": self.bench.pick(300, 60),
            "saved": self.bench.pick(100, 20),
            "gpus": self.bench.pick("0.5", "0"),
        }
        path = self.bench.folder / "halves.yaml"
        path.write_text(text, encoding="utf-8")
        return path


def cases(sweep: Sweep) -> Iterator[Case]:
    before: dict[str, Record] = {}

    def killed() -> Finding:
        before.update(sweep.kill_amid_trials())
        return Finding({"ended_before": len(before)})

    yield Case("killed amid its trials", killed)
    yield Case("resumed", lambda: _resumed(sweep, before))
    trials = [record for record in _records(sweep) if record.role != "base"]
    yield Case("two trials at a time", lambda: _shared(trials))
    yield Case("memory of each trial", lambda: _measured(trials, sweep.bench))


def _resumed(sweep: Sweep, before: dict[str, Record]) -> Finding:
    command = sweep.start("--resume")
    code = command.wait(sweep.seconds)
    records = {record.trial_id: record for record in _records(sweep)}
    values = {"seconds": command.seconds, "exit_code": code, "trials": len(records)}
    if code:
        return Finding(values, f"`run --resume` failed: {command.stderr[-1000:]}")
    not_done = [record.status for record in records.values() if record.status != "done"]
    again = [trial for trial in before if records[trial].ended_at != before[trial].ended_at]
    if not_done or again:
        return Finding(
            values, f"{len(again)} trials ran twice, and others are {', '.join(not_done) or 'done'}"
        )
    return Finding(values)


def _shared(trials: list[Record]) -> Finding:
    slots = {record.slot for record in trials}
    spans = sorted((str(record.started_at), str(record.ended_at)) for record in trials)
    together = sum(later[0] < earlier[1] for earlier, later in pairwise(spans))
    values = {"slots": len(slots), "began_before_another_ended": together}
    return Finding(values, None if together else "no two trials ran at the same time")


def _measured(trials: list[Record], bench: Bench) -> Finding:
    expected = "cuda" if bench.device == "cuda" else "rss"
    sources = {str(record.memory_source) for record in trials}
    peaks = [record.peak_train_bytes for record in trials if record.peak_train_bytes]
    values = {"sources": ", ".join(sorted(sources)), "largest_peak_bytes": max(peaks, default=None)}
    complete = sources == {expected} and len(peaks) == len(trials)
    return Finding(values, None if complete else f"not every trial's memory is read from {expected}")


def _records(sweep: Sweep) -> list[Record]:
    from tests.helpers.sweeps import records

    return list(records(sweep.run).values())


def main(arguments: list[str] | None = None) -> int:
    """Makes the checks. Returns 0, or 1 where one failed, or 2 where there is no CUDA device or no Ray."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.gpu.sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dry", action="store_true", help="the same on a CPU, with a tiny model")
    parser.add_argument(
        "--out", type=Path, default=Path("gpu-sweep-report.json"), help="default: %(default)s"
    )
    options = parser.parse_args(arguments)
    if (missing := lacking(("ray", "cuda"), options.dry)) is not None:
        print(missing, file=sys.stderr)
        return 2
    report = made(options.dry, options.out)
    print(f"\n{report.summary()}\n{options.out}")
    return 0 if report.succeeded else 1


def made(dry: bool, out: Path) -> Report:
    """Makes the checks, and writes the report after each."""
    from tests.helpers.sweeps import Home

    with ExitStack() as folders:
        folder = Path(folders.enter_context(tempfile.TemporaryDirectory(prefix="paretune-gpu-")))
        short = Path(folders.enter_context(tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp")))
        prepare(folder)
        bench = Bench(folder, dry)
        report = Report(environment())
        for case in cases(Sweep(bench, Home(folder / "home-of-commands", short, shared_cache=False))):
            row = run_case("sweep", case, bench)
            print("\n".join(row_lines(row)), flush=True)
            report = replace(report, rows=(*report.rows, row))
            report.write(out)
    return report


if __name__ == "__main__":
    sys.exit(main())
