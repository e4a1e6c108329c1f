"""A process that does nothing but measure memory, config after config; or as many as a trial has workers, together.

In it malloc hands every large block back to the system the moment it is freed, so that the resident set is
what is in use; steps are slower for it, so trials don't train this way. Started by ``MeasuringProcess``:

    config as a JSON line on standard input  ->  {"memory": {...}} or {"error": "..."} as a JSON line
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from trainables.results import Phase
from trainables.training.worker_group import FAILURE_WAIT, worker_count
from trainables.trial.config import TrialConfig

MEET = "PARETUNE_MEET"  # the file by which the processes of a group find one another
# From 16 KiB on a block is mapped by itself and unmapped when freed; a free heap's end goes back. With 128 KiB a
# cache of keys and values that grows token by token leaves holes in the heap: the same peak within 3 %, not 0.5.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TRIM_THRESHOLD_": "65536"}


class MeasuringFailed(RuntimeError):  # noqa: N818
    """The measurement could not be made; says why. ``out_of_memory``: it was killed, or ran out, ``phase`` says where
    if that is known. ``told_to_end``: whoever ends all processes ended this one, too, which says nothing about the
    config.
    """

    def __init__(
        self,
        message: str,
        out_of_memory: bool = False,
        told_to_end: bool = False,
        phase: Phase | None = None,
    ) -> None:
        super().__init__(message)
        self.out_of_memory, self.told_to_end, self.phase = out_of_memory, told_to_end, phase


class MeasuringProcess:
    """Starts the process at the first measurement, or before, and keeps it warm; it ends with its parent.

    ``workers`` processes measure what each of as many workers takes that train a trial together, all on this machine.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._processes: list[subprocess.Popen[str]] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def measure(self, config: TrialConfig) -> dict[str, Any]:
        """A ``Memory`` as JSON. Raises :class:`MeasuringFailed`."""
        processes = self.start()
        for process in processes:
            _ask(process, config)
        answers = _answers(processes)
        if "" in answers:
            raise self._ended(answers)
        results = [json.loads(answer) for answer in answers if answer is not None]
        failed = [result for result in results if "error" in result]
        if failed:
            # The others' connections broke when one failed.
            first = max(failed, key=lambda result: (result["out_of_memory"], not result["lost"]))
            if self.workers > 1:
                self._end()
            raise MeasuringFailed(first["error"], first["out_of_memory"], phase=first["phase"])
        return largest([result["memory"] for result in results])

    def _ended(self, answers: list[str | None]) -> MeasuringFailed:
        """What to say of processes that ended without an answer; the others are ended, too."""
        codes = [p.wait() for p, answer in zip(self._processes, answers, strict=True) if answer == ""]
        self._end()
        return MeasuringFailed(
            f"the measuring process ended with code {codes[0]}",
            out_of_memory=-signal.SIGKILL in codes,
            told_to_end=any(code in (-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP) for code in codes),
        )

    def _end(self) -> None:
        for process in self._processes:
            process.kill()
        self._let_go()

    def close(self) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()  # the end of its input is its end
        self._let_go()

    def _let_go(self) -> None:
        for process in self._processes:
            process.wait(timeout=30)
        if self._folder is not None:
            self._folder.cleanup()
        self._processes = []

    def start(self) -> list[subprocess.Popen[str]]:
        """The process, whose imports take seconds; whoever has something else to do meanwhile starts it first."""
        if not self._processes:
            self._folder = tempfile.TemporaryDirectory(prefix="paretune-")
            places = _group(self.workers, self._folder.name) if self.workers > 1 else [{}]
            self._processes = [
                subprocess.Popen(
                    [sys.executable, "-m", "trainables.memory.measuring_process"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=environment() | place,
                )
                for place in places
            ]
        return self._processes


def _ask(process: subprocess.Popen[str], config: TrialConfig) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it is dead, which shows when its answer is read
        process.stdin.write(config.model_dump_json() + "\n")
        process.stdin.flush()


def _answers(processes: list[subprocess.Popen[str]]) -> list[str | None]:
    """What each answers: nothing if it has ended, ``None`` if it waits for another that has, or has failed."""
    answers: list[str | None] = [None] * len(processes)
    patience: float | None = None
    with selectors.DefaultSelector() as silent:
        for number, process in enumerate(processes):
            assert process.stdout is not None
            silent.register(process.stdout, selectors.EVENT_READ, number)
        while silent.get_map() and (heard := silent.select(patience)):
            for key, _ in heard:
                silent.unregister(key.fileobj)
                answer = answers[key.data] = key.fileobj.readline()  # type: ignore[union-attr]
                if not answer or "error" in json.loads(answer):
                    patience = FAILURE_WAIT.total_seconds()
    return answers


def largest(found: list[dict[str, Any]]) -> dict[str, Any]:
    """What the worker that takes the most takes, number by number."""
    first = found[0]
    numbers = {
        name: [each[name] for each in found] for name, value in first.items() if isinstance(value, int)
    }
    return first | {name: max(values) for name, values in numbers.items() if None not in values}


def _group(workers: int, folder: str) -> list[dict[str, str]]:
    """The environment by which each of so many processes on this machine finds the others."""
    # By a file: torch's other store listens on all interfaces, and asks nobody for a token.
    shared = {"WORLD_SIZE": str(workers), MEET: str(Path(folder) / "meet")}
    if sys.platform == "linux":
        shared["GLOO_SOCKET_IFNAME"] = "lo"
    ranks = map(str, range(workers))
    return [{**shared, "RANK": rank, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": str(workers)} for rank in ranks]


def environment() -> dict[str, str]:
    """This process's environment, less its place in a worker group: measuring processes make their own."""
    group = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_", "NODE_RANK", "GROUP_")
    return {name: value for name, value in os.environ.items() if not name.startswith(group)} | MALLOC


def main() -> None:
    """Answers measurement requests until standard input ends."""
    from trainables.system import quiet

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    quiet.silence()
    _warm_up()
    if worker_count() > 1:
        _meet()
    # When cycles are collected depends on all that was allocated before; between phases they are, by hand: of what
    # comes from here on, the libraries aren't walked through each time.
    gc.disable()
    gc.freeze()
    settled = False
    for line in sys.stdin:
        config = TrialConfig.model_validate_json(line)
        result = _measured(config, settled)
        _answer(answers, result)
        if "error" in result and worker_count() > 1:
            os._exit(1)  # the others wait for this one: that it is gone is what they can notice
        settled = True
    answers.close()
    os._exit(0)  # nothing is left to do, and taking the libraries down takes a second or two


def _meet() -> None:
    """Makes the group of this process and the others, once all are there."""
    import torch
    from torch import distributed

    backend, rank = "nccl" if torch.cuda.is_available() else "gloo", int(os.environ["RANK"])
    there = f"file://{os.environ[MEET]}"
    distributed.init_process_group(backend, init_method=there, rank=rank, world_size=worker_count())


def _measured(config: TrialConfig, settled: bool) -> dict[str, Any]:
    from trainables.memory.measurement import is_out_of_memory, measure
    from trainables.training.phases import Phases
    from trainables.training.worker_group import is_lost_worker

    phases = Phases()
    try:
        return {"memory": measure(config, settled, phases).model_dump(mode="json")}
    except Exception as error:
        ran_out = is_out_of_memory(error)
        what = f"{type(error).__name__}: {error}"
        lost = is_lost_worker(error)
        return {
            "error": what, "out_of_memory": ran_out, "lost": lost, "phase": phases.current if ran_out else None
        }  # fmt: skip


def _answer(answers: IO[str], result: dict[str, Any]) -> None:
    answers.write(json.dumps(result) + "\n")
    answers.flush()


def _warm_up() -> None:
    """Imports and one small backward pass: what every trial's process holds."""
    import bitsandbytes  # noqa: F401
    import peft  # noqa: F401
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
    from trl import SFTTrainer  # noqa: F401

    if torch.cuda.is_available() and worker_count() > 1:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads()))
    left, right = torch.randn(256, 256, requires_grad=True), torch.randn(256, 256)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (left @ right).sum().backward()


if __name__ == "__main__":
    main()
