"""``paretune doctor --address``: examines all nodes of a cluster at the same time, each in a process of its own."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sweeps.cluster import remote_tasks, session, shared_folder
from sweeps.cluster.session import START, Answer, Node
from sweeps.doctor import report
from sweeps.doctor.cluster_report import CLUSTER, PACKAGES, ClusterReport, NodeReport
from sweeps.doctor.report import Report
from trainables.system.capabilities import Capability

PATIENCE_SECONDS = 180.0  # for all nodes together; each of them imports torch, bitsandbytes and more


def examine(address: str, output: str) -> ClusterReport:
    """Joins the cluster and examines each of its nodes, and whether they share ``output``.

    Raises ``SpecError`` if the cluster can't be joined.
    """
    driver = Report({PACKAGES: report.package_versions(), "Tracking": report.tracking()})
    if driver.missing:  # perhaps Ray, without which there are no nodes to examine
        return ClusterReport(driver, ())
    with session.session(io.StringIO(), address=address) as ray:
        nodes = session.nodes(ray)
        storage = shared_folder.examine(ray, nodes, output)
        return combine(driver, nodes, token_access(ray), storage, node_reports(ray, nodes, output=output))


def combine(
    driver: Report,
    nodes: Sequence[Node],
    access: Capability,
    storage: Mapping[Node, Capability],
    reports: Mapping[Node, Report],
) -> ClusterReport:
    """The report of a cluster; a node without an entry in ``reports`` has only the cluster's view of it."""
    slots_anywhere = any(node.slots for node in nodes)

    def node_report(node: Node) -> NodeReport:
        topics = {CLUSTER: [access, storage[node], _slots(node, slots_anywhere)]}
        topics |= reports[node].topics if node in reports else {}
        return NodeReport(node.name, Report(topics), node.host, node.ip, node.id)

    return ClusterReport(driver, tuple(map(node_report, nodes)))


def node_reports(ray: Any, nodes: Sequence[Node], **question: Any) -> dict[Node, Report]:
    """The report of each node; ``sweeps.doctor.__main__.main`` lists the possible questions."""
    # The driver waits a little longer than the node, whose message is the better one if it takes too long.
    seconds = PATIENCE_SECONDS - 10
    answers = session.ask(
        ray, nodes, remote_tasks.examine, json.dumps(question), seconds, patience=PATIENCE_SECONDS
    )
    return {answer.node: _report(answer) for answer in answers}


def _report(answer: Answer) -> Report:
    if answer.failure is not None:
        return Report({"Examination": [Capability("examination", False, answer.failure)]})
    return Report.from_json(answer.value)


def token_access(ray: Any) -> Capability:
    """Whether the cluster requires its token. One that does not may be meant so: that is no error."""
    if session.answers_anyone(ray):
        what = (
            "the cluster requires no token, so everyone who can reach its ports can run code on it; start Ray on every "
            "node with RAY_AUTH_MODE=token"
        )
        return Capability("access", False, what, needed=False)
    return Capability("access", True, "requires the token", needed=False)


def _slots(node: Node, slots_elsewhere: bool) -> Capability:
    if node.slots:
        return Capability("slots", True, f"{node.slots} for trial drivers", needed=False)
    # One node with slots is enough: a slot's actor and its workers may be on different nodes.
    return Capability("slots", False, f"none for trial drivers: {START}", needed=not slots_elsewhere)
