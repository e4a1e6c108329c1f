"""Models and data that a spec names by paths of the driver reach nodes that lack them; the others use their own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sweeps.cluster import remote_tasks, session
from sweeps.cluster.session import Answer, Node
from sweeps.execution import input_files, staging
from sweeps.runs.mirror import Mirror
from tests.helpers.trials import make_config, run, write_rows
from trainables.data import loading
from trainables.runner.run import TrialContext, run_trial
from trainables.storage.url_store import Store
from trainables.trial.config import TrialConfig
from trainables.trial.staged_inputs import StagedInputs

NODES = [Node(name, name, "10.0.0.7", name, {"CPU": 4, "trial_driver": 4}) for name in ("a", "b")]


@dataclass
class Planned:
    """A plan of one cell, as far as staging looks at it."""

    config: TrialConfig
    bases: tuple[TrialConfig, ...] = ()

    @property
    def cells(self) -> list[Any]:
        return [self]

    @property
    def resources(self) -> list[Any]:
        from sweeps.spec.settings import ResourcesConfig

        return [ResourcesConfig()]

    def first(self) -> TrialConfig:
        return self.config


@dataclass
class Cluster:
    """Nodes that lack everything, or say what they lack."""

    files_missing: dict[str, list[str] | None] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=lambda: list(NODES))
    asked: list[str] = field(default_factory=list)

    def ask(self, ray: Any, asked: list[Node], question: Any, wanted: Any, patience: float) -> list[Answer]:
        self.asked = list(wanted)
        given = {node: self.files_missing.get(node.id, list(wanted)) for node in asked}
        return [Answer(node, keys, None if keys is not None else "gone") for node, keys in given.items()]


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setattr(session, "nodes", lambda ray: made.nodes)
    monkeypatch.setattr(session, "ask", made.ask)
    return made


@pytest.fixture
def workdir(tmp_path: Path, tiny_model: Path) -> Path:
    """The driver's disk."""
    shutil.copytree(tiny_model, tmp_path / "driver" / "tiny")
    write_rows(tmp_path / "driver" / "rows.jsonl")
    return tmp_path / "driver"


@pytest.fixture
def config(workdir: Path) -> TrialConfig:
    return make_config(workdir / "tiny", workdir / "rows.jsonl")


def stage(config: TrialConfig, folder: Path, mirror: Mirror | None = None) -> list[str]:
    message: list[str] = []
    store = mirror.store if mirror is not None else None
    staging.stage(None, Planned(config), folder, store, message.append)  # type: ignore[arg-type]
    return message


def test_a_trial_runs_on_a_node_without_its_model_and_data(
    config: TrialConfig, workdir: Path, tmp_path: Path, nodes: Cluster
) -> None:
    expected = run(config, tmp_path / "expected")
    (message,) = stage(config, tmp_path / "run")
    size = sum(path.stat().st_size for path in workdir.rglob("*") if path.is_file())
    assert f"{workdir / 'tiny'}, {workdir / 'rows.jsonl'} (" in message
    assert message.endswith(f"{size} bytes)")
    workdir.rename(tmp_path / "gone")
    given = StagedInputs.read(tmp_path / "run").local_config(config)
    record = run_trial(config, TrialContext(tmp_path / "run"), local_config=given)
    assert record.status == "done", record.error
    assert (record.trial_id, record.quality) == (expected.trial_id, expected.quality)
    assert record.config == expected.config
    assert (record.model, record.data) == ("tiny", "rows.jsonl")


def test_a_node_that_has_the_files_uses_its_own(config: TrialConfig, tmp_path: Path, nodes: Cluster) -> None:
    stage(config, tmp_path / "run")
    assert StagedInputs.read(tmp_path / "run").local_config(config) == config


def test_a_file_of_another_size_is_another_file(
    config: TrialConfig, workdir: Path, tmp_path: Path, nodes: Cluster
) -> None:
    stage(config, tmp_path / "run")
    with (workdir / "rows.jsonl").open("a") as rows:
        rows.write("\n")
    found = StagedInputs.read(tmp_path / "run").local_config(config)
    assert found.model == config.model
    assert str(found.data.train).startswith(str(tmp_path / "run" / "given"))


