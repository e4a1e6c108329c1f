"""A tiny sweep started by the command line in a process of its own, which tests watch and end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.helpers.paths import ROOT
from tests.helpers.terminals import user_environment
from trainables import results
from trainables.data.embedded import commands
from trainables.results import Record
from trainables.storage.home import home

PARETUNE = [sys.executable, "-P", "-m", "sweeps.cli"]  # as the installed command, not from the working folder
SPEC = """\
name: tiny
question: Does it run?
model: {path: %(model)s}
data: {train: rows.jsonl, eval_fraction: 0.3, cutoff: 64}
stages: [{kind: sft}]
methods:
  - {kind: full}
  - {kind: lora, rank: {choice: [4, 8]}, alpha: 8}
train: {steps: 100, batch_size: 2, save_steps: 20, learning_rate: {log: [1.0e-4, 5.0e-3]}}
search: {trials: 3, sampler: random, scheduler: none}
resources: {cpus: 1, concurrent: 2}
tracking: {wandb: off}
finalists: {seeds: 1}
"""
# Caches of what is computed from models and rows alone. Filling them takes a command seconds of imports.
SHARED = (
    "behaviour",
    "data",
    "generation",
    "model-classes",
    "overlaps",
    "tokenizers",
    "tokens",
    "vocabularies",
)
STEPS, SAVED_EVERY = 100, 20  # long enough to be interrupted, between two checkpoints, on a quick machine
METHODS = SPEC[SPEC.index("methods:") : SPEC.index("train: {steps")]
SMALL = SPEC.replace(METHODS, "methods: [{kind: lora, rank: 4}]\n").replace("concurrent: 2", "concurrent: 1")


def write_spec(folder: Path, model: Path, text: str = SPEC, rows: list[dict[str, str]] | None = None) -> Path:
    """Writes the spec and its rows into ``folder``; returns the spec's path."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = commands.rows()[:60] if rows is None else rows
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "spec.yaml").write_text(text % {"model": model} if "%(" in text else text)
    return folder / "spec.yaml"


@dataclass
class Home:
    """Where a command runs: all folders that it could write to are in here, and empty at first.

    ``shared_cache``: what other commands of these tests have cached is there, too, by links.
    """

    folder: Path
    temporary: Path  # a short path: Ray's sockets are in it, and a socket's path has at most 107 characters
    shared_cache: bool = True

    def environment(self, **changes: str | None) -> dict[str, str]:
        kept = {
            name: value
            for name, value in user_environment().items()
            if not name.startswith(("WANDB", "RAY", "PYTEST"))
        }
        for name in ("home", "cache"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        if self.shared_cache:
            self._link_caches()
        own = {
            "HOME": str(self.folder / "home"),
            "PARETUNE_HOME": str(self.folder / "cache"),
            "TMPDIR": str(self.temporary),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "110",
            "RAY_worker_niceness": "0",  # Ray's 15 would have workers wait for all other processes
        }
        return {name: value for name, value in {**kept, **own, **changes}.items() if value is not None}

    def _link_caches(self) -> None:
        for name in SHARED:
            (home() / name).mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                (self.folder / "cache" / name).symlink_to(home() / name, target_is_directory=True)


SLOW_DISK = """\
import os, time

fsync = os.fsync


def slow(file):
    path = os.readlink(f"/proc/self/fd/{file if isinstance(file, int) else file.fileno()}")
    if "/checkpoint-" in path and os.path.exists(os.environ["TESTS_SLOW_DISK"]):
        time.sleep(float(os.environ["TESTS_FSYNC_SECONDS"]))
    fsync(file)


os.fsync = slow
"""


def slow_disk(folder: Path, seconds: float, from_the_start: bool = True) -> dict[str, str]:
    """Variables with which each file of a checkpoint takes ``seconds`` to reach the disk, in all processes.

    Not ``from_the_start``: once the file ``TESTS_SLOW_DISK`` is there.
    """
    start, slow = folder / "start", folder / "slow"
    start.mkdir(parents=True, exist_ok=True)
    (start / "sitecustomize.py").write_text(SLOW_DISK)  # Python imports it before all else
    if from_the_start:
        slow.touch()
    return {
        "PYTHONPATH": f"{start}:{ROOT}",
        "TESTS_FSYNC_SECONDS": str(seconds),
        "TESTS_SLOW_DISK": str(slow),
    }


@dataclass
class Command:
    """A ``paretune`` process and every process it ever started."""

    process: subprocess.Popen[str]
    out: Path
    err: Path
    began: float = field(default_factory=time.time)
    seconds: float = 0.0
    family: dict[int, psutil.Process] = field(default_factory=dict)

    def __post_init__(self) -> None:
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        with contextlib.suppress(psutil.Error):
            me = psutil.Process(self.process.pid)
            while self.process.poll() is None:
                self._remember_descendants(me)
                time.sleep(0.25)

    def _remember_descendants(self, me: psutil.Process) -> None:
        for child in me.children(recursive=True):
            self.family.setdefault(child.pid, child)

    def named(self, name: str) -> list[psutil.Process]:
        """Living descendants with ``name`` in their command lines, such as ``ray::Slot``."""
        found = []
        for child in list(self.family.values()):
            with contextlib.suppress(psutil.Error):
                if child.is_running() and any(name in word for word in child.cmdline()):
                    found.append(child)
        return found

    def surviving(self, patience: float = 10.0) -> list[str]:
        """Descendants that are still alive ``patience`` seconds after the process has ended."""
        until = time.monotonic() + patience
        while (alive := self._alive()) and time.monotonic() < until:
            time.sleep(0.2)
        return alive

    def _alive(self) -> list[str]:
        found = []
        for child in list(self.family.values()):
            with contextlib.suppress(psutil.Error):
                if child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(child.cmdline())[:80])
        return found

    def wait(self, timeout: float = 900) -> int:
        try:
            return self.process.wait(timeout)
        finally:
            self.seconds = time.time() - self.began
            self.end()

    def until(self, condition: Callable[[], Any], timeout: float = 900) -> Any:
        """Waits for ``condition``; fails with the command's output if that ends before, or after ``timeout`` s."""
        until = time.monotonic() + timeout
        while not (found := condition()):
            if self.process.poll() is not None or time.monotonic() > until:
                output = self.stderr
                self.end()
                raise AssertionError(f"{condition} never became true; the command printed:\n{output}")
            time.sleep(0.1)
        return found

    def signal(self, number: int, group: bool = False) -> float:
        """Sends a signal (to the whole ``group``, as a terminal does for Ctrl-C); returns the seconds to the end."""
        started = time.monotonic()
        (os.killpg if group else os.kill)(self.process.pid, number)
        self.wait(60)
        return time.monotonic() - started

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Suspends the process within the block; its workers finish their trials and get no new ones."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Kills the process if it still runs, and then all processes that it started."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            for child in self.family.values():
                with contextlib.suppress(psutil.Error):
                    child.kill()

    @property
    def stdout(self) -> str:
        return self.out.read_text()

    @property
    def stderr(self) -> str:
        return self.err.read_text()


