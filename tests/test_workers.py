"""Trials that several workers train together: the same training as one worker's, shared."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trial_example import LETTER, NEW, curve, make_config, run

from trainables import files, results
from trainables.config import TrialConfig
from trainables.rewards import RULES

HERE = Path(__file__).parent
CELLS = [(stage, "full") for stage in ("pretrain", "sft", "reward", "ppo", "dpo", "kto", "orpo", "simpo")]
CELLS += [(stage, "lora") for stage in ("sft", "ppo", "dpo", "kto")]
OWN: dict[str, dict[str, Any]] = {"ppo": {"reward": "letter", "max_new_tokens": NEW}}
# How far from one worker's the loss may be; of what is averaged within a worker's rows and then over the workers,
# parts differ: kto's KL term, orpo's log-likelihood a token, ppo's whitened advantages (and its own samples).
NEAR = {"kto": 1e-2, "orpo": 1e-2, "ppo": 0.2}


@pytest.fixture(scope="module", autouse=True)
def letter() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RULES, "letter", LETTER)
        yield


def together(run_folder: Path, configs: list[TrialConfig], workers: int = 2) -> None:
    """Trains them one after the other on so many workers."""
    paths = [run_folder / f"{config.trial_id()}.json" for config in configs]
    for path, config in zip(paths, configs, strict=True):
        files.write_json(path, config.model_dump(mode="json"))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local_addr", "127.0.0.1"]
    command += ["--nproc_per_node", str(workers), str(HERE / "on_workers.py"), str(run_folder)]
    ours = os.pathsep.join([str(HERE.parent), str(HERE)])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ours}
    done = subprocess.run(
        [*command, *map(str, paths)], env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr[-3000:]


def config_of(model: Path, stage: str, method: str) -> TrialConfig:
    leaves: dict[str, Any] = {"steps": 2, "precision": "fp32", "eval_rows": 4, "eval_fraction": 0.95}
    return make_config(model, "commands", method, stage={"kind": stage, **OWN.get(stage, {})}, **leaves)


@pytest.fixture(scope="module")
def shared(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with every stage's trials, trained by two workers."""
    folder = tmp_path_factory.mktemp("two")
    together(folder, [config_of(tiny_model, stage, method) for stage, method in CELLS])
    return folder


@pytest.mark.parametrize(("stage", "method"), CELLS)
def test_two_workers_train_as_one_does(
    shared: Path, tiny_model: Path, tmp_path: Path, stage: str, method: str
) -> None:
    config, near = config_of(tiny_model, stage, method), NEAR.get(stage, 1e-4)
    alone, found = run(config, tmp_path), results.read_record(shared / "trials" / config.trial_id())
    assert found is not None
    assert (found.status, found.steps) == ("done", 2)
    assert stage == "ppo" or found.tokens == alone.tokens  # of its own answers, others are sampled
    losses = [value for _, value in curve(config, tmp_path)]
    assert [value for _, value in curve(config, shared)] == pytest.approx(losses, rel=near, abs=near)
