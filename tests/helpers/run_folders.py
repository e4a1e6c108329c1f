"""Run folders for the report's tests, as a sweep writes them: records, curves, predictions, journals."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainables.results import Record, write_record, write_tables

MIB = 1024**2
ROWS = 128


def record(trial_id: str, method: str = "lora", **changes: Any) -> Record:
    """The record of a done trial with every measurement; ``changes`` replaces fields."""
    base = method == "base"
    values: dict[str, Any] = {
        "trial_id": trial_id,
        "cell": f"sft-{method}",
        "stage": "sft",
        "method": method,
        "model": "smollm2-135m",
        "data": "commands",
        "seed": 0,
        "role": "base" if base else "search",
        "config": {"method": {"kind": method.split("-")[0]}, "train": {"learning_rate": 1e-3, "steps": 40}},
        "status": "done",
        "objective": 0.9,
        "objective_name": "exact_match",
        "quality": 0.9,
        "quality_name": "exact_match",
        "quality_higher_is_better": True,
        "quality_unit": "fraction",
        "test_rows": ROWS,
        "peak_train_bytes": 1000 * MIB,
        "memory_source": "rss",
    }
    if base:
        values |= {"objective": None, "peak_train_bytes": None, "config": {"method": None}}
    return Record.model_validate(values | changes)


def failed(trial_id: str, method: str = "lora", status: str = "failed", **changes: Any) -> Record:
    """A trial without a result."""
    nothing = {"objective": None, "quality": None, "quality_name": None, "quality_higher_is_better": None}
    return record(
        trial_id, method, status=status, **nothing | {"quality_unit": None, "test_rows": None} | changes
    )


def write_run(folder: Path, records: list[Record], **environment: Any) -> Path:
    """A run folder with these records, in this order."""
    for position, one in enumerate(records):
        trial = folder / "trials" / one.trial_id
        trial.mkdir(parents=True)
        (trial / "config.json").write_text(json.dumps(one.config))
        write_record(trial, one.model_copy(update={"started_at": f"2026-01-01T00:{position:02d}:00Z"}))
    write_tables(folder)
    (folder / "environment.json").write_text(json.dumps(environment))
    return folder


def write_data(run: Path, *entries: dict[str, Any]) -> Path:
    """The run's ``data.json``."""
    (run / "data.json").write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")
    return run


def piece(text: str, loss: bool = False, left_out: int = 0) -> dict[str, Any]:
    return {"text": text, "loss": loss, "left_out": left_out}


