"""Groups of workers on this machine, for tests of trials that several workers train together."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.helpers.paths import ROOT
from tests.helpers.trials import LETTER, NEW, make_config
from trainables.data import loading
from trainables.data.embedded.command_kinds import KINDS
from trainables.stages.rewards.rules import RULES
from trainables.storage import files
from trainables.trial.config import TrialConfig
from trainables.trial.tokenizer import load_tokenizer

ON_WORKERS = ROOT / "tests" / "helpers" / "on_workers.py"
LABELS = sorted(set(KINDS.values()))
STAGE_SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {"reward": "letter", "max_new_tokens": NEW},
    "grpo": {"reward": "letter", "max_new_tokens": NEW, "num_generations": 2, "beta": 0.1, "iterations": 2},
    "mlm": {"kind": "pretrain", "objective": "mlm"},
    # As planning takes them from the rows.
    "classification": {"labels": LABELS, "multi_label": False},
    "weighted": {
        "kind": "classification",
        "labels": LABELS,
        "multi_label": False,
        "class_weights": "balanced",
    },
}
# A step averages over one batch, over several, or over a last batch that isn't full (6 rows, 4 at a time).
LENGTHS: dict[str, dict[str, Any]] = {
    "steps": {"steps": 2},
    "accumulated": {"steps": 2, "gradient_accumulation": 2},
    "uneven": {"rows": 6},
}
SMALL: dict[str, Any] = {"dtype": "float32", "precision": "fp32", "eval_rows": 4, "eval_fraction": 0.95}


def job(config: TrialConfig, run: Path, **events: Any) -> dict[str, Any]:
    """One job in the form that ``on_workers.py`` reads."""
    return {"config": config.model_dump(mode="json"), "run": str(run), **events}


def train_together(folder: Path, jobs: list[dict[str, Any]], workers: int = 2) -> None:
    """Runs the jobs one after the other on a supervised group of ``workers``."""
    command = ["-m", "torch.distributed.run", "--standalone", "--local_addr", "127.0.0.1"]
    command += ["--nproc_per_node", str(workers), str(ON_WORKERS), str(write_jobs(folder, jobs))]
    done = subprocess.run(
        [sys.executable, *command], env=environment(), capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]


def start_unsupervised(
    folder: Path, jobs: list[dict[str, Any]], workers: int = 2
) -> list[subprocess.Popen[str]]:
    """Starts the workers without a supervisor: none is killed because another is gone."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    group = {"WORLD_SIZE": str(workers), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, str(ON_WORKERS), str(write_jobs(folder, jobs))]
    return [
        subprocess.Popen(
            command,
            env=environment() | group | {"RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in map(str, range(workers))
    ]


def write_jobs(folder: Path, jobs: list[dict[str, Any]]) -> Path:
    path = folder / "jobs.json"
    files.write_json(path, jobs)
    return path


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def worker_config(model: Path, stage: str, method: Any, length: str = "steps", **leaves: Any) -> TrialConfig:
    RULES["letter"] = LETTER
    leaves = {**SMALL, **LENGTHS[length], **leaves}
    own = {"kind": stage, **STAGE_SETTINGS.get(stage, {})}
    if stage == "ppo" and length != "steps":
        own |= {"mini_batches": 2, "normalize_scores": True, "whiten_rewards": True}
    rows = leaves.pop("rows", None)
    if rows is not None:
        cutoff = {"cutoff": leaves["cutoff"]} if "cutoff" in leaves else {}
        leaves["epochs"] = (rows + 0.01) / training_rows(
            make_config(model, "commands", method, stage=own, **SMALL, **cutoff)
        )
    return make_config(model, "commands", method, stage=own, **leaves)


def training_rows(config: TrialConfig) -> int:
    """The number of rows in one epoch."""
    assert config.model.path is not None
    rows = loading.load(config.data, config.stage.row_type).train
    tokens = config.stage.tokens(load_tokenizer(config.model.path), rows, config.data.cutoff)
    return len(tokens) // config.stage.examples_per_row
