"""The cluster file that people start from."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def test_cluster_yaml_is_valid_by_rays_own_schema() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    validate_config(prepare_config(config))


def test_every_node_of_the_cluster_can_hold_slots() -> None:
    config = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    for node in config["available_node_types"].values():
        assert node["resources"]["trial_driver"] > 0
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        assert any("trial_driver" in command for command in commands)
