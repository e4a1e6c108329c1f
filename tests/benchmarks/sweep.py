"""The same 16 LoRA configs by a sweep of Paretune's, and by a loop over a plain TRL script.

    python -m tests.benchmarks.sweep [--steps N] [--rows N]      # `make bench-sweep`

Ranks 4, 8, 16, 32 x learning rates 1e-4, 5e-4, 2e-3, 8e-3, 40 steps x 8 rows of the embedded commands, on all cores.
The loop loads, trains and evaluates one after the other; the best of each side, by its own validation loss, is scored
on the same test rows by the same code, outside of the loop's time. Seconds run from the command to its end.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RANKS, RATES = (4, 8, 16, 32), (1e-4, 5e-4, 2e-3, 8e-3)
BATCH, CUTOFF, MODEL = 8, 128, "smollm2-135m"
POLL_SECONDS = 0.5
SPEC = """\
name: bench
question: Which rank and learning rate?
model: {{name: {model}}}
data: {{train: commands, eval_fraction: 0.1, eval_rows: {rows}, cutoff: {cutoff}}}
stages: [{{kind: sft}}]
methods: [{{kind: lora, rank: {{choice: {ranks}}}}}]
train: {{steps: {steps}, batch_size: {batch}, learning_rate: {{choice: {rates}}}}}
search: {{trials: 16, sampler: random}}
finalists: {{seeds: 1}}
tracking: {{wandb: off}}
"""


@dataclass(frozen=True)
class Side:
    """One side's seconds and its best model on the test rows."""

    seconds: float
    best: str
    loss: float
    exact_match: float

    def __str__(self) -> str:
        return (
            f"{self.seconds:.0f} s; best {self.best}: held-out loss {self.loss:.4f} nats per token, exact match "
            f"{self.exact_match:.3f}"
        )


