"""``paretune doctor --address``: every node of a cluster is examined by a doctor of its own, all at the same time."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sweeps.cluster import remote_tasks, session, shared_folder
from sweeps.cluster.session import START, Answer, Node
from sweeps.doctor import report
from sweeps.doctor.cluster_report import CLUSTER, PACKAGES, Examined, Fleet
from sweeps.doctor.report import Report
from trainables.system.capabilities import Capability

PATIENCE_SECONDS = 180.0  # for all nodes together; torch, bitsandbytes and the rest are imported on each


def examine(address: str, output: str) -> Fleet:
    """Joins the cluster and examines every node of it, and whether they share ``output``.

    Raises ``SpecError`` where the cluster can't be joined.
    """
    driver = Report({PACKAGES: report.versions(), "Tracking": report.tracking()})
    if driver.missing:  # Ray may be what is missing
        return Fleet(driver, ())
    with session.session(io.StringIO(), address=address) as ray:
        nodes = session.nodes(ray)
        storage = shared_folder.look(ray, nodes, output)
        return join(driver, nodes, access(ray), storage, reports(ray, nodes, output=output))


def join(
    driver: Report,
    nodes: Sequence[Node],
    access: Capability,
    storage: Mapping[Node, Capability],
    found: Mapping[Node, Report],
) -> Fleet:
    """The fleet of what was found: how ``nodes`` stand in the cluster, and what some of them reported."""
    slots = any(node.slots for node in nodes)

    def examined(node: Node) -> Examined:
        topics = {CLUSTER: [access, storage[node], _slots(node, slots)]}
        topics |= found[node].topics if node in found else {}
        return Examined(node.name, Report(topics), node.host, node.ip, node.id)

    return Fleet(driver, tuple(map(examined, nodes)))


def reports(ray: Any, nodes: Sequence[Node], **question: Any) -> dict[Node, Report]:
    """What each node's own doctor answers; see ``sweeps.doctor.__main__.main`` for what may be asked."""
    # The driver waits a little longer than the node, which has the better words for what takes long.
    seconds = PATIENCE_SECONDS - 10
    answers = session.ask(
        ray, nodes, remote_tasks.examine, json.dumps(question), seconds, patience=PATIENCE_SECONDS
    )
    return {answer.node: _report(answer) for answer in answers}


def _report(answer: Answer) -> Report:
    if answer.failure is not None:
        return Report({"Examination": [Capability("examination", False, answer.failure)]})
    return Report.of_json(answer.value)


def access(ray: Any) -> Capability:
    """Whether the cluster asks for its token; a cluster without one is somebody's choice, so it isn't refused."""
    if session.answers_anyone(ray):
        what = (
            "the cluster asks for no token, so whoever reaches its ports can run code on it; start Ray on every node "
            "with RAY_AUTH_MODE=token"
        )
        return Capability("access", False, what, needed=False)
    return Capability("access", True, "only with the token", needed=False)


def _slots(node: Node, elsewhere: bool) -> Capability:
    if node.slots:
        return Capability("slots", True, f"room for {node.slots}", needed=False)
    return Capability("slots", False, f"no room for any: {START}", needed=not elsewhere)
