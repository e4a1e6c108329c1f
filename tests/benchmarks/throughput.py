"""Tokens per second: a trial of Paretune's against a plain TRL script with the same settings, in turn.

    python -m tests.benchmarks.throughput [ROUNDS]      # `make bench`: a table and the ratio

Each measurement is a process of its own on all cores, and the two take turns, so that a machine that slows down
slows both. Seconds run from the first training step's start to the last one's end.
"""

from __future__ import annotations

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
METHODS = ("lora", "full", "qlora")


def plain(method: str) -> float:
    """What TRL's documentation shows: a model, a LoRA, SFTTrainer on prompt and completion."""
    from tests.helpers.plain_trl import PlainScript
    from trainables.config.data import DataConfig
    from trainables.models import locate

    data = DataConfig(train="commands", cutoff=CUTOFF)
    folder = locate.fetch_model("smollm2-135m")
    return PlainScript(folder, data, method, STEPS, BATCH, RATE).tokens_per_second()


def trial_config(method: str, stage: str = "sft", steps: int = STEPS) -> TrialConfig:
    """The same as one trial of ours."""
    from trainables.config.data import DataConfig
    from trainables.config.model import ModelConfig
    from trainables.config.train import TrainConfig
    from trainables.trial.config import TrialConfig

    return TrialConfig.model_validate(
        {
            "cell": f"{stage}-{method}",
            "method_name": method,
            "model": ModelConfig(name="smollm2-135m"),
            "data": DataConfig(train="commands", eval_rows=8, cutoff=CUTOFF),
            "stage": {"kind": stage},
            "method": {"kind": method, **({"rank": 8, "alpha": 16} if "lora" in method else {})},
            "train": TrainConfig(steps=steps, batch_size=BATCH, learning_rate=RATE),
        }
    )


def ours(method: str) -> float:
    """Tokens per second of the same as one trial of ours."""
    from trainables.runner.run import TrialContext, run_trial

    with tempfile.TemporaryDirectory() as output:
        record = run_trial(trial_config(method), TrialContext(Path(output)))
    assert record.tokens_per_second is not None, record.error
    return record.tokens_per_second


def _measured(what: str, method: str) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.throughput", what, method]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Runs one measurement (``plain lora``), or all of them in turn."""
    if sys.argv[1:2] in (["plain"], ["ours"]):
        from trainables.system import quiet

        quiet.silence()
        print(json.dumps({"plain": plain, "ours": ours}[sys.argv[1]](sys.argv[2])))
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    for method in METHODS:
        pairs = [(_measured("plain", method), _measured("ours", method)) for _ in range(rounds)]
        for theirs, own in pairs:
            print(
                f"{method}: TRL {theirs:.0f} tokens/s, Paretune {own:.0f} tokens/s, ratio {own / theirs:.3f}"
            )
        print(f"{method}: median ratio {statistics.median(own / theirs for theirs, own in pairs):.3f}")


if __name__ == "__main__":
    main()
