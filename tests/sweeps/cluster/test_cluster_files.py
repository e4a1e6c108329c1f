"""The files that people start clusters from: valid, closed to all without the token, with resources for slots."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.helpers.paths import ROOT
from trainables.system import tested_versions

LAUNCHED = ("cluster.yaml", "sweeps/clusters/on-premise.yaml")
KUBERNETES = "sweeps/clusters/kubernetes.yaml"


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return found


def starts(config: dict[str, Any]) -> list[str]:
    """The commands that start Ray on a head and on a worker."""
    commands = (*config["head_start_ray_commands"], *config["worker_start_ray_commands"])
    return [command for command in commands if "ray start" in command]


@pytest.mark.parametrize("name", LAUNCHED)
def test_a_cluster_file_is_valid_by_rays_own_schema(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(read(name)))


@pytest.mark.parametrize(("name", "lines"), [("cluster.yaml", 3), (LAUNCHED[1], 4), (KUBERNETES, 3)])
def test_what_is_to_be_filled_in_is_marked_and_is_little(name: str, lines: int) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert sum("# FILL IN" in line for line in text.splitlines()) == lines


@pytest.mark.parametrize("name", LAUNCHED)
def test_every_node_can_hold_slots(name: str) -> None:
    config = read(name)
    assert len(starts(config)) == 2
    assert all("trial_driver" in command for command in starts(config))
    for node in config.get("available_node_types", {}).values():
        assert node["resources"]["trial_driver"] > 0


@pytest.mark.parametrize("name", LAUNCHED)
def test_a_token_is_asked_for_on_every_node_and_only_its_owner_can_read_it(name: str) -> None:
    config = read(name)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("chmod 600 ~/.ray/auth_token" in command for command in config["setup_commands"])
    everywhere = any("RAY_AUTH_MODE=token" in command for command in config["setup_commands"])
    assert everywhere or all("RAY_AUTH_MODE=token" in command for command in starts(config))


@pytest.mark.parametrize("name", LAUNCHED)
def test_the_dashboard_is_for_the_head_alone(name: str) -> None:
    assert "--dashboard-host=127.0.0.1" in starts(read(name))[0]


@pytest.mark.parametrize("name", LAUNCHED)
def test_a_worker_tells_ray_when_its_machine_is_about_to_go(name: str) -> None:
    *_, started, watches = read(name)["worker_start_ray_commands"]
    assert "ray start" in started
    assert "setsid nohup python -P -m sweeps.cluster.drain " in watches
    assert watches.endswith("< /dev/null &")


def test_spot_machines_come_first_and_others_where_there_are_none() -> None:
    from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer, get_nodes_for

    config = read("cluster.yaml")
    types = config["available_node_types"]
    assert types["gpu_spot"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in types["gpu_on_demand"]["node_config"]

    def chosen(available: dict[str, Any]) -> list[str]:
        nodes, _ = get_nodes_for(
            available, {}, "head", 8, [{"CPU": 1, "GPU": 1}],
            lambda node, resources, kind: _default_utilization_scorer(
                node, resources, kind, node_availability_summary=None
            ),
        )  # fmt: skip
        return list(nodes)

    assert chosen(types) == ["gpu_spot"]
    assert chosen({name: node for name, node in types.items() if name != "gpu_spot"}) == ["gpu_on_demand"]


def test_the_kubernetes_job_has_a_token_slots_and_shared_storage_on_every_node() -> None:
    spec = read(KUBERNETES)["spec"]
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert "--output /mnt/shared/" in spec["entrypoint"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        assert {"name": "shared", "mountPath": "/mnt/shared"} in container["volumeMounts"]
        assert group["template"]["spec"]["volumes"][0]["name"] == "shared"
        assert json.loads(json.loads(group["rayStartParams"]["resources"])) == {"trial_driver": 64}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in cluster["workerGroupSpecs"]:  # Ray drains a node for 30 seconds
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] > 30


def test_the_kubernetes_job_runs_the_tested_ray() -> None:
    assert read(KUBERNETES)["spec"]["rayClusterSpec"]["rayVersion"] == tested_versions.versions()["ray"]
