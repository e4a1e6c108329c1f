"""Training steps with compiled decoder layers against steps with plain ones, in turn on the same batches.

    python -m tests.benchmarks.compiled_layers [lora|qlora|dora|full] [BATCHES]

Prints tokens per second of both, the seconds of compiling, and from how many steps on it pays. Seconds are of this
process's processor time, on one thread, so that other processes count less; forward and backward pass, no optimizer.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.config.train import TrainConfig
from trainables.data import loading
from trainables.methods import Full, LoRA, QLoRA
from trainables.models import locate
from trainables.stages import SFT
from trainables.system import quiet
from trainables.training.compiled_layers import compiled_layers
from trainables.training.compiler_cache import use_private_cache
from trainables.training.trainer_setup import training_arguments
from trainables.trial.config import TrialConfig
from trainables.trial.loading import attach, load_base
from trainables.trial.tokenizer import tokenizer_of

ROUNDS, BATCH, CUTOFF = 3, 8, 128
METHODS: dict[str, Any] = {
    "lora": lambda: LoRA(rank=8, alpha=16),
    "dora": lambda: LoRA(rank=8, alpha=16, dora=True),
    "qlora": lambda: QLoRA(rank=8, alpha=16),
    "full": Full,
}


def make_trainer(method: str, batches: int) -> tuple[Any, Any]:
    """The policy of SmolLM2 with a method, and its trainer on the embedded data."""
    train = TrainConfig(steps=batches, batch_size=BATCH, learning_rate=1e-4)
    config = TrialConfig(
        cell=method,
        method_name=method,
        model=ModelConfig(name="smollm2-135m"),
        data=DataConfig(train="commands", eval_rows=8, cutoff=CUTOFF),
        stage=SFT(),
        method=METHODS[method](),
        train=train,
    )
    folder = locate.fetch_model("smollm2-135m")
    policy = attach(load_base(config, folder), tokenizer_of(config), config)
    rows = loading.load(config.data, config.stage.row_type).train
    with tempfile.TemporaryDirectory() as output:
        options = training_arguments(train, batches, Path(output), 1, "cpu") | {"save_strategy": "no"}
        return policy, config.stage.trainer(policy, rows, train, CUTOFF, options)


def step(trainer: Any, batch: dict[str, Any]) -> tuple[float, float]:
    """Processor seconds and loss of a forward and backward pass, as in training."""
    started = time.process_time()
    with torch.autocast("cpu", torch.bfloat16):
        loss = trainer.compute_loss(trainer.model, dict(batch))
    loss.backward()
    seconds = time.process_time() - started
    trainer.model.zero_grad()
    return seconds, float(loss.detach())


def main() -> None:
    quiet.silence()
    use_private_cache()
    torch.set_num_threads(1)
    method, count = (sys.argv[1:2] or ["lora"])[0], int((sys.argv[2:3] or ["4"])[0])
    policy, trainer = make_trainer(method, count)
    trainer.model.train()
    batches = [batch for _, batch in zip(range(count), trainer.get_train_dataloader(), strict=False)]
    tokens = trainer.tokens_after(count) / count
    plain, compiled, differences = [], [], []
    with compiled_layers(policy):
        first = step(trainer, batches[0])[0]
    for _ in range(ROUNDS):
        for batch in batches:
            seconds, loss = step(trainer, batch)
            plain.append(seconds)
            with compiled_layers(policy):
                seconds, other = step(trainer, batch)
            compiled.append(seconds)
            differences.append(abs(other - loss) / loss)
    slow, fast = statistics.median(plain), statistics.median(compiled)
    print(
        f"{method}: plain {tokens / slow:.0f} tokens/s, compiled {tokens / fast:.0f}, ratio {slow / fast:.3f}"
    )
    print(f"{method}: compiling took {first - fast:.1f} s, loss differs by at most {max(differences):.2%}")
    if slow > fast:
        print(f"{method}: pays from {(first - fast) / (slow - fast):.0f} steps on")


if __name__ == "__main__":
    main()