def data_entry(*rows: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """An entry of ``data.json``, as ``sweeps.console.data_preview.to_json`` makes it, with these example rows."""
    entry: dict[str, Any] = {
        "stage": "sft",
        "model": "smollm2-135m",
        "data": "commands",
        "rows": {"training": 2149, "validation": 64, "test": 64},
        "duplicates": 0,
        "overlap": 17,
        "sha256": "5e" * 32,
        "tokens": {
            "rows": 2149, "cutoff": 128, "cut": 11, "cut_share": 11 / 2149,
            "least": 38, "median": 53, "most": 128, "learned_share": 0.163,
            "padding_share": 0.041,
        },
        "histogram": [
            [38, 49, 640], [50, 61, 1187], [62, 73, 249], [74, 85, 38],
            [86, 97, 14], [98, 109, 6], [110, 121, 3], [122, 128, 12],
        ],
        "notes": ["commands: alpaca format (detected from its columns: instruction as prompt, output as response)"],
        "problems": ["4 of 2400 rows left out: 4 because the answer is empty (commands:17, 60, 1201, ...)"],
        "examples": list(rows) or _EXAMPLES,
    }  # fmt: skip
    return entry | changes


_ASKED = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
_EXAMPLES = [
    [piece(_ASKED.format("Wake me at 4 in the afternoon")), piece("alarm 4pm<|im_end|>\n", True)],
    [
        piece(_ASKED.format("你好，明天早上七点叫我起床，好吗？")), piece("alarm 7am<|im_end|>\n", True),
        piece(_ASKED.format("أيقظني في السابعة صباحا <script>alert(1)</script>")),
        piece("    if ringing:\n\tsnooze(7)  # twice<|im_end|>\n", True),
    ],
    [
        piece("<|im_start|>user\nSum this up: " + "once upon a midnight dreary, " * 30, left_out=81_540),
        piece("note once<|im_end|>\n", True),
    ],
]  # fmt: skip


def write_scores(
    run: Path,
    trial_id: str,
    scores: list[float],
    reference: str = "on",
    **more: Sequence[Any],
) -> None:
    """A trial's ``predictions.parquet``, with ``more`` columns."""
    rows = [
        {"row": row, "prompt": "[]", "reference": reference, "prediction": "on"}
        | {"score": score, **{name: values[row] for name, values in more.items()}}
        for row, score in enumerate(scores)
    ]
    pq.write_table(pa.Table.from_pylist(rows), run / "trials" / trial_id / "predictions.parquet")


def write_journal(
    run: Path,
    cell: str,
    trials: list[tuple[dict[str, Any], float]],
    domains: dict[str, Any],
    trial_ids: Sequence[str] = (),
    origins: Sequence[str] = (),
) -> None:
    """A cell's study, as Optuna's journal keeps it; with ``trial_ids``, each of its trials has the id of ours, with
    ``origins`` where its settings come from.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(JournalFileBackend(str(run / f"study-{cell}.journal")))
    study = optuna.create_study(study_name=cell, storage=storage, direction="maximize")
    for position, (params, value) in enumerate(trials):
        ids = {"trial_id": trial_ids[position]} if trial_ids else {}
        ids |= {"origin": origins[position]} if origins else {}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=domains, value=value, user_attrs=ids)
        )


def write_curves(run: Path, trial_id: str, end: float, steps: int) -> None:
    """A learning curve that nears ``end``."""
    lines = []
    for step in range(1, steps + 1):
        loss = (
            0.05
            + 2.2 * math.exp(-step / 9) * (1 + 0.12 * math.sin(step * 1.7 + len(trial_id)))
            + 0.4 * (1 - end)
        )
        lines.append({"step": step, "name": "train_loss", "value": loss})
        if step % 10 == 0:
            lines.append({"step": step, "name": "objective", "value": end * (1 - math.exp(-step / 11))})
    path = run / "trials" / trial_id / "curve.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_tables(run)


# method: share of weights that train, then MiB: weights, gradients, optimizer, load, train, eval, predicted
_COSTS = {
    "full": (1.0, 513.1, 513.1, 1026.3, 530, 2572.6, 780, 2531.8),
    "freeze": (0.105, 513.1, 54.0, 108.0, 530, 1047.0, 770, 1001.0),
    "lora": (0.018, 265.9, 9.3, 18.6, 275, 1028.1, 560, 973.2),
    "qlora-4bit": (0.018, 115.6, 9.3, 18.6, 290, 880.0, 420, 823.0),
}
# method, learning rate, rank, alpha, status, objective, quality, steps
_TRIALS: list[tuple[str, float, int | None, int | None, str, float | None, float | None, int]] = [
    ("full", 2.0e-4, None, None, "done", 0.977, 0.984, 40),
    ("full", 1.1e-4, None, None, "done", 0.906, 0.914, 40),
    ("full", 4.6e-3, None, None, "failed", None, None, 7),
    ("freeze", 5.0e-4, None, None, "done", 0.344, 0.352, 40),
    ("freeze", 1.9e-3, None, None, "done", 0.461, 0.445, 40),
    ("freeze", 1.2e-4, None, None, "stopped", 0.055, 0.047, 20),
    ("lora", 2.0e-3, 8, 16, "done", 0.984, 0.969, 40),
    ("lora", 4.1e-4, 16, 8, "stopped", 0.406, 0.398, 20),
    ("lora", 3.6e-3, 4, 32, "done", 0.953, 0.961, 40),
    ("lora", 1.2e-3, 16, 16, "done", 0.938, 0.945, 40),
    ("qlora-4bit", 2.0e-3, 8, 16, "done", 0.922, 0.930, 40),
    ("qlora-4bit", 9.0e-4, 16, 8, "done", 0.781, 0.766, 40),
    ("qlora-4bit", 3.1e-3, 16, 32, "out_of_memory", None, None, 0),
]
_ERRORS = {
    "failed": "the gradient's norm is NaN at step 7: the learning rate 0.0046 is too high",
    "out_of_memory": "RuntimeError: DefaultCPUAllocator: can't allocate memory",
}


def example_run(folder: Path) -> Path:
    """A sweep over sft with full, freeze, LoRA and QLoRA, as the shipped demo leaves one."""
    records = [record("base00000000", "base", quality=0.031, tokens_per_second=None, **_memory("lora", True))]
    records += [
        _trial(f"{position:02d}c41be7f{position:03d}", *row) for position, row in enumerate(_TRIALS, start=1)
    ]
    environment = {
        "name": "methods",
        "question": "What does each method cost in memory, and what does it buy in quality?",
        "command": "paretune run methods",
        "commit": "4f1c2d9",
        "python": "3.11.9",
        "host": "workstation",
        "cpus": 2,
        "cpu_model": "Xeon with AVX512-BF16",
        "memory_bytes": 16 * 1024**3,
        "gpus": [],
        "seconds": 512.3,
        "packages": {"torch": "2.13.0", "transformers": "5.24.0", "trl": "1.16.0", "peft": "0.21.2"},
        "notes": ["sft-full: the space holds 3 configs, so 3 of 4 trials run"],
    }
    write_run(folder, records, **environment)
    (folder / "spec.yaml").write_text(SPEC)
    write_data(folder, data_entry())
    for one in records:
        if one.quality is not None:
            write_scores(folder, one.trial_id, _row_scores(one), prediction=[None] * ROWS)
    for one, row in zip(records[1:], _TRIALS, strict=True):
        if row[7]:
            write_curves(folder, one.trial_id, row[5] or 0.3, row[7])
    for method in _COSTS:
        _study(folder, method)
    return folder


def _row_scores(one: Record) -> list[float]:
    """Right and wrong rows that make up a trial's quality: what a better trial gets wrong, a worse one mostly does."""
    dice = random.Random(one.trial_id)
    hardness = [row / ROWS + dice.gauss(0, 0.06) for row in range(ROWS)]
    right = sorted(range(ROWS), key=hardness.__getitem__)[: round((one.quality or 0) * ROWS)]
    return [1.0 if row in right else 0.0 for row in range(ROWS)]


def _memory(method: str, base: bool = False) -> dict[str, Any]:
    share, *mib = _COSTS[method]
    weights, gradients, optimizer, load, train, evaluate, predicted = (round(value * MIB) for value in mib)
    values: dict[str, Any] = {
        "baseline_bytes": 612 * MIB, "weight_bytes": weights, "peak_load_bytes": load,
        "peak_eval_bytes": evaluate, "total_params": 134_515_008, "memory_source": "rss",
    }  # fmt: skip
    if not base:
        values |= {
            "gradient_bytes": gradients, "optimizer_bytes": optimizer, "peak_train_bytes": train,
            "predicted_peak_bytes": predicted, "trainable_params": round(share * 134_515_008),
            "artifact_bytes": weights if share > 0.1 else round(9.4 * MIB),
        }  # fmt: skip
    return values


def _trial(
    trial_id: str, method: str, rate: float, rank: int | None, alpha: int | None, status: str,
    objective: float | None, quality: float | None, steps: int,
) -> Record:  # fmt: skip
    settings = {"rank": rank, "alpha": alpha} if rank else {"layers": 4} if method == "freeze" else {}
    config = {
        "method": {"kind": method.split("-")[0], **settings},
        "train": {
            "learning_rate": rate,
            "steps": 40,
            "batch_size": 8,
            "precision": "bf16",
            "optimizer": "adamw",
        },
    }
    speed = {"full": 236.0, "freeze": 402.0, "lora": 352.0, "qlora-4bit": 291.0}[method] + (rank or 0) / 3
    work = {"steps": steps, "tokens": steps * 424, "tokens_per_second": speed if steps else None} | _memory(
        method
    )
    times = {"setup_seconds": 0.9, "train_seconds": steps * 424 / speed, "eval_seconds": 8.1}
    result = {"objective": objective, "quality": quality, "error": _ERRORS.get(status)}
    make = failed if quality is None else record
    if status == "out_of_memory":
        work |= {"peak_train_bytes": None}
    packages = {"torch": "2.13.0", "peft": "0.21.2", "bitsandbytes": "0.50.2"}
    return make(
        trial_id, method, **{"status": status, "config": config, "packages": packages} | work | times | result
    )


def _study(folder: Path, method: str) -> None:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    domains: dict[str, Any] = {"train.learning_rate": FloatDistribution(1e-4, 5e-3, log=True)}
    adapter = method in ("lora", "qlora-4bit")
    if adapter:
        domains |= {
            "method.rank": CategoricalDistribution([4, 8, 16]),
            "method.alpha": CategoricalDistribution([8, 16, 32]),
        }  # fmt: skip
    trials = [
        (
            {"train.learning_rate": rate} | ({"method.rank": rank, "method.alpha": alpha} if adapter else {}),
            objective,
        )
        for name, rate, rank, alpha, _, objective, _, _ in _TRIALS
        if name == method and objective is not None
    ]
    write_journal(folder, f"sft-{method}", trials, domains)


SPEC = """\
name: methods
question: What does each method cost in memory, and what does it buy in quality?
model: {name: smollm2-135m, dtype: bfloat16}
data: {train: commands, eval_fraction: 0.1, cutoff: 256}
stages: [{kind: sft}]
methods:
  - {kind: full}
  - {kind: freeze, layers: 4}
  - {kind: lora, rank: {choice: [4, 8, 16]}, alpha: {choice: [8, 16, 32]}}
  - {kind: qlora, bits: 4, rank: {choice: [4, 8, 16]}}
train: {steps: 40, batch_size: 8, learning_rate: {log: [1.0e-4, 5.0e-3]}}
search: {trials: 4, sampler: tpe, scheduler: asha, seed: 0}
"""
