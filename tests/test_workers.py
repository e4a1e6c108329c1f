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

from trainables import data, files, results
from trainables.config import TrialConfig
from trainables.policy import load_tokenizer
from trainables.rewards import RULES

HERE = Path(__file__).parent
STAGES = ("pretrain", "sft", "reward", "ppo", "dpo", "kto", "orpo", "simpo")
OWN: dict[str, dict[str, Any]] = {"ppo": {"reward": "letter", "max_new_tokens": NEW}}
# What is averaged over a step: of one batch, of several, and of a last batch that isn't full (6 rows, 4 at a time).
LENGTHS: dict[str, dict[str, Any]] = {
    "steps": {"steps": 2},
    "accumulated": {"steps": 2, "gradient_accumulation": 2},
    "uneven": {"rows": 6},
}
CELLS = [(stage, "full", "steps") for stage in STAGES]
CELLS += [(stage, "lora", "accumulated") for stage in ("ppo", "dpo", "kto", "orpo")]
EVERY = [(stage, method, length) for stage in STAGES for method in ("full", "lora") for length in LENGTHS]
REST = [cell for cell in EVERY if cell not in CELLS]


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


def config_of(model: Path, stage: str, method: str, length: str = "steps") -> TrialConfig:
    leaves: dict[str, Any] = {"precision": "fp32", "eval_rows": 4, "eval_fraction": 0.95, **LENGTHS[length]}
    own = dict(OWN.get(stage, {}))
    if stage == "ppo" and length != "steps":
        own |= {"mini_batches": 2, "normalize_scores": True, "whiten_rewards": True}
    rows = leaves.pop("rows", None)
    if rows is not None:
        leaves["epochs"] = (rows + 0.01) / training_rows(model, stage, method, leaves)
    return make_config(model, "commands", method, stage={"kind": stage, **own}, **leaves)


def training_rows(model: Path, stage: str, method: str, leaves: dict[str, Any]) -> int:
    config = make_config(model, "commands", method, stage={"kind": stage, **OWN.get(stage, {})}, **leaves)
    rows = data.load(config.data, config.stage.needs).train
    return len(config.stage.tokens(load_tokenizer(model), rows, config.data.cutoff)) // config.stage.sequences


@pytest.fixture(scope="module")
def shared(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with every stage's trials, trained by two workers."""
    folder = tmp_path_factory.mktemp("two")
    together(folder, [config_of(tiny_model, *cell) for cell in CELLS])
    return folder


def trains_as_one_does(config: TrialConfig, shared: Path, alone: Path) -> None:
    one, found = run(config, alone), results.read_record(shared / "trials" / config.trial_id())
    assert found is not None
    assert (found.status, found.steps, found.tokens) == ("done", 2, one.tokens)
    for name in ("train_loss", "grad_norm"):
        expected = [value for _, value in curve(config, alone, name)]
        assert [value for _, value in curve(config, shared, name)] == pytest.approx(expected, rel=1e-4)
    assert found.objective == pytest.approx(one.objective, rel=1e-4)


@pytest.mark.parametrize(("stage", "method", "length"), CELLS)
def test_two_workers_train_as_one_does(
    shared: Path, tiny_model: Path, tmp_path: Path, stage: str, method: str, length: str
) -> None:
    trains_as_one_does(config_of(tiny_model, stage, method, length), shared, tmp_path)


@pytest.mark.slow
def test_two_workers_train_as_one_does_with_any_number_of_batches(tiny_model: Path, tmp_path: Path) -> None:
    configs = [config_of(tiny_model, *cell) for cell in REST]
    together(tmp_path / "two", configs)
    for config in configs:
        trains_as_one_does(config, tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
def test_a_last_batch_that_cannot_be_shared_evenly_has_rows_more(tiny_model: Path, tmp_path: Path) -> None:
    """7 rows, 4 at a time: one worker trains on 7, two on 8."""
    config = make_config(tiny_model, "commands", "lora", epochs=7.01 / 120, eval_rows=4, eval_fraction=0.95)
    count = training_rows(tiny_model, "sft", "lora", {"eval_rows": 4, "eval_fraction": 0.95})
    train = config.train.model_copy(update={"epochs": 7.01 / count})
    assert (train.rows_seen(2, count), train.rows_seen(2, count, workers=2)) == (7, 8)
    config = config.model_copy(update={"train": train})
    together(tmp_path, [config])
    found = results.read_record(tmp_path / "trials" / config.trial_id())
    assert found is not None
    assert (found.status, found.steps) == ("done", 2)
