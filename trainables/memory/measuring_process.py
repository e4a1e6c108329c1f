"""A process that measures the memory of one config after the other; for a trial of several workers, one process each.

It is for CPUs: on a GPU a second process would need a trial's memory again, so it is read in the trial (``in_trial``).

In it malloc gives every large block back to the system as soon as it is freed, so that the resident set is the memory
in use. That makes steps slower, so trials aren't trained this way. Started by ``MeasuringProcess``:

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
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainables.results import Phase
from trainables.training.worker_group import FAILURE_WAIT, worker_count
from trainables.trial.config import TrialConfig

# The environment variable with the path of the file by which the processes of a group find one another.
MEETING_FILE = "PARETUNE_MEET"
# From 16 KiB on a block is mapped by itself and unmapped when freed; a free heap's end goes back. With 128 KiB a
# cache of keys and values that grows token by token leaves holes in the heap: the same peak within 3 %, not 0.5.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TRIM_THRESHOLD_": "65536"}


class MeasuringFailed(RuntimeError):  # noqa: N818
    """A measurement could not be made; the message says why.

    ``out_of_memory``: memory ran out, or the process was killed; ``phase`` says in which phase, where that is known.
    ``terminated``: the process got a signal to end, as when all processes are ended, which says nothing about the
    config.
    """

    def __init__(
        self,
        message: str,
        out_of_memory: bool = False,
        terminated: bool = False,
        phase: Phase | None = None,
    ) -> None:
        super().__init__(message)
        self.out_of_memory, self.terminated, self.phase = out_of_memory, terminated, phase


class MeasuringProcess:
    """Starts the process with the first measurement or by :meth:`start`, and keeps it warm; it ends with its parent.

    With ``workers`` above 1, as many processes on this machine train a trial together, each measuring its own memory.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._processes: list[subprocess.Popen[str]] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def measure(self, config: TrialConfig) -> dict[str, Any]:
        """A ``measurement.Memory`` as JSON; of several workers the largest figures. Raises :class:`MeasuringFailed`."""
        processes = self.start()
        for process in processes:
            _send(process, config)
        answers = _read_answers(processes)
        # A process that ended says more than the errors of others, which lost their connection to it.
        if "" in answers:
            raise self._failure_of_ended(answers)
        results = [json.loads(answer) for answer in answers if answer is not None]
        failed = [result for result in results if "error" in result]
        if failed:
            # The cause rather than its effect: when one fails, the connections of the others break.
            first = max(failed, key=lambda result: (result["out_of_memory"], not result["lost"]))
            # The one that failed exits, and the others are stuck: the next measurement starts new ones.
            if self.workers > 1:
                self._kill()
            raise MeasuringFailed(first["error"], first["out_of_memory"], phase=first["phase"])
        return largest([result["memory"] for result in results])

    def _failure_of_ended(self, answers: list[str | None]) -> MeasuringFailed:
        """Why processes ended without an answer, by their exit codes; ends the others, too."""
        # Before the others are killed, whose exit codes would say that memory ran out.
        codes = [p.wait() for p, answer in zip(self._processes, answers, strict=True) if answer == ""]
        self._kill()
        return MeasuringFailed(
            f"the measuring process ended with code {codes[0]}",
            # The system kills with this signal where memory has run out.
            out_of_memory=-signal.SIGKILL in codes,
            terminated=any(code in (-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP) for code in codes),
        )

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()
        self._wait()

    def close(self) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()  # the process ends with its input
        self._wait()

    def _wait(self) -> None:
        for process in self._processes:
            process.wait(timeout=30)
        if self._folder is not None:
            self._folder.cleanup()
        self._processes = []

    def start(self) -> list[subprocess.Popen[str]]:
        """Starts the processes, if they aren't running. Their imports take seconds, so start them before other work."""
        if not self._processes:
            self._folder = tempfile.TemporaryDirectory(prefix="paretune-")
            environments = _group_environments(self.workers, self._folder.name) if self.workers > 1 else [{}]
            self._processes = [
                subprocess.Popen(
                    [sys.executable, "-P", "-m", "trainables.memory.measuring_process"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=environment() | variables,
                )
                for variables in environments
            ]
        return self._processes


def _send(process: subprocess.Popen[str], config: TrialConfig) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # the process is dead, which shows when its answer is read
        process.stdin.write(config.model_dump_json() + "\n")
        process.stdin.flush()


def _read_answers(processes: list[subprocess.Popen[str]]) -> list[str | None]:
    """The line that each process answers: "" if it has ended, ``None`` if it waits for another that ended or failed."""
    answers: list[str | None] = [None] * len(processes)
    timeout: float | None = None
    with selectors.DefaultSelector() as waiting:
        for number, process in enumerate(processes):
            assert process.stdout is not None
            waiting.register(process.stdout, selectors.EVENT_READ, number)
        while waiting.get_map() and (ready := waiting.select(timeout)):
            for key, _ in ready:
                waiting.unregister(key.fileobj)
                # One line a request: nothing stays in the text buffer, which the selector doesn't see.
                answer = answers[key.data] = key.fileobj.readline()  # type: ignore[union-attr]
                # From the first failure on: others may wait for that process, and never answer.
                if not answer or "error" in json.loads(answer):
                    timeout = FAILURE_WAIT.total_seconds()
    return answers


def largest(memories: list[dict[str, Any]]) -> dict[str, Any]:
    """The largest of all workers' figures, field by field; ``None`` stays where one has none."""
    first = memories[0]
    numbers = {
        name: [memory[name] for memory in memories] for name, value in first.items() if isinstance(value, int)
    }
    # Of texts, such as the source, and of figures that any worker lacks, the first worker's stay.
    return first | {name: max(values) for name, values in numbers.items() if None not in values}


def _group_environments(workers: int, folder: str) -> list[dict[str, str]]:
    """The environment variables by which each of ``workers`` processes on this machine finds the others."""
    # By a file: torch's TCP store listens on all interfaces, without authentication.
    shared = {"WORLD_SIZE": str(workers), MEETING_FILE: str(Path(folder) / "meet")}
    if sys.platform == "linux":
        shared["GLOO_SOCKET_IFNAME"] = "lo"
    ranks = map(str, range(workers))
    return [{**shared, "RANK": rank, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": str(workers)} for rank in ranks]


def environment() -> dict[str, str]:
    """This process's environment without the variables of its worker group, as measuring processes form their own."""
    group = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_", "NODE_RANK", "GROUP_")
    return {name: value for name, value in os.environ.items() if not name.startswith(group)} | MALLOC


def main() -> None:
    """Answers measurement requests until standard input ends."""
    from trainables.system import quiet

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to standard error, apart from the answers
    quiet.silence()
    _warm_up()
    if worker_count() > 1:
        _join_group()
    # Automatic collection of cycles would depend on all that was allocated before. They are collected by hand between
    # the phases, without walking through the libraries' objects each time.
    gc.disable()
    gc.freeze()
    warm = False
    for line in sys.stdin:
        config = TrialConfig.model_validate_json(line)
        result = _result(config, warm)
        answers.write(json.dumps(result) + "\n")
        answers.flush()
        if "error" in result and worker_count() > 1:
            os._exit(1)  # the others wait for this process, and notice only that it is gone
        warm = True
    answers.close()
    os._exit(0)  # an orderly exit of the libraries would take a second or two


def _join_group() -> None:
    """Joins the process group; waits until all processes have."""
    from torch import distributed

    rank, meeting = int(os.environ["RANK"]), f"file://{os.environ[MEETING_FILE]}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=worker_count())


def _result(config: TrialConfig, warm: bool) -> dict[str, Any]:
    from trainables.memory.measurement import is_out_of_memory, measure
    from trainables.training.phases import Phases
    from trainables.training.worker_group import is_lost_worker

    phases = Phases()
    try:
        return {"memory": measure(config.with_own_code(), warm, phases).model_dump(mode="json")}
    except Exception as error:
        ran_out = is_out_of_memory(error)
        what = f"{type(error).__name__}: {error}"
        lost = is_lost_worker(error)
        return {
            "error": what, "out_of_memory": ran_out, "lost": lost, "phase": phases.current if ran_out else None
        }  # fmt: skip


def _warm_up() -> None:
    """Imports and runs one small backward pass, so that the baseline has what every trial's process holds."""
    if find_spec("bitsandbytes"):
        import bitsandbytes  # noqa: F401
    import peft  # noqa: F401
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
    from trl import SFTTrainer  # noqa: F401

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads()))
    left, right = torch.randn(256, 256, requires_grad=True), torch.randn(256, 256)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (left @ right).sum().backward()


if __name__ == "__main__":
    main()
