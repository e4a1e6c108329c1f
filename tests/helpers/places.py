"""Machines that a plan is made for: they are only described, and no Ray is started."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from sweeps.cluster import node_resources, session
from sweeps.cluster.packing import Machine
from sweeps.planning.resources.place import Place


def place(*machines: Machine, is_cluster: bool = False) -> Place:
    """This machine, or a cluster, with these machines in place of the true ones."""
    return Place("the cluster" if is_cluster else "this machine", lambda: machines, is_cluster)


def cluster_of(monkeypatch: pytest.MonkeyPatch, machines: Sequence[Machine]) -> None:
    """Makes head:6379 the address of a cluster with these nodes."""

    @contextmanager
    def joined(log: Any, address: str | None = None, **_: Any) -> Any:
        assert address == "head:6379"
        yield None

    class Nodes:
        def __init__(self, ray: Any) -> None: ...

        def available(self) -> list[Machine]:
            return list(machines)

    monkeypatch.setattr(session, "session", joined)
    monkeypatch.setattr(node_resources, "Machines", Nodes)
