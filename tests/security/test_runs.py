"""The promises of sweeps/README.md, Security, about runs: no secret anywhere, no strangers, nothing planted is run."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from reports import write
from tests.helpers import specs
from tests.helpers.clusters import SETTINGS, Cluster
from tests.helpers.planted_modules import plant_modules
from tests.helpers.runs_with_sets import make_run
from tests.helpers.sweeps import METHODS, SPEC, Command, Home, records, start, wandb_runs, write_spec
from tests.helpers.trials import ScriptedControl, make_config, write_rows
from trainables.results import Tables
from trainables.runner.run import TrialContext, run_trial
from trainables.training.checkpoints import COMPLETE, file_sizes

NAMES = (
    "WANDB_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS", "AZURE_STORAGE_KEY", "MODELSCOPE_API_TOKEN",
    "RAY_AUTH_TOKEN",
)  # fmt: skip
CANARIES = {name: f"{n:02}ca9a5e" * 5 for n, name in enumerate(NAMES)}  # a W&B key has 40 characters
# One cell, whose only trial fails; the base's ends well. Both become W&B runs.
TINY = (
    SPEC.replace(METHODS, "methods: [{kind: lora}]\n")
    .replace("{log: [1.0e-4, 5.0e-3]}", "1.0e+30, max_grad_norm: null")
    .replace("steps: 100", "steps: 4")
    .replace("trials: 3", "trials: 1")
    .replace("concurrent: 2", "concurrent: 1")
    .replace("wandb: off", "wandb: offline")
)


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A short folder: Ray's sockets are in there."""
    folder = Path(tempfile.mkdtemp(prefix="pt-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


# Secrets, and who may come in


@pytest.mark.sweep
def test_a_sweep_on_this_machine_reveals_no_secret_and_lets_nobody_in(
    tmp_path: Path, tiny_model: Path, temporary: Path
) -> None:
    home = Home(tmp_path / "home", temporary, shared_cache=False)
    spec = write_spec(tmp_path / "spec", tiny_model, TINY)
    # Whatever the shell says of other clusters.
    shell = {**CANARIES, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": "127.0.0.1:1"}
    planted = plant_modules(tmp_path / "planted", tmp_path / "imported")
    command = start(home, "run", spec, "--output", tmp_path / "runs", cwd=planted, **shell)
    seen = _watched(command, temporary)
    assert command.wait() == 1, command.stderr
    run = tmp_path / "runs" / "tiny"
    assert sorted(record.status for record in records(run).values()) == ["done", "failed"]
    assert list((run / "trials").glob("*/error.txt"))
    assert len(wandb_runs(run)) == 3
    assert [found for place in (tmp_path, temporary) for found in _holding(place)] == []
    assert [line for line in seen.lines for value in CANARIES.values() if value in line] == []
    assert {address for address in seen.listening if not _is_loopback(address)} == set()
    assert seen.answers == {"no token": "UNAUTHENTICATED", "a wrong token": "UNAUTHENTICATED"}
    assert not (home.folder / "home" / ".ray" / "auth_token").exists()
    assert not (tmp_path / "imported").exists(), (tmp_path / "imported").read_text()
    assert seen.secrets == set()
    assert seen.modes == {0o700}
    assert list(temporary.glob("paretune-ray-*")) == []


class _Seen:
    """What another user of the machine can see of a running sweep, and what its Ray writes."""

    def __init__(self) -> None:
        self.lines: set[str] = set()  # of the commands of all processes
        self.listening: set[str] = set()
        self.answers: dict[str, str] = {}
        self.modes: set[int] = set()  # of the folders that its Ray keeps everything in
        self.secrets: set[tuple[str, Path]] = set()


def _watched(command: Command, temporary: Path) -> _Seen:
    seen = _Seen()
    while command.process.poll() is None:
        with contextlib.suppress(FileNotFoundError):  # removed at the end
            seen.modes |= {folder.stat().st_mode & 0o777 for folder in temporary.glob("paretune-ray-*")}
            seen.secrets |= set(_holding(temporary))
        for process in list(command.family.values()):
            with contextlib.suppress(psutil.Error):
                seen.lines.add(" ".join(process.cmdline()))
                ports = [c.laddr for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
                seen.listening |= {address.ip for address in ports}
                if process.name() == "gcs_server" and ports and not seen.answers:
                    seen.answers = _request_nodes(ports[0].port)
        time.sleep(0.5)
    return seen


def _request_nodes(port: int) -> dict[str, str]:
    """What Ray's head answers to requests for its nodes, by token."""
    import grpc
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    answers = {}
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel).GetAllNodeInfo
        wrong = (("authorization", f"Bearer {'0' * 64}"),)
        for who, metadata in (("no token", ()), ("a wrong token", wrong)):
            try:
                ask(gcs_service_pb2.GetAllNodeInfoRequest(), timeout=30, metadata=metadata)
                answers[who] = "OK"
            except grpc.RpcError as error:
                answers[who] = error.code().name
    return answers


def _is_loopback(address: str) -> bool:
    return address.removeprefix("::ffff:").startswith("127.") or address == "::1"


def _holding(place: Path) -> list[tuple[str, Path]]:
    """The secrets that are in files, and where."""
    written = [path for path in place.rglob("*") if path.is_file() and not path.is_symlink()]
    return [(n, p) for p in written for n, value in CANARIES.items() if value.encode() in _content(p)]


def _content(path: Path) -> bytes:
    if path.suffix == ".parquet":
        return str(pq.read_table(path).to_pylist()).encode()
    return path.read_bytes()


# Joining clusters


class _Open(Cluster):
    """A cluster that requires no token."""

    @property
    def access(self) -> dict[str, str]:
        return {"RAY_AUTH_MODE": "disabled", **SETTINGS}


@pytest.mark.slow
@pytest.mark.sweep
def test_joining_a_cluster_without_a_token_prints_a_warning(tmp_path: Path, temporary: Path) -> None:
    spec = specs.spec_folder(tmp_path / "spec") / "spec.yaml"
    spec.write_text(specs.SPEC.replace("path: model", "path: model, attention: flash_attention_3"))
    cluster = _Open(tmp_path, Home(tmp_path / "home", temporary))
    with cluster.head(), cluster.node():
        command = cluster.paretune("run", spec, "--output", tmp_path / "runs")
    assert command.process.returncode == 2  # for what no node here has
    assert command.stderr.count("the cluster requires no token") == 1
    assert not (tmp_path / "runs" / "tiny").exists()


@pytest.mark.slow
@pytest.mark.sweep
@pytest.mark.parametrize("token", [None, "0" * 64])
def test_a_cluster_refuses_clients_with_no_token_or_a_wrong_one(
    tmp_path: Path, temporary: Path, token: str | None
) -> None:
    cluster = Cluster(tmp_path, Home(tmp_path / "home", temporary))
    join = "import ray; ray.init(address={!r}); print('joined')"
    with cluster.head():
        access = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {}
        environment = cluster.home.environment(RAY_gcs_server_request_timeout_seconds="5", **access)
        done = subprocess.run(
            [sys.executable, "-c", join.format(cluster.address)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=180,
        )
    assert done.returncode != 0
    assert "joined" not in done.stdout


# Files planted in a run folder


class _Planted:
    """A pickle that leaves a file where it is read as one."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "adapter_model.bin"])
def test_a_pickle_planted_in_a_checkpoint_is_not_run_when_the_trial_resumes(
    tiny_model: Path, tmp_path: Path, name: str
) -> None:
    config = make_config(tiny_model, write_rows(tmp_path / "rows.jsonl"), steps=4)
    place = TrialContext(tmp_path / "run")
    assert run_trial(config, place, ScriptedControl(interrupt_at=2)).status == "interrupted"
    (checkpoint,) = place.folder(config).glob("checkpoint-*")
    if name.endswith(".bin"):
        (checkpoint / "adapter_model.safetensors").unlink()
    (checkpoint / name).write_bytes(
        pickle.dumps(_Planted(tmp_path / "ran"), protocol=2)
    )  # as torch writes them
    marker = checkpoint / COMPLETE  # or it would be taken for one that was damaged
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"files": file_sizes(checkpoint)}))
    pickle.loads((checkpoint / name).read_bytes())
    assert (tmp_path / "ran").exists()  # so it would work
    (tmp_path / "ran").unlink()
    record = run_trial(config, place)
    assert not (tmp_path / "ran").exists()
    assert record.status == "failed"
    assert "weights_only" in str(record.error)


def test_a_record_with_a_path_as_a_sets_name_is_left_out_and_the_others_are_reported(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", seeds=1)
    planted = run / "trials" / "full-0" / "record.json"
    record = json.loads(planted.read_text())
    planted.write_text(json.dumps(record | {"sets": {"../../x": record["sets"]["general"]}}))
    (run / "trials.parquet").unlink()
    tables = Tables(run)
    tables.write()
    assert [*tables.damaged] == ["full-0"]
    assert "sets" in tables.damaged["full-0"]
    index = write.write([run])
    assert "lora" in index.read_text()
    assert not (tmp_path / "x").exists()
