"""Runs, data and models of somebody with bad intent, through every command, in a folder of modules that are called like
those which the commands import.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

from sweeps.cli import app
from tests.helpers.clusters import free_port
from tests.helpers.hostile_models import CLIPBOARD, HOSTILE_MODELS, LOOP, REVERSED, TITLE
from tests.helpers.paths import ROOT
from tests.helpers.planted_modules import plant_modules
from tests.helpers.small_runs import make_run, trial_id_of
from tests.helpers.terminals import END_OF_FILE, ESCAPES, INTERRUPT, Terminal, user_environment
from tests.helpers.tiny_model import make_model
from trainables import results

PARETUNE = [sys.executable, "-P", "-m", "sweeps.cli"]
# What ends a command that would go on, once it says that it is ready, pressed every AGAIN_SECONDS.
ENDED_BY = {
    "chat": ("> ", END_OF_FILE),
    "serve": ("http://", INTERRUPT),
    "ui": ("http://", INTERRUPT),
    "init": ("]: ", "\r"),  # its questions have answers by default
}
AGAIN_SECONDS = 10.0
SPEC = """\
name: run
model: {path: ../%s}
data: {train: %s, cutoff: 64}
stages: [{kind: sft}]
methods: [{kind: lora}]
search: {trials: 1}
train: {steps: 2, learning_rate: 1.0e-3}
tracking: {wandb: off}
"""


@dataclass
class Scene:
    """``victim`` has this user's own files, which the rest leads to; commands run in ``planted``. ``ids`` is a run as
    any other, but for its trials: these have the ids of folders outside of it.
    """

    folder: Path
    run: Path
    trial: str

    @property
    def ids(self) -> Path:
        return self.folder / "ids"

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
    shutil.copytree(run, made.ids)
    _plant(made)
    _plant_ids(made)
    for name, plant in HOSTILE_MODELS.items():
        plant(Path(shutil.copytree(model, folder / "models" / name)), made.victim)
    return made


def _plant_ids(scene: Scene) -> None:
    """``../../victim`` beside the folders of trials is this user's own folder."""
    outside, trial = "../../victim", scene.ids / "trials" / scene.trial
    record = json.loads((trial / "record.json").read_text())
    (trial / "record.json").write_text(json.dumps(record | {"trial_id": outside, "start_trial": outside}))
    config = json.loads((trial / "config.json").read_text())
    config["model"]["start"] = {"cell": "sft-lora", "trial": outside, "folder": "/nowhere/model"}
    (trial / "config.json").write_text(json.dumps(config))
    rows = [row | {"trial_id": outside} for row in pq.read_table(scene.ids / "trials.parquet").to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, schema=results.SCHEMA), scene.ids / "trials.parquet")
    plan = {
        "trials": {"sft-lora": 1},
        "settled": {"CAUSAL_LM": {"../victim": f"{scene.trial}@1/../../../victim"}},
    }
    environment = {"name": "ids", "wandb_id": outside, "plan": plan, "trial_requests": 1}
    (scene.ids / "environment.json").write_text(json.dumps(environment))
    (scene.ids / "requests").mkdir()
    request = {
        "trial_id": outside,
        "cell": "../../victim",
        "like": outside,
        "changes": [],
        "requested_at": "",
    }
    (scene.ids / "requests" / "add-victim.json").write_text(json.dumps(request | {"config": config}))


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
        "rows": SPEC % ("model", "../data/rows.jsonl"),
        "bomb": SPEC % ("model", "../data/bomb.parquet"),
        "loop": SPEC % ("model", "../data/rows.jsonl, template: ../data/loop.jinja"),
        **{f"model-{name}": SPEC % (f"models/{name}", "../data/rows.jsonl") for name in HOSTILE_MODELS},
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
    "try rows.yaml --output tried",
    "chat {run}:{trial}",
    "serve {run}:{trial} --port {port}",
    "settle {run} --minutes 0.1",
    "wandb {run} --offline",
    "add {run} --like {trial} --set train.steps=3",
    "ui --runs {parent} --data . --port 0 --no-browser",
    "init ../data/rows.jsonl --model ../model --output made.yaml",
    "doctor",
    "studies",
    "fetch ../models/pickle",
    "fetch hf:../../victim",
    "drive {run}/given.json",
    *(f"{command} {{ids}}" for command in ("status", "report", "settle --minutes 0.1", "wandb --offline")),
    "chat {ids}:{trial}",
    "serve {ids}:{trial} --port {port}",
    "export {ids}:{trial} exported-ids",
    "evaluate {ids}:{trial} --data ../data/rows.jsonl --max-new-tokens 2 --output evaluated-ids",
    "add {ids} --like {trial} --set train.steps=3",
    *(f"plan model-{name}.yaml" for name in HOSTILE_MODELS),
    *(f"chat ../models/{name}" for name in HOSTILE_MODELS),
    "data model-control.yaml",
    "try model-control.yaml --output tried-control",
    "try model-auto_map.yaml --output tried-auto_map",
    "serve ../models/auto_map --port {port}",
    "export ../models/auto_map exported-auto_map",
]


def test_every_command_is_attacked() -> None:
    assert {command.split()[0] for command in COMMANDS} == set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def _end(terminal: Terminal, command: str, seconds: float = 400) -> None:
    """Waits until a command ends, and ends one that would go on."""
    ready, key = ENDED_BY.get(command, ("", ""))
    until, again = time.monotonic() + seconds, 0.0
    while terminal.process.poll() is None:
        if key and ready in terminal.shown and time.monotonic() > again:
            # A message first, for what a model answers.
            terminal.type(f"hi\r{key}" if command == "chat" else key)
            again = time.monotonic() + AGAIN_SECONDS
        assert time.monotonic() < until, f"{command} has not ended after {seconds} s: {terminal.shown!r}"
        terminal._read()
    terminal.end()


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_outside_is_written_nothing_is_run_and_every_message_can_be_shown(
    scene: Scene, command: str
) -> None:
    temporary = Path(tempfile.mkdtemp(prefix="pt-", dir="/tmp"))
    places = {"run": scene.run, "ids": scene.ids, "parent": scene.run.parent, "port": free_port()}
    words = command.format(trial=scene.trial, **places).split()
    before = sorted(path.name for path in scene.folder.iterdir())
    own = {"PARETUNE_HOME": str(scene.folder / "home"), "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    own |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with Terminal([*PARETUNE, *words], scene.planted, {**user_environment(), **own}, columns=200) as terminal:
        _end(terminal, words[0])
        screen = terminal.screen
    left = sorted(path.name for path in temporary.iterdir())
    shutil.rmtree(temporary, ignore_errors=True)
    assert left == []
    assert {path.read_text() for path in scene.victim.rglob("*") if path.is_file()} == {"mine"}
    assert sorted(path.name for path in scene.victim.rglob("*")) == ["id", "keys", "secret", "sweep"]
    assert sorted(path.name for path in scene.folder.iterdir() if path.name != "home") == [
        name for name in before if name != "home"
    ]
    assert "Traceback" not in screen
    # Rich's colours and cursor movements, and nothing else that a terminal obeys.
    rest = ESCAPES.sub("", screen).replace("\r\n", "\n").replace("\r", "")
    assert re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", rest) == []
