"""How long a trial takes to its first step: where its base model is loaded for it, and where it has stayed.

    python -m tests.benchmarks.trial_setup [lora|qlora-4bit|qlora-8bit] [TRIALS] [THREADS]

Runs trials of SmolLM2-135M with other ranks and rates one after the other in this process, as a slot does, and prints
for each the record's ``setup_seconds`` and the processor time of the same span. Libraries are imported before, as a
slot does when it starts.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import peft  # noqa: F401
import torch
from trl import SFTTrainer  # noqa: F401

from tests.gpu.worker import prepare
from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.config.train import TrainConfig
from trainables.methods import LoRA, Method, QLoRA
from trainables.runner.run import TrialContext, run_trial
from trainables.stages import SFT
from trainables.training.activity import Activity
from trainables.training.training_callback import NoControl
from trainables.trial.config import TrialConfig
from trainables.trial.resident_base import ResidentBase

STEPS = 2


class Watch(NoControl):
    """Takes the processor time when the first step begins."""

    at_first_step: float | None = None

    def follow(self, activity: Activity) -> None:
        if self.at_first_step is None and activity.phase == "training":
            self.at_first_step = time.process_time()


def method_of(name: str, rank: int) -> Method:
    return LoRA(rank=rank) if name == "lora" else QLoRA(rank=rank, bits=4 if name == "qlora-4bit" else 8)


def trial(name: str, number: int) -> TrialConfig:
    return TrialConfig(
        cell=name,
        method_name=name,
        model=ModelConfig(name="smollm2-135m"),
        data=DataConfig(train="commands", eval_rows=8, cutoff=128),
        stage=SFT(),
        method=method_of(name, 4 * (1 + number % 2)),
        train=TrainConfig(steps=STEPS, batch_size=4, learning_rate=1e-3 * (1 + number)),
    )


def main() -> None:
    name = (sys.argv[1:2] or ["qlora-4bit"])[0]
    count, threads = int((sys.argv[2:3] or ["4"])[0]), int((sys.argv[3:4] or ["1"])[0])
    torch.set_num_threads(threads)
    bases = ResidentBase()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        prepare(run)
        for number in range(count):
            watch, began = Watch(), time.process_time()
            context = TrialContext(run, handed_over_at=time.time(), bases=bases)
            record = run_trial(trial(name, number), context, watch)
            assert watch.at_first_step is not None, record.error
            print(
                f"{name}: base {record.base_origin}, set-up {record.setup_seconds:.2f} s, "
                f"of them processor {watch.at_first_step - began:.2f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
