"""Before a sweep on a cluster: can the nodes that its trials may run on do what the spec requests by name?

Each node has its own GPUs and packages, which the driver can't see; and what is missing on one node would show only
once a trial is placed there.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence

from sweeps.cluster import node_resources, session, shared_folder
from sweeps.cluster.packing import Machine
from sweeps.cluster.session import Node
from sweeps.doctor import cluster_examination, cluster_report, report
from sweeps.doctor.cluster_report import ClusterReport
from sweeps.planning.checks import requirements
from sweeps.planning.plan import Plan
from sweeps.planning.resources import place as places
from sweeps.planning.resources.place import Place
from sweeps.spec.problems import Problem, SpecError
from trainables.system.capabilities import Capability

OPTION = "--address"
# Training works with another release of these, but maybe not to the same numbers.
TRAINING = ("torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate")


def refuse(plan: Plan, output: str, address: str) -> None:
    """Prints warnings, and raises ``SpecError`` for whatever a sweep on that cluster would fail on."""
    all_problems = problems(plan, output, address)
    for warning in (problem for problem in all_problems if not problem.error):
        print(f"warning: {warning}", file=sys.stderr)
    errors = [problem for problem in all_problems if problem.error]
    if errors:
        raise SpecError(*errors)


def problems(plan: Plan, output: str, address: str) -> list[Problem]:
    """The problems of all nodes that could host a trial or a slot, for a run in ``output``, a folder or a URL."""
    with session.session(io.StringIO(), address=address) as ray:
        nodes = session.nodes(ray)
        hosts = node_resources.hosts(nodes, plan.resources)
        # The actor of a slot reads and writes the run folder too, even on a node that can't host a worker.
        examined = [node for node in nodes if node in hosts or node.slots]
        access = cluster_examination.token_access(ray)
        storage = shared_folder.examine(ray, examined, output)
        reports = cluster_examination.node_reports(
            ray, hosts, names=sorted({need.name for need in plan.requirements})
        )
    driver = report.Report({cluster_report.PACKAGES: report.package_versions()})
    cluster = cluster_examination.combine(driver, examined, access, storage, reports)
    return [
        *_open_to_anyone(access),
        *_without_host(plan, nodes),
        *_missing_basics(cluster),
        *_missing_requirements(plan, cluster),
        *_other_versions(cluster),
    ]


def place_of(address: str | None) -> Place:
    """Where trials run: on a cluster, or without an address on this machine.

    The cluster is asked for its nodes only where a spec leaves something to them; ``SpecError`` then without a cluster.
    """

    def nodes() -> list[Machine]:
        with session.session(io.StringIO(), address=address) as ray:
            return node_resources.Machines(ray).available()

    if address is None:
        return places.this_machine()
    return Place(f"the cluster at {address}", nodes, is_cluster=True)


def _open_to_anyone(access: Capability) -> Iterator[Problem]:
    if not access.works:
        yield Problem(OPTION, "", access.detail, error=False)


def _without_host(plan: Plan, nodes: Sequence[Node]) -> Iterator[Problem]:
    for resources in plan.resources:
        if not node_resources.hosts(nodes, [resources]):
            what = (
                f"a worker needs {resources.cpus:g} CPUs and {resources.min_gpus:g} GPUs, and no node of {OPTION} that "
                "is up now has that much; trials wait for such a node, which can't be examined before it is up"
            )
            yield plan.spec.source.problem(("resources",), what, error=False)


def _missing_basics(cluster: ClusterReport) -> Iterator[Problem]:
    """What every sweep needs and nodes don't have: packages, shared storage, resources for slots."""
    for row in cluster.missing:
        if row.topic != cluster_report.REQUESTED:
            yield Problem(OPTION, "", f"{row.where()}: {row.capability.name}: {row.capability.detail}")


def _missing_requirements(plan: Plan, cluster: ClusterReport) -> Iterator[Problem]:
    """What the spec requests by name and nodes can't do."""
    for row in cluster.findings():
        if row.topic == cluster_report.REQUESTED and not row.capability.works:
            for need in plan.requirements:
                if need.name == row.capability.name:
                    yield requirements.requirement_problem(
                        plan.spec.source, need, row.where(), row.capability.detail
                    )


def _other_versions(cluster: ClusterReport) -> Iterator[Problem]:
    """Nodes whose versions of packages are not the driver's."""
    ours = {each.name: each.detail for each in cluster.driver.topics[cluster_report.PACKAGES]}
    for row in cluster.findings():
        name, theirs = row.capability.name, row.capability.detail
        if (
            row.topic != cluster_report.PACKAGES
            or not row.capability.works
            # A finding that the driver shares is about the driver's own version.
            or cluster_report.DRIVER in row.nodes
        ):
            continue
        if name in cluster_report.MUST_MATCH:
            advice = "a sweep needs the same version on both. Install that one there"
            yield Problem(
                OPTION, "", f"{row.where()}: {name} {theirs}, and the driver has {ours[name]}; {advice}"
            )
        elif name in TRAINING and _release(theirs) != _release(ours[name]):
            advice = "trials train with their node's version, so numbers may differ between nodes"
            what = f"{row.where()}: {name} {theirs}, and the driver has {ours[name]}; {advice}"
            yield Problem(OPTION, "", what, error=False)


def _release(version: str) -> str:
    """A version without its build: ``2.13.0+cu130`` of a node is ``2.13.0+cpu`` of a driver without GPUs."""
    return version.partition("+")[0]
