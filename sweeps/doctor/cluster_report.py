"""What the nodes of a cluster can do: findings that all nodes share, and those in which they differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sweeps.doctor.report import Report, status_mark
from trainables.system.capabilities import Capability

if TYPE_CHECKING:
    from rich.table import Table

DRIVER = "the driver"
CLUSTER, PACKAGES, REQUESTED = "Cluster", "Packages", "Requested"
# The driver and its workers exchange pickles of their own code; Ray requires the same Python, too.
MUST_MATCH = ("python", "paretune", "ray")
# These contain free bytes or a path of the node, so that they differ on every node without being a difference.
NODE_SPECIFIC = ("memory", "cache folder", "run folder")
# Tested by computing something: what counts is that it works, not the size of the error in the detail.
TESTED = ("Quantizers", "Attention", "Kernels")


@dataclass(frozen=True)
class NodeReport:
    """The report of one node, or of the driver."""

    name: str
    report: Report
    host: str = ""
    ip: str = ""
    id: str = ""

    def to_tree(self) -> dict[str, Any]:
        return {"node": self.name, "host": self.host, "ip": self.ip, "id": self.id, **self.report.to_tree()}


@dataclass(frozen=True)
class Finding:
    """A capability that is the same on all ``nodes``, which are some of the ``examined`` ones."""

    topic: str
    capability: Capability
    nodes: tuple[str, ...]
    examined: tuple[str, ...]

    @property
    def is_common(self) -> bool:
        return len(self.nodes) == len(self.examined)

    def where(self) -> str:
        """The nodes in few words: ``a, b and 3 more``, ``all but c``, or ``all nodes``."""
        others = [name for name in self.examined if name not in self.nodes]
        if not others and len(self.examined) > 1:
            return "all nodes"
        if len(others) < len(self.nodes) and 0 < len(others) <= 2:
            return f"all but {' and '.join(others)}"
        if len(self.nodes) > 3:
            return f"{', '.join(self.nodes[:2])} and {len(self.nodes) - 2} more"
        return ", ".join(self.nodes)


@dataclass(frozen=True)
class ClusterReport:
    """The reports of the driver (versions and tracking) and of all nodes of a cluster."""

    driver: Report
    nodes: tuple[NodeReport, ...]

    @property
    def members(self) -> tuple[NodeReport, ...]:
        return (*self.nodes, NodeReport(DRIVER, self.driver))

    @property
    def missing(self) -> list[Finding]:
        """The capabilities that Paretune needs and that some nodes do not have."""
        return [
            finding
            for finding in self.findings()
            if finding.capability.needed and not finding.capability.works
        ]

    @property
    def mismatches(self) -> list[str]:
        """What must be the same on the driver and all nodes, and is not."""
        differing = {
            finding.capability.name
            for finding in self.findings()
            if finding.topic == PACKAGES and not finding.is_common
        }
        return [name for name in MUST_MATCH if name in differing]

    @property
    def exit_code(self) -> int:
        """1 if something needed is missing anywhere, or if something differs that must not; else 0."""
        return 1 if self.missing or self.mismatches else 0

    def findings(self) -> list[Finding]:
        """Every capability once, with the nodes that have it in common."""
        # The fullest report decides the order: a node that could not be examined has few topics.
        fullest_first = sorted(self.members, key=lambda member: -len(member.report.topics))
        topics = dict.fromkeys(topic for member in fullest_first for topic in member.report.topics)
        return [finding for topic in topics for finding in self._findings_of(topic)]

    def _findings_of(self, topic: str) -> Iterator[Finding]:
        examined = [member for member in self.members if topic in member.report.topics]
        groups: dict[tuple[Any, ...], tuple[Capability, list[str]]] = {}
        for member in examined:
            for capability in member.report.topics[topic]:
                groups.setdefault(_group_key(topic, capability), (capability, []))[1].append(member.name)
        # In the order in which the nodes report them; findings about the same package stay together.
        order = list(dict.fromkeys(capability.name for capability, _ in groups.values()))
        names = tuple(member.name for member in examined)
        for capability, nodes in sorted(groups.values(), key=lambda group: order.index(group[0].name)):
            yield Finding(topic, capability, tuple(nodes), names)

    def to_json(self) -> str:
        """The report for programs; ``differences`` has every capability that is not the same on all nodes."""
        tree = {
            "works": not self.exit_code,
            "driver": self.driver.to_tree(),
            "nodes": [node.to_tree() for node in self.nodes],
            "differences": self._differences(),
        }
        return json.dumps(tree, indent=2, ensure_ascii=False)

    def _differences(self) -> list[dict[str, Any]]:
        differing: dict[tuple[str, str], list[Finding]] = {}
        for finding in self.findings():
            if not finding.is_common and finding.capability.name not in NODE_SPECIFIC:
                differing.setdefault((finding.topic, finding.capability.name), []).append(finding)
        return [
            {
                "topic": topic,
                "name": name,
                "breaks": name in self.mismatches,
                "found": [
                    {**asdict(finding.capability), "nodes": list(finding.nodes)} for finding in findings
                ],
            }
            for (topic, name), findings in differing.items()
        ]

    def table(self) -> Table:
        """The report for people: the nodes with their memory and folders, then each finding with its nodes."""
        from rich.table import Table
        from rich.text import Text

        table = Table("", "", "", "", box=None, show_header=False, pad_edge=False)
        table.add_row(Text("Nodes", style="bold"))
        for node in self.nodes:
            summary = Capability(node.name, not node.report.missing, _node_details(node.report))
            table.add_row(status_mark(summary), f"  {node.name}", Text(summary.detail))
        topic = None
        for finding in self.findings():
            if finding.capability.name not in NODE_SPECIFIC:
                if finding.topic != topic:
                    topic = finding.topic
                    table.add_row(Text(topic, style="bold"))
                nodes = Text("" if finding.is_common else finding.where(), style="yellow")
                capability = finding.capability
                table.add_row(status_mark(capability), f"  {capability.name}", Text(capability.detail), nodes)
        return table

    def verdict(self) -> str:
        """The last lines: whether the nodes are alike, and whether Paretune works on them or what is missing."""
        problems = [
            f"{finding.where()}: {finding.capability.name}: {finding.capability.detail}"
            for finding in self.missing
        ]
        problems += [f"{name} must be the same on the driver and on all nodes" for name in self.mismatches]
        if not problems:
            return f"{self._comparison()}\nEverything that Paretune needs works on all of them."
        return "\n  ".join([f"{self._comparison()}\nParetune can't work on this cluster:", *problems])

    def _comparison(self) -> str:
        differing = dict.fromkeys(difference["name"] for difference in self._differences())
        count = f"{len(self.nodes)} node{'s' * (len(self.nodes) != 1)}"
        return f"{count}, which differ in: {', '.join(differing)}." if differing else f"{count}, all alike."


def _group_key(topic: str, capability: Capability) -> tuple[Any, ...]:
    """Two capabilities with the same key are one finding."""
    detail = "" if capability.works and topic in TESTED else capability.detail
    return capability.name, capability.works, detail


def _node_details(report: Report) -> str:
    """The memory and folders of a node in one line; for a node that could not be examined, the reason."""
    capabilities = [capability for topic in report.topics.values() for capability in topic]
    details = [f"{each.name} {each.detail}" for each in capabilities if each.name in NODE_SPECIFIC]
    return "; ".join(details) or f"not examined: {', '.join(each.name for each in report.missing)}"
