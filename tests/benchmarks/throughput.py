"""Tokens per second: a trial of Paretune's against a plain TRL script with the same settings, in turn.

    python -m tests.benchmarks.throughput [ROUNDS] [--precision fp32] [--steps N] [--methods lora ...]   # `make bench`

Each measurement is a process of its own on all cores, and the two take turns, so that a machine that slows down
slows both. Seconds run from the first training step's start to the last one's end; so does processor time, which tells
more on a machine that has other work.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainables.trial.config import TrialConfig

STEPS, BATCH, RATE, CUTOFF = 16, 8, 2e-3, 128
DTYPES = {"bf16": "bfloat16", "fp32": "float32"}
Speed = tuple[float, float]  # tokens by second, and by second of processor time
METHODS = ("lora", "full", "qlora")


def plain(method: str, precision: str, steps: int) -> Speed:
    """What TRL's documentation shows: a model, a LoRA, SFTTrainer on prompt and completion."""
    from tests.helpers.plain_trl import PlainScript
    from trainables.config.data import DataConfig
    from trainables.models import locate

    data = DataConfig(train="commands", cutoff=CUTOFF)
    folder = locate.fetch_model("smollm2-135m")
    script = PlainScript(folder, data, method, steps, BATCH, RATE, precision=precision)
    tokens, clock = script.train()
    return tokens / clock.seconds, tokens / clock.processor_seconds


def trial_config(method: str, precision: str = "bf16", stage: str = "sft", steps: int = STEPS) -> TrialConfig:
    """One trial of ours with the settings of the script."""
    from trainables.config.data import DataConfig
    from trainables.config.model import ModelConfig
    from trainables.config.train import TrainConfig
    from trainables.trial.config import TrialConfig

    return TrialConfig.model_validate(
        {
            "cell": f"{stage}-{method}",
            "method_name": method,
            "model": ModelConfig(name="smollm2-135m", dtype=DTYPES[precision]),
            "data": DataConfig(train="commands", eval_rows=8, cutoff=CUTOFF),
            "stage": {"kind": stage},
            "method": {"kind": method, **({"rank": 8, "alpha": 16} if "lora" in method else {})},
            "train": TrainConfig(steps=steps, batch_size=BATCH, learning_rate=RATE, precision=precision),
        }
    )


def ours(method: str, precision: str, steps: int) -> Speed:
    """The same as one trial of ours."""
    from transformers import trainer

    from tests.helpers.plain_trl import Clock
    from trainables.runner.run import TrialContext, run_trial

    clock = Clock()
    trainer.DEFAULT_CALLBACKS.append(clock)  # type: ignore[arg-type]  # an instance does as well
    with tempfile.TemporaryDirectory() as output:
        record = run_trial(trial_config(method, precision, steps=steps), TrialContext(Path(output)))
    assert record.tokens_per_second is not None, record.error
    assert record.tokens is not None
    return record.tokens_per_second, record.tokens / clock.processor_seconds


def _measured(what: str, method: str, precision: str, steps: int) -> Speed:
    command = [sys.executable, "-m", "tests.benchmarks.throughput", what, method, precision, str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    by_time, by_processor_time = json.loads(done.stdout.splitlines()[-1])
    return by_time, by_processor_time


def main() -> None:
    """Runs one measurement (``plain lora bf16 16``), or all of them in turn."""
    if sys.argv[1:2] in (["plain"], ["ours"]):
        from trainables.system import quiet

        quiet.silence()
        print(json.dumps({"plain": plain, "ours": ours}[sys.argv[1]](*sys.argv[2:4], int(sys.argv[4]))))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=3)
    parser.add_argument("--precision", choices=tuple(DTYPES), default="bf16")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    chosen = parser.parse_args()
    for method in chosen.methods:
        ratios: list[tuple[float, float]] = []
        for _ in range(chosen.rounds):
            theirs, own = (
                _measured(what, method, chosen.precision, chosen.steps) for what in ("plain", "ours")
            )
            ratios.append((own[0] / theirs[0], own[1] / theirs[1]))
            print(
                f"{method} {chosen.precision}: TRL {theirs[0]:.0f} tokens/s, Paretune {own[0]:.0f}, ratio "
                f"{ratios[-1][0]:.3f}; per second of processor time {theirs[1]:.0f} and {own[1]:.0f}, ratio "
                f"{ratios[-1][1]:.3f}",
                flush=True,
            )
        medians = [statistics.median(each) for each in zip(*ratios, strict=True)]
        print(
            f"{method} {chosen.precision}: median ratio {medians[0]:.3f}; of processor time {medians[1]:.3f}"
        )


if __name__ == "__main__":
    main()
