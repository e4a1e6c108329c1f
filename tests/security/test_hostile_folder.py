"""One run, one data folder and one model of somebody with bad intent, through every command that reads them."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers.paths import ROOT
from tests.helpers.planted_modules import plant_modules
from tests.helpers.small_runs import make_run, trial_id_of
from tests.helpers.terminals import ESCAPES, Terminal, user_environment
from tests.helpers.tiny_model import make_model

pytestmark = pytest.mark.slow

PARETUNE = [sys.executable, "-P", "-m", "sweeps.cli"]
CLIPBOARD, TITLE = "\x1b]52;c;ZXZpbA==\x07", "\x1b]0;owned\x07"
REVERSED = "\u202eevil"
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
SPEC = """\
name: run
model: {path: ../model}
data: {train: %s, cutoff: 64}
stages: [{kind: sft}]
methods: [{kind: lora}]
search: {trials: 1}
train: {steps: 2, learning_rate: 1.0e-3}
tracking: {wandb: off}
"""


@dataclass
class Scene:
    """``victim`` has this user's own files, which the rest leads to; commands run in ``planted``."""

    folder: Path
    run: Path
    trial: str

    @property
    def victim(self) -> Path:
        return self.folder / "victim"

    @property
    def planted(self) -> Path:
        return self.folder / "planted"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("hostile")
    model = make_model(folder / "model")
    run = make_run(folder, model, (None, "lora"))
    made = Scene(folder, run, trial_id_of(run, "sft-lora"))
    _plant(made)
    return made


def _plant(scene: Scene) -> None:
    victim, run, trial = scene.victim, scene.run, scene.run / "trials" / scene.trial
    (victim / "keys").mkdir(parents=True)
    for name in ("secret", "sweep", "keys/id"):
        (victim / name).write_text("mine")
    # Links where files are written.
    for name in (
        ".lock",
        "sweep.log",
        "driver.log",
        "trials.parquet",
        "curves.parquet",
        "resolved.yaml",
        ".stop",
    ):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(victim / "secret")
    (run / "report").symlink_to(victim / "keys")
    for number in range(os.getpid(), os.getpid() + 50):
        (run / f".trials.parquet.{number}.tmp").symlink_to(victim / "secret")
    # Names that lead out.
    listed = {
        "/data/rows.jsonl": {"at": "../../../victim/secret", "files": {"/data/rows.jsonl": ["/nowhere", 1]}}
    }
    (run / "given.json").write_text(json.dumps({"url": None, "paths": listed}))
    plan = {"trials": {"sft-lora": 1}, "settled": {"CAUSAL_LM": {"../../victim": "../../../victim/secret"}}}
    (run / "environment.json").write_text(json.dumps({"plan": plan}))
    (run / "spec.yaml").write_text(
        f"name: x\nquestion: !!python/object/apply:os.system ['touch {victim}/run']\n"
    )
    # Texts that a terminal or a spreadsheet would obey.
    record = json.loads((trial / "record.json").read_text())
    record |= {"error": f"{CLIPBOARD}{REVERSED}", "data": f"=cmd|{TITLE}", "cell": f"sft-lora{TITLE}"}
    (trial / "record.json").write_text(json.dumps(record))
    (trial / "error.txt").write_text(f"{CLIPBOARD}{TITLE}{REVERSED}\n")
    # Templates without end, tables that are larger than they look.
    data = scene.folder / "data"
    data.mkdir()
    row = {
        "messages": [{"role": "user", "content": f"{TITLE}hi"}, {"role": "assistant", "content": CLIPBOARD}]
    }
    (data / "rows.jsonl").write_text("".join(json.dumps(row | {"n": n}) + "\n" for n in range(8)))
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int8()), pa.array(["x" * 50_000]))
    pq.write_table(pa.table({"text": texts}), data / "bomb.parquet")
    (data / "loop.jinja").write_text(LOOP)
    # Modules that others are called by.
    plant_modules(scene.planted, victim / "imported")
    for name, text in {
        "rows": SPEC % "../data/rows.jsonl",
        "bomb": SPEC % "../data/bomb.parquet",
        "loop": SPEC % "../data/rows.jsonl, template: ../data/loop.jinja",
    }.items():
        (scene.planted / f"{name}.yaml").write_text(text)


COMMANDS = [
    "status {run}",
    "status {run} --json",
    "logs {run}",
    "logs {run} {trial}",
    "report {run}",
    "stop {run}",
    "data rows.yaml",
    "plan rows.yaml",
    "data bomb.yaml",
    "data loop.yaml",
    "plan loop.yaml",
    "export {run}:{trial} exported",
    "evaluate {run}:{trial} --data ../data/rows.jsonl --max-new-tokens 2 --output evaluated",
    "evaluate {run}:{trial} --data ../data/bomb.parquet --output unpacked",
    "evaluate {run}:{trial} ../data/rows.jsonl",  # rows where a second model belongs
    "run rows.yaml --resume --output {parent}",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_outside_is_written_nothing_is_run_and_every_message_can_be_shown(
    scene: Scene, command: str
) -> None:
    temporary = Path(tempfile.mkdtemp(prefix="pt-", dir="/tmp"))
    words = command.format(run=scene.run, trial=scene.trial, parent=scene.run.parent).split()
    own = {"PARETUNE_HOME": str(scene.folder / "home"), "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    own |= {"OMP_NUM_THREADS": "1"}
    with Terminal([*PARETUNE, *words], scene.planted, {**user_environment(), **own}, columns=200) as terminal:
        terminal.end(400)
        screen = terminal.screen
    shutil.rmtree(temporary, ignore_errors=True)
    assert {path.read_text() for path in scene.victim.rglob("*") if path.is_file()} == {"mine"}
    assert sorted(path.name for path in scene.victim.rglob("*")) == ["id", "keys", "secret", "sweep"]
    assert "Traceback" not in screen
    # Rich's colours and cursor movements, and nothing else that a terminal obeys.
    rest = ESCAPES.sub("", screen).replace("\r\n", "\n").replace("\r", "")
    assert re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", rest) == []
