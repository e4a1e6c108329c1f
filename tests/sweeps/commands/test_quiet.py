"""What commands print is ours: no line of a library reaches the user, on neither stream, whatever W&B's mode is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.sweeps import SPEC, write_spec
from trainables.data.embedded import commands

# Longer than the tokenizer's `model_max_length`, of which transformers warns.
LONG = {"prompt": "Say it again and again: " + "word " * 400, "completion": "word " * 400}
TEXT = SPEC.replace("steps: 100", "steps: 2").replace("cutoff: 64", "cutoff: 128")


def command(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, so that everything that its libraries print is seen."""
    others = {
        key: value for key, value in os.environ.items() if not key.startswith(("TRANSFORMERS", "WANDB"))
    }
    own = {"PARETUNE_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT), "COLUMNS": "110", **environment}
    for name in ("TQDM_DISABLE", "TRL_EXPERIMENTAL_SILENCE", "BITSANDBYTES_NOWELCOME"):
        others.pop(name, None)  # conftest.py has set these for the tests' own process
    return subprocess.run(
        [sys.executable, "-m", "sweeps.cli", *arguments],
        cwd=folder,
        env={**others, **own},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    rows = [
        *commands.rows()[:60],
        *({**LONG, "prompt": f"{number}. {LONG['prompt']}"} for number in range(4)),
    ]
    write_spec(tmp_path, tiny_model, TEXT, rows)
    return tmp_path


SLOW = "tokenizing rows: "  # said where it takes seconds, as on a busy machine


def test_plan_prints_its_own_lines_alone(folder: Path) -> None:
    epochs = ("--set", "train.steps=null", "--set", "train.epochs=1")  # so that all rows are tokenized
    done = command(folder, "plan", "spec.yaml", *epochs, WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr
    foreign = [line for line in done.stderr.splitlines() if not line.startswith(("warning: ", SLOW))]
    assert foreign == []
    assert "INFO" not in done.stdout
    assert done.stdout.startswith("sft-full: 3 trials of ")


def test_try_prints_its_own_lines_alone(folder: Path) -> None:
    done = command(folder, "try", "spec.yaml", "--method", "lora", WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr
    trial, record = done.stdout.splitlines()
    assert trial.startswith("sft-lora ")
    assert record.endswith("record.json")
    about_rows = ("warning: ", "rows.jsonl: completion format", "data rows.jsonl: ")
    ours = (*about_rows, SLOW, "sft-lora ", "it loads ", "step ", "trained ", "Not run: ")
    assert [line for line in done.stderr.splitlines() if not line.startswith(ours)] == []


def test_a_module_that_prints_while_it_is_imported_is_otherwise_as_it_was() -> None:
    program = (
        "from trainables.system import quiet; quiet.silence(); quiet.silence(); import inspect, sys\n"
        "from transformers.integrations import integration_utils as module\n"
        "assert module.__spec__.origin == module.__file__ == inspect.getsourcefile(module)\n"
        "assert 'WANDB_MODE' in inspect.getsource(module)\n"
        "assert sum('Printless' in type(finder).__name__ for finder in sys.meta_path) == 1\n"
        "print('ours')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "WANDB_MODE": "offline", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("ours\n", "")


def test_no_library_leaves_a_file_of_its_own_in_the_home_folder(tmp_path: Path) -> None:
    code = "from trainables.system import quiet; quiet.silence(); from ray.air.integrations import mlflow"
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert sorted(tmp_path.rglob("*")) == []
