"""One of a group of workers that train trials together: ``torchrun tests/helpers/on_workers.py JOBS``.

JOBS is a JSON file, a list of ``{config, run}``; ``interrupt_at`` and ``stop_at`` say at which step, ``fails`` on which
worker memory runs out, ``dies`` which is killed, both in the second step. A job that ends as ``ends`` says is right.
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
    from tests.helpers.trials import At

    decisions = {f"step{job['stop_at']}": "stop"} if "stop_at" in job else {}

    class Control(At):
        def interrupted(self) -> bool:
            if self.asked == 1 and job.get("dies") == RANK:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.asked == 1 and job.get("fails") == RANK:
                raise MemoryError("none left")
            return super().interrupted()

    # One worker alone is asked to leave, and all of them have to.
    return Control(job.get("interrupt_at") if RANK == 1 else None, **decisions)


def main() -> None:
    from torch import distributed

    from tests.helpers.trials import LETTER
    from trainables.runner.run import TrialContext, run_trial
    from trainables.stages.ppo.reward_rules import RULES
    from trainables.training.worker_group import WorkerGroupBroken
    from trainables.trial.config import TrialConfig

    RULES["letter"] = LETTER
    for job in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        config = TrialConfig.model_validate(job["config"])
        place = TrialContext(Path(job["run"]), workers=int(os.environ["WORLD_SIZE"]))
        steps = frozenset([job["stop_at"]]) if "stop_at" in job else frozenset()
        try:
            record = run_trial(config, place, control(job), evaluate_at=steps)
        except WorkerGroupBroken as broken:
            # A slot's hub would be told.
            print(broken.record.model_dump_json() if broken.record else None, file=sys.stderr)
            raise
        if record.status != job.get("ends", "done"):
            sys.exit(f"{config.cell} {record.status}: {record.error}")
    distributed.barrier()  # the first scores what the others don't
    distributed.destroy_process_group()


if __name__ == "__main__":
    quiet.silence()
    main()