def test_copies_at_a_url_are_downloaded_to_a_node_once(
    config: TrialConfig, workdir: Path, tmp_path: Path, nodes: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    mirror = Mirror(Store(f"memory://{secrets.token_hex(4)}/run", patience=0.2), tmp_path / "run")
    mirror.folder.mkdir()
    stage(config, mirror.folder, mirror)
    workdir.rename(tmp_path / "gone")
    found = StagedInputs.read(mirror.folder).local_config(config)
    assert found.model.path is not None
    assert (found.model.path / "model.safetensors").is_file()
    assert found.model.path.is_relative_to(tmp_path / "home")
    assert len(loading.load(found.data).train) == len(loading.load(moved(config, tmp_path)).train)
    mirror.store.remove(mirror.store.list())
    assert StagedInputs.read(mirror.folder).local_config(config) == found


def moved(config: TrialConfig, tmp_path: Path) -> Any:
    return config.data.model_copy(update={"train": str(tmp_path / "gone" / "rows.jsonl")})


def test_only_files_that_some_node_lacks_are_copied(
    config: TrialConfig, workdir: Path, tmp_path: Path, nodes: Cluster
) -> None:
    nodes.files_missing = {"a": [], "b": [str(workdir / "rows.jsonl")]}
    (message,) = stage(config, tmp_path / "run")
    assert str(workdir / "tiny") not in message
    nodes.files_missing = {"a": [], "b": []}
    assert stage(config, tmp_path / "other") == []
    assert not (tmp_path / "other").exists()


def test_nodes_that_do_not_answer_or_join_later_may_lack_everything(
    config: TrialConfig, tmp_path: Path, nodes: Cluster
) -> None:
    nodes.files_missing = {"a": [], "b": None}
    assert stage(config, tmp_path / "run")
    nodes.nodes = []
    assert stage(config, tmp_path / "other")


def test_copied_files_are_not_copied_again(
    config: TrialConfig, workdir: Path, tmp_path: Path, nodes: Cluster
) -> None:
    stage(config, tmp_path / "run")
    assert stage(config, tmp_path / "run") == []
    os.utime(workdir / "rows.jsonl", (1, 1))
    (message,) = stage(config, tmp_path / "run")
    assert str(workdir / "tiny") not in message


def test_a_node_reports_what_is_missing_or_incomplete_on_it(workdir: Path) -> None:
    rows = str(workdir / "rows.jsonl")
    size = os.path.getsize(rows)
    wanted = {"there": [(rows, size)], "shorter": [(rows, size + 1)], "gone": [(rows, size), (f"{rows}x", 1)]}
    assert remote_tasks.missing_files("node", wanted) == ["shorter", "gone"]


def rows_of(config: TrialConfig) -> list[Any]:
    return list(loading.load(config.data).train)


@pytest.mark.parametrize("train", ["parts", "parts/*.jsonl", "named"])
def test_folders_patterns_and_registered_names_are_read_from_their_copies(
    tiny_model: Path, tmp_path: Path, nodes: Cluster, train: str
) -> None:
    workdir = tmp_path / "driver"
    (workdir / "parts").mkdir(parents=True)
    for number, part in enumerate(("b", "a")):
        write_rows(workdir / "parts" / f"{part}.jsonl", 20 * (number + 1))
    (workdir / "dataset_info.json").write_text(json.dumps({"named": {"file_name": "parts/a.jsonl"}}))
    name = train if train == "named" else str(workdir / train)
    tree = make_config(tiny_model, name).model_dump(mode="json")
    folder = str(workdir) if train == "named" else None
    config = TrialConfig.model_validate({**tree, "data": {**tree["data"], "folder": folder}})
    expected = rows_of(config)
    stage(config, tmp_path / "run")
    workdir.rename(tmp_path / "gone")
    assert rows_of(StagedInputs.read(tmp_path / "run").local_config(config)) == expected


def test_a_named_model_is_listed_by_its_name(
    config: TrialConfig, tiny_model: Path, tmp_path: Path, nodes: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    named = config.model.model_copy(update={"name": "smollm2-135m", "path": None})
    trial = config.model_copy(update={"model": named})
    folder = tmp_path / "home" / "models" / "smollm2-135m"
    shutil.copytree(tiny_model, folder)
    (message,) = stage(trial, tmp_path / "run")
    assert "model smollm2-135m" in message
    assert StagedInputs.read(tmp_path / "run").local_config(trial).model == named
    shutil.rmtree(folder)
    found = StagedInputs.read(tmp_path / "run").local_config(trial).model
    assert found.path is not None
    assert (found.name, found.path.name) == (None, "smollm2-135m")


def test_an_adapter_of_another_run_comes_with_the_model_it_was_trained_on(
    config: TrialConfig, workdir: Path, tmp_path: Path, nodes: Cluster
) -> None:
    run(config, tmp_path / "driver" / "before")
    trial = workdir / "before" / "trials" / config.trial_id()
    tree = make_config(workdir / "tiny", workdir / "rows.jsonl", "full").model_dump(mode="json")
    tree["model"]["start"] = {"trial": config.trial_id(), "folder": str(trial / "model")}
    after = TrialConfig.model_validate(tree)
    needed = {thing.key for thing in input_files.find_input_files([after])}
    assert needed == {str(workdir / "tiny"), str(workdir / "rows.jsonl"), str(trial / "model")}
    stage(after, tmp_path / "run")
    workdir.rename(tmp_path / "gone")
    record = run_trial(
        after,
        TrialContext(tmp_path / "run"),
        local_config=StagedInputs.read(tmp_path / "run").local_config(after),
    )
    assert record.status == "done", record.error


def test_a_spec_with_embedded_data_needs_no_copies_of_data(tiny_model: Path) -> None:
    assert [thing.key for thing in input_files.find_input_files([make_config(tiny_model, "commands")])] == [
        str(tiny_model)
    ]