def start(home: Home, *arguments: str | Path, cwd: Path | None = None, **environment: str | None) -> Command:
    """Starts ``paretune`` with its output going to files, and no standard input."""
    home.folder.mkdir(parents=True, exist_ok=True)
    number = len(list(home.folder.glob("out-*")))
    out, err = home.folder / f"out-{number}", home.folder / f"err-{number}"
    with out.open("w") as stdout, err.open("w") as stderr:
        process = subprocess.Popen(
            [*PARETUNE, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
            cwd=cwd or home.folder,
            env=home.environment(**environment),
            start_new_session=True,
        )
    return Command(process, out, err)


def paretune(home: Home, *arguments: str | Path, timeout: float = 900, **options: Any) -> Command:
    """Runs ``paretune`` to its end."""
    command = start(home, *arguments, **options)
    command.wait(timeout)
    return command


def records(run: Path) -> dict[str, Record]:
    """The records that exist now, by trial."""
    found = (results.read_record(folder) for folder in results.trial_folders(run))
    return {record.trial_id: record for record in found if record is not None}


def finished(run: Path) -> dict[str, Record]:
    return {trial_id: record for trial_id, record in records(run).items() if record.status != "interrupted"}


def in_training(run: Path, command: Command) -> list[str]:
    """Trials that ``command`` is training: past their first checkpoint, and not near their end."""
    done = finished(run)
    amid = range(SAVED_EVERY + 5, STEPS - SAVED_EVERY)
    return [
        folder.name
        for folder in results.trial_folders(run)
        if folder.name not in done and _logged(folder, command.began) in amid
    ]


def _logged(trial: Path, since: float) -> int:
    curve = trial / "curve.jsonl"
    if not curve.exists() or curve.stat().st_mtime < since:
        return 0
    return max((point["step"] for point in results.read_curve(trial)), default=0)


def curve_points(run: Path, trial_id: str, name: str = "train_loss") -> list[tuple[int, float]]:
    """A curve's points as they stand in its file, including steps that were repeated after a kill."""
    text = (run / "trials" / trial_id / "curve.jsonl").read_text().splitlines()
    points = [json.loads(line) for line in text if line.endswith("}")]
    return [(point["step"], point["value"]) for point in points if point["name"] == name]


def interrupt(command: Command) -> float:
    """Ctrl-C, as a terminal sends it."""
    return command.signal(signal.SIGINT, group=True)


def wandb_runs(run: Path) -> dict[str, WandbRun]:
    """The offline W&B runs of a run folder, by W&B id; fails when one id has several."""
    found: dict[str, WandbRun] = {}
    for path in sorted((run / "wandb").glob("offline-run-*/*.wandb")):
        read = _wandb_run(path)
        assert read.id not in found, f"two runs {read.id}"
        found[read.id] = read
    return found


@dataclass
class WandbRun:
    """The contents of an offline run: the newest value of every summary key, the history by step, and more."""

    id: str = ""
    group: str = ""
    job_type: str = ""
    project: str = ""
    sweep: str = ""  # the W&B sweep that it is part of
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    artifacts: dict[str, list[str]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    exit_code: int | None = None


def _wandb_run(path: Path) -> WandbRun:
    run = WandbRun()
    for record in _wandb_records(path.read_bytes()):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.id, run.group = record.run.run_id, record.run.run_group
            run.job_type, run.project = record.run.job_type, record.run.project
            run.sweep = record.run.sweep_id
            run.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "history":
            values = {_key(item): json.loads(item.value_json) for item in record.history.item}
            run.history.setdefault(int(values.pop("_step")), {}).update(values)
        elif kind == "summary":
            run.summary |= {_key(item): json.loads(item.value_json) for item in record.summary.update}
        elif kind == "artifact":
            run.artifacts[record.artifact.name] = [e.path for e in record.artifact.manifest.contents]
        elif kind == "files":
            run.files += [file.path for file in record.files.files]
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def _key(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


def _wandb_records(text: bytes) -> Iterator[Any]:
    """The records of a ``.wandb`` file: blocks of 32 KiB of chunks, as in LevelDB's log."""
    from wandb.proto import wandb_internal_pb2

    at, whole = 7, b""
    while at < len(text):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", text[at + 4 : at + 7])
        chunk = text[at + 7 : at + 7 + length]
        at += 7 + length
        whole = chunk if kind in (1, 2) else whole + chunk
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
