"""One worker of a group that trains trials together: ``torchrun tests/helpers/on_workers.py JOBS``.

JOBS is a JSON file with a list of ``{config, run}``. Optional keys of a job: ``interrupt_at`` and ``stop_at``, the step
at which that happens; ``fails``, the worker that runs out of memory, and ``dies``, the worker that is killed, both in
the second step; ``ends``, the expected status; ``reads_memory``, whether that is done in the trial, where the peaks of
each worker are 100 bytes above those of the one before; ``base_origin``, the expected one for each worker: such jobs
share a base that stays from trial to trial.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from trainables.system import quiet

RANK = int(os.environ["RANK"])


def control(job: dict[str, Any]) -> Any:
    from tests.helpers.trials import ScriptedControl

    decisions = {f"step{job['stop_at']}": "stop"} if "stop_at" in job else {}

    class Control(ScriptedControl):
        def interrupted(self) -> bool:
            if self.asked == 1 and job.get("dies") == RANK:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.asked == 1 and job.get("fails") == RANK:
                raise MemoryError("none left")
            return super().interrupted()

    # Only one worker is interrupted, and all of them have to stop.
    return Control(job.get("interrupt_at") if RANK == 1 else None, **decisions)


def main() -> None:
    from torch import distributed

    from tests.helpers.allocators import Allocator
    from tests.helpers.trials import LETTER
    from trainables.memory.in_trial import InTrial
    from trainables.runner.run import TrialContext, run_trial
    from trainables.stages.rewards.rules import RULES
    from trainables.training.worker_group import WorkerGroupBroken
    from trainables.trial.config import TrialConfig
    from trainables.trial.resident_base import ResidentBase

    class WorkersAllocator(Allocator):
        def peak(self) -> int:
            return 100 * (RANK + 1)

    RULES["letter"] = LETTER
    shared_base = ResidentBase()
    for job in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        config = TrialConfig.model_validate(job["config"])
        bases = shared_base if "base_origin" in job else ResidentBase(keeps=False)
        place = TrialContext(Path(job["run"]), workers=int(os.environ["WORLD_SIZE"]), bases=bases)
        steps = frozenset([job["stop_at"]]) if "stop_at" in job else frozenset()
        try:
            gauge = InTrial(WorkersAllocator) if job.get("reads_memory") else None
            record = run_trial(config, place, control(job), evaluate_at=steps, memory_gauge=gauge)
        except WorkerGroupBroken as broken:
            # In a sweep, the slot would report this to its hub.
            print(broken.record.model_dump_json() if broken.record else None, file=sys.stderr)
            raise
        if record.status != job.get("ends", "done"):
            sys.exit(f"{config.cell} {record.status}: {record.error}")
        if "base_origin" in job and record.base_origin != job["base_origin"]:
            sys.exit(f"{config.cell}: the base of worker {RANK} is {record.base_origin}")
    distributed.barrier()  # the first worker scores alone
    distributed.destroy_process_group()


if __name__ == "__main__":
    quiet.silence()
    main()
