"""Before a sweep on a cluster: can the nodes that its trials may run on do what the spec asks for by name?

A node's GPUs and packages are its own, so the driver can't tell; and what is missing on one of them would show only
when a trial lands there.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence

from sweeps.cluster import node_resources, session, shared_folder
from sweeps.cluster.session import Node
from sweeps.doctor import cluster_examination, cluster_report, report
from sweeps.doctor.cluster_report import ClusterReport
from sweeps.planning.checks import requirements
from sweeps.planning.plan import Plan
from sweeps.spec.problems import Problem, SpecError
from trainables.system.capabilities import Capability

OPTION = "--address"
# Another patch release of these trains all the same, but maybe not to the same numbers.
TRAINING = ("torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate")


def refuse(plan: Plan, output: str, address: str) -> None:
    """Shows what to be warned of; raises ``SpecError`` for what a sweep on that cluster would fail on."""
    found = problems(plan, output, address)
    for warning in (each for each in found if not each.error):
        print(f"warning: {warning}", file=sys.stderr)
    errors = [each for each in found if each.error]
    if errors:
        raise SpecError(*errors)


def problems(plan: Plan, output: str, address: str) -> list[Problem]:
    """All that is wrong with the nodes that could host a trial or a slot, whose run folder goes to ``output``."""
    with session.session(io.StringIO(), address=address) as ray:
        nodes = session.nodes(ray)
        hosts = node_resources.hosts(nodes, plan.resources)
        concerned = [node for node in nodes if node in hosts or node.slots]
        access = cluster_examination.token_access(ray)
        storage = shared_folder.examine(ray, concerned, output)
        reports = cluster_examination.node_reports(
            ray, hosts, names=sorted({need.name for need in plan.requirements})
        )
    driver = report.Report({cluster_report.PACKAGES: report.package_versions()})
    found = cluster_examination.combine(driver, concerned, access, storage, reports)
    return [
        *_open(access),
        *_no_host(plan, nodes),
        *_missing(found),
        *_lacking(plan, found),
        *_unlike(found),
    ]


def _open(access: Capability) -> Iterator[Problem]:
    if not access.works:
        yield Problem(OPTION, "", access.detail, error=False)


def _no_host(plan: Plan, nodes: Sequence[Node]) -> Iterator[Problem]:
    for takes in plan.resources:
        if not node_resources.hosts(nodes, [takes]):
            what = (
                f"a worker takes {takes.cpus:g} CPUs and {takes.min_gpus:g} GPUs, which no node of {OPTION} has that "
                "is up now; trials wait until one is, and what they need can't be looked at before"
            )
            yield plan.spec.source.problem(("resources",), what, error=False)


def _missing(found: ClusterReport) -> Iterator[Problem]:
    """What is missing on nodes whatever the spec asks for: packages, shared storage, room for slots."""
    for row in found.missing:
        if row.topic != cluster_report.REQUESTED:
            yield Problem(OPTION, "", f"{row.where()}: {row.capability.name}: {row.capability.detail}")


def _lacking(plan: Plan, found: ClusterReport) -> Iterator[Problem]:
    """What the spec asks for by name and nodes can't do."""
    for row in found.findings():
        if row.topic == cluster_report.REQUESTED and not row.capability.works:
            for need in plan.requirements:
                if need.name == row.capability.name:
                    yield requirements.requirement_problem(
                        plan.spec.source, need, row.where(), row.capability.detail
                    )


def _unlike(found: ClusterReport) -> Iterator[Problem]:
    """Nodes whose versions are not the driver's."""
    ours = {each.name: each.detail for each in found.driver.topics[cluster_report.PACKAGES]}
    for row in found.findings():
        name, theirs = row.capability.name, row.capability.detail
        if (
            row.topic != cluster_report.PACKAGES
            or not row.capability.works
            or cluster_report.DRIVER in row.nodes
        ):
            continue
        if name in cluster_report.MUST_MATCH:
            advice = "a sweep needs the same on both. Install it there"
            yield Problem(
                OPTION, "", f"{row.where()}: {name} {theirs}, and here it is {ours[name]}; {advice}"
            )
        elif name in TRAINING and _release(theirs) != _release(ours[name]):
            advice = "trials train with what their node has, so numbers may differ between nodes"
            what = f"{row.where()}: {name} {theirs}, and here it is {ours[name]}; {advice}"
            yield Problem(OPTION, "", what, error=False)


def _release(version: str) -> str:
    """A version without what it was built for: ``2.13.0+cu130`` is the ``2.13.0+cpu`` of a driver without GPUs."""
    return version.partition("+")[0]
