"""A process that does nothing but measure memory, config after config.

In it malloc hands every large block back to the system the moment it is freed, so that the resident set is
what is in use; steps are slower for it, so trials don't train this way. Started by ``MeasuringProcess``:

    config as a JSON line on standard input  ->  {"memory": {...}} or {"error": "..."} as a JSON line
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from typing import IO, Any

from trainables.config import TrialConfig
from trainables.results import Phase

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
    """Starts the process at the first measurement, or before, and keeps it warm; it ends with its parent."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def measure(self, config: TrialConfig) -> dict[str, Any]:
        """A ``Memory`` as JSON. Raises :class:`MeasuringFailed`."""
        process = self.start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(config.model_dump_json() + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            code = process.wait()
            self._process = None
            raise MeasuringFailed(
                f"the measuring process ended with code {code}",
                out_of_memory=code == -signal.SIGKILL,
                told_to_end=code in (-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP),
            )
        result = json.loads(answer)
        if "error" in result:
            raise MeasuringFailed(result["error"], result["out_of_memory"], phase=result["phase"])
        return result["memory"]

    def close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()  # the end of its input is its end
            self._process.wait(timeout=30)
            self._process = None

    def start(self) -> subprocess.Popen[str]:
        """The process, whose imports take seconds; whoever has something else to do meanwhile starts it first."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "trainables.measuring"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment(),
            )
        return self._process


def environment() -> dict[str, str]:
    """This process's environment, less its place in a worker group: measuring is done alone."""
    group = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_", "NODE_RANK", "GROUP_")
    return {name: value for name, value in os.environ.items() if not name.startswith(group)} | MALLOC


def main() -> None:
    """Answers measurement requests until standard input ends."""
    from trainables import noise

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    noise.silence()
    _warm_up()
    # When cycles are collected depends on all that was allocated before; between phases they are, by hand: of what
    # comes from here on, the libraries aren't walked through each time.
    gc.disable()
    gc.freeze()
    settled = False
    for line in sys.stdin:
        config = TrialConfig.model_validate_json(line)
        _answer(answers, _measured(config, settled))
        settled = True
    answers.close()
    os._exit(0)  # nothing is left to do, and taking the libraries down takes a second or two


def _measured(config: TrialConfig, settled: bool) -> dict[str, Any]:
    from trainables.memory import measure
    from trainables.phases import Phases
    from trainables.run import is_out_of_memory

    phases = Phases()
    try:
        return {"memory": measure(config, settled, phases).model_dump(mode="json")}
    except Exception as error:
        ran_out = is_out_of_memory(error)
        what = f"{type(error).__name__}: {error}"
        return {"error": what, "out_of_memory": ran_out, "phase": phases.now if ran_out else None}


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

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads()))
    left, right = torch.randn(256, 256, requires_grad=True), torch.randn(256, 256)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (left @ right).sum().backward()


if __name__ == "__main__":
    main()