def run_ours(steps: int, rows: int, folder: Path) -> tuple[Side, float | None, float]:
    """The sweep by the command line; the seconds until the first comparison, and until the final winner leads."""
    from trainables.results import best, read_run

    spec = folder / "bench.yaml"
    settings = {"ranks": list(RANKS), "rates": list(RATES), "batch": BATCH, "cutoff": CUTOFF, "model": MODEL}
    spec.write_text(SPEC.format(**settings, steps=steps, rows=rows))
    run = folder / "runs" / "bench"
    started = time.monotonic()
    command = [sys.executable, "-m", "sweeps.cli", "run", str(spec), "--output", str(folder / "runs")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    first: float | None = None
    leads: list[tuple[float, str]] = []
    while process.poll() is None:
        now = time.monotonic() - started
        first = first or (now if _first_comparison(run) else None)
        leader = _leader(run)
        if leader is not None and (not leads or leads[-1][1] != leader):
            leads.append((now, leader))
        time.sleep(POLL_SECONDS)
    seconds = time.monotonic() - started
    if process.returncode:
        raise RuntimeError(f"the sweep ended with {process.returncode}")
    winner = best(read_run(run).records)
    assert winner is not None
    assert winner.quality is not None
    named = f"rank {winner.config['method']['rank']}, rate {winner.config['train']['learning_rate']:g}"
    side = Side(seconds, named, winner.metrics["loss"], winner.metrics["exact_match"])
    # From the last time on that it took the lead.
    return (
        side,
        first,
        next((moment for moment, leader in reversed(leads) if leader == winner.trial_id), seconds),
    )


def _first_comparison(run: Path) -> Any:
    path = run / "environment.json"
    return path.exists() and json.loads(path.read_text()).get("first_comparison")


def _leader(run: Path) -> str | None:
    """The best of the trials that have come furthest, by what they were compared by there."""
    from trainables.results import TRAINING_OBJECTIVE, read_curve

    ahead: tuple[int, float] | None = None
    leader = None
    for folder in (run / "trials").glob("*"):
        for point in read_curve(folder):
            if point["name"] in ("objective", TRAINING_OBJECTIVE) and not folder.name.startswith("."):
                place = (point["step"], point["value"])
                if ahead is None or place > ahead:
                    ahead, leader = place, folder.name
    return leader


def run_plain(steps: int, rows: int, folder: Path) -> Side:
    """The loop, in a process of its own."""
    started = time.monotonic()
    command = [sys.executable, "-m", "tests.benchmarks.sweep", "--loop", str(folder)]
    done = subprocess.run(
        [*command, "--steps", str(steps), "--rows", str(rows)], stdout=subprocess.PIPE, text=True, check=True
    )
    ended = json.loads(done.stdout.splitlines()[-1])
    seconds = time.monotonic() - started - ended["scoring_seconds"]
    return Side(seconds, ended["best"], ended["loss"], ended["exact_match"])


def loop(steps: int, rows: int, folder: Path) -> dict[str, Any]:
    """Trains and evaluates all configs with the plain script, and scores the best on the test rows."""
    from tests.helpers.plain_trl import PlainScript
    from trainables.config.data import DataConfig
    from trainables.models import locate

    data = DataConfig(train="commands", eval_rows=rows, cutoff=CUTOFF, split_by="first_turn")
    found: list[tuple[float, int, float, Path]] = []
    for rank, rate in itertools.product(RANKS, RATES):
        script = PlainScript(locate.fetch_model(MODEL), data, "lora", steps, BATCH, rate, rank=rank)
        adapter = folder / f"plain-{rank}-{rate:g}"
        found.append((script.validation_loss(adapter), rank, rate, adapter))
    _, rank, rate, adapter = min(found)
    started = time.monotonic()
    metrics = score(data, rank, adapter)
    return {
        "best": f"rank {rank}, rate {rate:g}",
        "loss": metrics["loss"],
        "exact_match": metrics["exact_match"],
        "scoring_seconds": time.monotonic() - started,
    }


def score(data: Any, rank: int, adapter: Path) -> dict[str, float]:
    """The test rows' metrics of a saved adapter, as a trial of ours scores them."""
    from peft import set_peft_model_state_dict
    from peft.utils import load_peft_weights

    from trainables.config.model import ModelConfig
    from trainables.config.train import TrainConfig
    from trainables.data import loading
    from trainables.methods import LoRA
    from trainables.models import locate
    from trainables.stages import SFT
    from trainables.trial.config import TrialConfig
    from trainables.trial.loading import attach, load_base
    from trainables.trial.tokenizer import load_tokenizer

    config = TrialConfig(
        cell="sft-lora",
        method_name="lora",
        model=ModelConfig(name=MODEL),
        data=data,
        stage=SFT(),
        method=LoRA(rank=rank, alpha=2 * rank),
        train=TrainConfig(steps=1, learning_rate=1e-3),
    )
    base = locate.fetch_model(MODEL)
    policy = attach(load_base(config, base), load_tokenizer(base), config)
    set_peft_model_state_dict(policy.model, load_peft_weights(str(adapter)))
    split = loading.load(data)
    with policy.evaluating():
        return config.stage.score(policy, split, split.test, CUTOFF).metrics


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rows", type=int, default=64, help="validation rows, and as many test rows")
    parser.add_argument("--loop", type=Path, help="only the loop, with its adapters in this folder")
    options = parser.parse_args()
    if options.loop is not None:
        from trainables.system import quiet

        quiet.silence()
        print(json.dumps(loop(options.steps, options.rows, options.loop)))
        return
    with tempfile.TemporaryDirectory() as folder:
        ours, first, leads = run_ours(options.steps, options.rows, Path(folder))
        plain = run_plain(options.steps, options.rows, Path(folder))
    print(f"Paretune: {ours}")
    print(f"  first comparison of all 16 after {first:.0f} s" if first else "  no first comparison was made")
    print(f"  the winner leads from {leads:.0f} s on; the end after {ours.seconds:.0f} s")
    print(f"plain TRL loop: {plain}")
    print(
        f"ratio of seconds {plain.seconds / ours.seconds:.2f}; held-out loss {ours.loss - plain.loss:+.4f}, "
        f"exact match {ours.exact_match - plain.exact_match:+.3f}"
    )


if __name__ == "__main__":
    main()
