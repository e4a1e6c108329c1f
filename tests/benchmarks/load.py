"""What a large sweep costs besides its training: the driver's time and memory for many trials that train nothing.

    python -m tests.benchmarks.load [TRIALS] [POINTS]

Everything is real (Ray, Tune, slots, studies, tables, report) except for the trial itself: it writes a curve of POINTS
points and its record, and reports where the search decides. Prints a line of figures for a quarter of the trials, and
one for all of them.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.helpers.paths import ROOT
from tests.helpers.sweeps import Command, Home, start, write_spec
from tests.helpers.tiny_model import make_model

SPEC = """\
name: load
model: {path: %(model)s}
data: {train: rows.jsonl, eval_fraction: 0.3, cutoff: 64}
stages: [{kind: sft}]
methods:
  - {kind: full}
  - {kind: lora, name: small, rank: {choice: [4, 8]}, alpha: 8}
  - {kind: lora, name: middle, rank: {choice: [16, 32]}, alpha: 8}
  - {kind: lora, name: large, rank: {choice: [64, 128]}, alpha: 8}
train: {steps: %(points)d, batch_size: 2, learning_rate: {log: [1.0e-4, 5.0e-3]}}
search: {trials: %(trials)d, sampler: tpe, scheduler: asha}
finalists: {seeds: 1}
resources: {concurrent: 4, cpus: 0.5}
tracking: {wandb: off}
"""
# Runs in every process of the sweep; replaces run_trial once its module is imported.
DUMMY = """\
import importlib.abc, importlib.machinery, json, random, sys

class Changed(importlib.abc.Loader):
    def __init__(self, loader): self.loader = loader
    def create_module(self, spec): return self.loader.create_module(spec)
    def exec_module(self, module):
        self.loader.exec_module(module)
        module.run_trial = run_trial

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "trainables.runner.run":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        spec.loader = Changed(spec.loader)
        return spec

sys.meta_path.insert(0, Finder())

def run_trial(config, context, control, evaluate_at=frozenset(), gauge=None, halved=False, local_config=None):
    from trainables.system import provenance
    from trainables.results import Record, write_record
    began, folder = provenance.now(), context.folder(config)
    draw, good, status, step = random.Random(config.trial_id()), 0.0, "done", 0
    level = draw.random()
    with (folder / "curve.jsonl").open("a") as curve:
        for step in range(1, config.train.steps + 1 if config.method else 1):
            good = level * (1 - 0.99**step)
            for name, value in (("train_loss", 5 - good), ("objective", good)):
                curve.write(json.dumps({"step": step, "name": name, "value": value}) + "\\n")
            if step in evaluate_at:
                curve.flush()
            if control.report(step, {"objective": good}) == "stop":
                status = "stopped"
                break
    record = Record(
        **config.identity(), status=status, objective=good, objective_name="objective", quality=good,
        quality_name="exact_match", quality_higher_is_better=True, test_rows=10, steps=step, tokens=step,
        train_seconds=1.0, peak_train_bytes=2**30, memory_source="rss", slot=context.slot,
        slot_trial=context.slot_trial,
        started_at=began, ended_at=provenance.now(), packages={"torch": "0"}, device="cpu",
    )
    write_record(folder, record)
    return record
"""


@dataclass
class Driver:
    """Watches the driver's own process: its CPU seconds and its peak memory."""

    command: Command
    cpu_seconds: float = 0.0
    peak_bytes: int = 0

    def watch(self) -> None:
        process = psutil.Process(self.command.process.pid)
        try:
            while self.command.process.poll() is None:
                used = process.cpu_times()
                self.cpu_seconds = used.user + used.system
                self.peak_bytes = max(self.peak_bytes, process.memory_info().rss)
                time.sleep(0.2)
        except psutil.Error:
            return


def run_command(home: Home, *arguments: str | Path, **environment: str) -> tuple[Driver, float]:
    driver = Driver(start(home, *arguments, **environment))
    watching = threading.Thread(target=driver.watch)
    watching.start()
    code = driver.command.wait(timeout=10_000)
    watching.join()
    if code:
        raise SystemExit(driver.command.stderr[-3000:])
    return driver, driver.command.seconds


def measure(folder: Path, temporary: Path, trials: int, points: int) -> dict[str, float]:
    model, ours = make_model(folder / "model"), folder / "python"
    ours.mkdir()
    (ours / "sitecustomize.py").write_text(DUMMY)
    given = {"model": model, "points": points, "trials": trials // 4}
    spec = write_spec(folder / "spec", model, SPEC % given)
    home = Home(folder, temporary)
    path = {"PYTHONPATH": os.pathsep.join([str(ours), str(ROOT)])}
    where = ("--output", folder / "runs")
    ran, wall = run_command(home, "run", spec, *where, **path)
    again, resumed = run_command(home, "run", spec, *where, "--resume", **path)
    _, reported = run_command(home, "report", folder / "runs" / "load", **path)
    run = folder / "runs" / "load"
    return {
        "trials": trials,
        "points": points,
        "wall_seconds": wall,
        "driver_cpu_seconds": ran.cpu_seconds,
        "driver_ms_per_trial": 1000 * ran.cpu_seconds / trials,
        "driver_peak_mib": ran.peak_bytes / 2**20,
        "resume_with_nothing_left_seconds": resumed,
        "resume_peak_mib": again.peak_bytes / 2**20,
        "report_seconds": reported,
        "journals_mib": sum(path.stat().st_size for path in run.glob("study-*.journal")) / 2**20,
        "report_mib": (run / "report" / "index.html").stat().st_size / 2**20,
    }


def main() -> None:
    trials, points = (int(word) for word in [*sys.argv[1:3], "1000", "1000"][:2])
    for count in (trials // 4, trials):
        with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as temporary:
            folder = Path(temporary) / "load"
            folder.mkdir()
            found = measure(folder, Path(temporary), count, points)
        print(json.dumps({name: round(value, 1) for name, value in found.items()}), flush=True)


if __name__ == "__main__":
    main()
