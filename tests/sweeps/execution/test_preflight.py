"""Before a sweep on a cluster: what its nodes lack is reported by node and by the spec's line. No Ray is started."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sweeps.cluster import session, shared_folder
from sweeps.cluster.session import Node
from sweeps.doctor import cluster_examination, report
from sweeps.doctor.report import Report
from sweeps.execution import preflight
from sweeps.planning.plan import Plan
from sweeps.spec.problems import SpecError
from tests.helpers import specs
from trainables.system.capabilities import Capability

VERSIONS = {"python": "3.11.7", "ray": "2.60.0", "torch": "2.13.0+cpu"}
SHARED = Capability("shared run folder", True, "written and read from every side")
FLASH = "model.attention=flash_attention_2"
GPU_TRIALS = ("resources.gpus=1", FLASH)


@dataclass
class Cluster:
    """Nodes by name, what each can do, and what each was asked."""

    nodes: list[Node] = field(default_factory=list)
    can: dict[str, dict[str, Capability]] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    storage: dict[str, Capability] = field(default_factory=dict)
    asked: dict[str, list[str]] = field(default_factory=dict)
    answers_anyone: bool = False

    def add(self, name: str, cpus: int = 8, gpus: int = 0, slots: int = 64, **versions: str) -> Cluster:
        resources = {"CPU": cpus, "GPU": gpus, "trial_driver": slots}
        self.nodes.append(Node(name, name, "10.0.0.7", f"{name} (10.0.0.7)", resources))
        self.versions[name] = {**VERSIONS, **versions}
        return self

    def reports(self, ray: Any, asked: list[Node], names: list[str]) -> Mapping[Node, Report]:
        self.asked = {node.host: names for node in asked}
        return {node: Report(self._topics(node.host, names)) for node in asked}

    def _topics(self, host: str, names: list[str]) -> dict[str, list[Capability]]:
        packages = [Capability(name, True, version) for name, version in self.versions[host].items()]
        can = self.can.get(host, {})
        return {
            "Packages": packages,
            "Requested": [can.get(name, Capability(name, True, "")) for name in names],
        }


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setattr(session, "session", lambda log, address: nullcontext())
    monkeypatch.setattr(session, "nodes", lambda ray: made.nodes)
    monkeypatch.setattr(session, "answers_anyone", lambda ray: made.answers_anyone)
    monkeypatch.setattr(cluster_examination, "node_reports", made.reports)
    monkeypatch.setattr(
        shared_folder,
        "examine",
        lambda ray, examined, folder: {node: made.storage.get(node.host, SHARED) for node in examined},
    )
    ours = [Capability(name, True, version) for name, version in VERSIONS.items()]
    monkeypatch.setattr(report, "package_versions", lambda: ours)
    return made


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return specs.spec_folder(tmp_path)


def planned(workdir: Path, *sets: str) -> Plan:
    made = specs.plan(workdir, sets=sets, local=False)
    assert made.errors == ()
    return made


def problems(workdir: Path, *sets: str) -> list[str]:
    found = preflight.problems(planned(workdir, *sets), workdir / "runs", "auto")
    kinds = {True: "", False: "warning: "}
    return [f"{kinds[each.error]}{each}".replace(f"{workdir}/", "") for each in found]


def test_a_driver_without_gpus_does_not_refuse_what_its_nodes_can_do(workdir: Path, nodes: Cluster) -> None:
    nodes.add("head", cpus=0).add("gpu-1", gpus=1).add("gpu-2", gpus=4)
    assert any("flash_attention_2 doesn't work on this machine" in problem for problem in asked_here(workdir))
    assert problems(workdir, *GPU_TRIALS) == []
    assert nodes.asked == {name: ["bf16", "flash_attention_2"] for name in ("gpu-1", "gpu-2")}


def asked_here(workdir: Path) -> list[str]:
    return specs.problems(workdir, specs.SPEC, *GPU_TRIALS)


def test_what_is_missing_on_a_node_is_reported_with_the_line_that_requests_it(
    workdir: Path, nodes: Cluster
) -> None:
    nodes.add("gpu-1", gpus=1).add("gpu-2", gpus=1)
    lacks = Capability("flash_attention_2", False, "needs `pip install flash-attn`", needed=False)
    nodes.can["gpu-2"] = {"flash_attention_2": lacks}
    message = (
        "model.attention: flash_attention_2 doesn't work on gpu-2 (10.0.0.7): needs `pip install flash-attn`"
    )
    assert problems(workdir, *GPU_TRIALS) == [f"--set {message}"]
    with pytest.raises(SpecError, match="gpu-2"):
        preflight.refuse(planned(workdir, *GPU_TRIALS), workdir / "runs", "auto")


def test_a_cluster_that_answers_without_a_token_is_warned_of_in_one_line(
    workdir: Path, nodes: Cluster
) -> None:
    nodes.add("a").answers_anyone = True
    (message,) = problems(workdir)
    assert message.startswith(
        "warning: --address: the cluster requires no token, so everyone who can reach its ports"
    )


def test_nodes_that_no_worker_fits_on_are_not_asked(workdir: Path, nodes: Cluster) -> None:
    nodes.add("small", cpus=2).add("large", cpus=8)
    assert problems(workdir, "resources.cpus=4") == []
    assert list(nodes.asked) == ["large"]


def test_where_no_node_is_large_enough_yet_the_sweep_may_wait_and_says_so(
    workdir: Path, nodes: Cluster
) -> None:
    nodes.add("head", cpus=4)
    (message,) = problems(workdir, "resources.gpus=2")
    assert message.startswith("warning: --set resources.gpus resources: a worker needs 1 CPUs and 2 GPUs")


@pytest.mark.parametrize("name", ["python", "ray"])
def test_another_python_or_ray_than_the_drivers_is_refused(workdir: Path, nodes: Cluster, name: str) -> None:
    nodes.add("a").add("b", **{name: "3.0.1"})
    (message,) = problems(workdir)
    assert message.startswith(
        f"--address: b (10.0.0.7): {name} 3.0.1, and the driver has {VERSIONS[name]}; a sweep"
    )


def test_another_release_of_what_trains_is_a_warning_and_another_build_is_none(
    workdir: Path, nodes: Cluster
) -> None:
    nodes.add("a", torch="2.13.1").add("b", torch="2.13.0+cu130")
    (message,) = problems(workdir)
    assert message.startswith("warning: --address: a (10.0.0.7): torch 2.13.1, and the driver has 2.13.0+cpu")


def test_a_node_that_does_not_share_the_run_folder_is_refused_also_if_it_only_holds_slots(
    workdir: Path, nodes: Cluster
) -> None:
    nodes.add("head", cpus=0).add("a")
    nodes.storage["head"] = Capability("shared run folder", False, "not the driver's; mount shared storage")
    assert problems(workdir) == [
        "--address: head (10.0.0.7): shared run folder: not the driver's; mount shared storage"
    ]


def test_a_cluster_without_resources_for_slots_is_refused_with_how_to_start_ray(
    workdir: Path, nodes: Cluster
) -> None:
    nodes.add("a", slots=0)
    (message,) = problems(workdir)
    assert message.startswith("--address: a (10.0.0.7): slots: none for trial drivers: ray start")
    assert "--resources='{\"trial_driver\": 64}'" in message
