"""Where a training step's processor time goes: a table by kind of work, of real steps of a trial.

    python -m tests.profile_step [METHOD] [STAGE] [--precision P] [--steps N] [--threads N] [--operations]

METHOD: lora (the default), full, qlora or freeze; STAGE: sft (the default) or another one with embedded data. Times are
those that torch's profiler gives to each operation itself, without the operations that it calls.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "addmv", "mv", "dot", "addmm_", "linear", "mkldnn_linear"}
ATTENTION = {
    "bmm", "baddbmm", "softmax", "_softmax", "_softmax_backward_data",
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention_for_cpu_backward",
}  # fmt: skip
COPIES = {"copy_", "_to_copy", "to", "clone", "contiguous"}
NORMS = {
    "pow",
    "mean",
    "rsqrt",
    "PowBackward0",
    "MeanBackward1",
    "RsqrtBackward0",
    "rms_norm",
    "_fused_rms_norm",
}
# What surrounds an operation in the profile: the kind of work that it belongs to.
SCOPES = {"LogProb": "head and loss", "Optimizer.step": "optimizer", "_foreach": "optimizer"}


def kind_of(name: str, scopes: list[str], shapes: list[Any], rank: int) -> str:
    """The kind of work of an operation, by its name, the operations around it and the shapes of its inputs."""
    for scope, kind in SCOPES.items():
        if any(scope in each for each in (name, *scopes)):
            return kind
    if name in ATTENTION:
        return "attention"
    if name in PRODUCTS:
        of_adapter = any(rank in shape for shape in shapes if isinstance(shape, list | tuple))
        return "products of adapters" if of_adapter else "products of the base"
    if name in COPIES:
        return "copies, most to another dtype"
    return "norms" if name in NORMS else "other operations"


def operations(events: Any, rank: int) -> Iterator[tuple[str, str, float]]:
    """(kind, name, seconds of processor time) of each operation of a profile."""
    for event in events:
        name, parent = event.name.removeprefix("aten::"), event.cpu_parent
        scopes = []
        while parent is not None:
            scopes.append(parent.name)
            parent = parent.cpu_parent
        yield kind_of(name, scopes, event.input_shapes or [], rank), name, event.self_cpu_time_total / 1e6


def profiled_steps(method: str, stage: str, precision: str, steps: int) -> tuple[Any, float, int]:
    """Trains a step, ``steps`` others without the profiler, and as many with it.

    Returns the events of the last ones, the processor time of the others in seconds, and the adapters' rank.
    """
    from torch.profiler import ProfilerActivity, profile
    from transformers import TrainerCallback

    from tests.benchmarks.throughput import trial_config
    from trainables.data import loading
    from trainables.models import locate
    from trainables.training.optimizers.build import use_optimizer
    from trainables.training.trainer_setup import clean_process, training_arguments
    from trainables.trial.loading import attach, load_base
    from trainables.trial.tokenizer import tokenizer_of

    config = trial_config(method, precision, stage)
    clean_process(config.train.precision)
    policy = attach(load_base(config, locate.model_folder(config.model)), tokenizer_of(config), config)
    rows = loading.load(config.data, config.stage.row_type).train
    profiler: Any = profile(activities=[ProfilerActivity.CPU], record_shapes=True)
    spent = [0.0]

    class Profiled(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 1:
                spent[0] = time.process_time()
            elif state.global_step == 1 + steps:
                profiler.start()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 1 + steps:
                spent[0] = time.process_time() - spent[0]
            elif state.global_step == 1 + 2 * steps:
                profiler.stop()

    with tempfile.TemporaryDirectory() as folder:
        train = config.train.model_copy(update={"steps": 1 + 2 * steps})
        options = training_arguments(train, train.steps or 0, Path(folder), 1, policy.device)
        trainer = config.stage.trainer(
            policy, rows, train, config.data.cutoff, options | {"save_strategy": "no"}
        )
        use_optimizer(trainer, policy, train)
        trainer.add_callback(Profiled())
        trainer.train()
    return profiler.events(), spent[0], int(getattr(config.method, "rank", 0))


def main() -> None:
    """Prints the table."""
    import torch

    from trainables.system import quiet

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", nargs="?", default="lora")
    parser.add_argument("stage", nargs="?", default="sft")
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp32"))
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--operations", action="store_true", help="the largest operations of each kind, too")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    quiet.silence()
    events, seconds, rank = profiled_steps(chosen.method, chosen.stage, chosen.precision, chosen.steps)
    by_kind: Counter[str] = Counter()
    by_name: Counter[tuple[str, str]] = Counter()
    products = 0.0
    for kind, name, own in operations(events, rank):
        by_kind[kind] += own
        by_name[kind, name] += own
        products += own if name in PRODUCTS else 0
    total = sum(by_kind.values())
    print(
        f"{chosen.method} {chosen.stage} {chosen.precision}, {chosen.threads} thread(s): seconds a step in operations"
    )
    for kind, own in by_kind.most_common():
        print(f"  {kind:32} {own / chosen.steps:7.3f}  {own / total:6.1%}")
        if chosen.operations:
            names = Counter({name: value for (of, name), value in by_name.items() if of == kind})
            for name, value in names.most_common(8):
                print(f"      {name:40} {value / chosen.steps:7.3f}")
    print(f"  {'all':32} {total / chosen.steps:7.3f}")
    print(f"processor time of a step without the profiler: {seconds / chosen.steps:.3f} s")
    print(json.dumps({"share_of_matrix_products": round(products / total, 3)}))


if __name__ == "__main__":
    main()
