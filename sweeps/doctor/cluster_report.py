"""What a cluster's nodes can do: what they have in common, told once, and where they differ, told by node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sweeps.doctor.report import Report, mark
from trainables.system.capabilities import Capability

if TYPE_CHECKING:
    from rich.table import Table

DRIVER = "the driver"
CLUSTER, PACKAGES, ASKED = "Cluster", "Packages", "Asked"
# A driver and its workers speak to each other in pickles of their own code: Ray wants the same Python, too.
SAME = ("python", "paretune", "ray")
# Of these a number says how much is free just now: a node has its own, and that is no difference.
OWN = ("memory", "cache folder", "run folder")
# What was tried there; that it works is what counts, not by how much it is off.
TRIED = ("Quantizers", "Attention", "Kernels")


@dataclass(frozen=True)
class Examined:
    """A node, or the driver, and what was found there."""

    name: str
    report: Report
    host: str = ""
    ip: str = ""
    id: str = ""

    def to_tree(self) -> dict[str, Any]:
        return {"node": self.name, "host": self.host, "ip": self.ip, "id": self.id, **self.report.to_tree()}


@dataclass(frozen=True)
class Row:
    """One thing that is so in all ``names``, of the ``among`` that were asked for it."""

    topic: str
    found: Capability
    names: tuple[str, ...]
    among: tuple[str, ...]

    @property
    def common(self) -> bool:
        return len(self.names) == len(self.among)

    def which(self) -> str:
        """The nodes in few words: two and how many more, or all but a few."""
        others = [name for name in self.among if name not in self.names]
        if not others and len(self.among) > 1:
            return "all nodes"
        if len(others) < len(self.names) and 0 < len(others) <= 2:
            return f"all but {' and '.join(others)}"
        if len(self.names) > 3:
            return f"{', '.join(self.names[:2])} and {len(self.names) - 2} more"
        return ", ".join(self.names)


@dataclass(frozen=True)
class Fleet:
    """The driver (versions and tracking) and all nodes of a cluster."""

    driver: Report
    nodes: tuple[Examined, ...]

    @property
    def members(self) -> tuple[Examined, ...]:
        return (*self.nodes, Examined(DRIVER, self.driver))

    @property
    def missing(self) -> list[Row]:
        """What is needed and not there, with the nodes where it isn't."""
        return [row for row in self.rows() if row.found.needed and not row.found.works]

    @property
    def breaking(self) -> list[str]:
        """What has to be the same everywhere and isn't."""
        differ = {row.found.name for row in self.rows() if row.topic == PACKAGES and not row.common}
        return [name for name in SAME if name in differ]

    @property
    def exit_code(self) -> int:
        """0 when nothing that is needed is missing anywhere and nothing differs that must not, else 1."""
        return 1 if self.missing or self.breaking else 0

    def rows(self) -> list[Row]:
        """Everything found, each finding once with the nodes that it is true of."""
        fullest_first = sorted(self.members, key=lambda one: -len(one.report.topics))
        topics = dict.fromkeys(topic for one in fullest_first for topic in one.report.topics)
        return [row for topic in topics for row in self._rows_of(topic)]

    def _rows_of(self, topic: str) -> Iterator[Row]:
        asked = [one for one in self.members if topic in one.report.topics]
        groups: dict[tuple[Any, ...], tuple[Capability, list[str]]] = {}
        for one in asked:
            for found in one.report.topics[topic]:
                groups.setdefault(_essence(topic, found), (found, []))[1].append(one.name)
        order = list(dict.fromkeys(found.name for found, _ in groups.values()))
        among = tuple(one.name for one in asked)
        for found, names in sorted(groups.values(), key=lambda group: order.index(group[0].name)):
            yield Row(topic, found, tuple(names), among)

    def to_json(self) -> str:
        """The report for programs; ``differences`` holds all that isn't the same on all nodes."""
        tree = {
            "works": not self.exit_code,
            "driver": self.driver.to_tree(),
            "nodes": [node.to_tree() for node in self.nodes],
            "differences": self._differences(),
        }
        return json.dumps(tree, indent=2, ensure_ascii=False)

    def _differences(self) -> list[dict[str, Any]]:
        differing: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows():
            if not row.common and row.found.name not in OWN:
                differing.setdefault((row.topic, row.found.name), []).append(row)
        return [
            {
                "topic": topic,
                "name": name,
                "breaks": name in self.breaking,
                "found": [{**asdict(row.found), "nodes": list(row.names)} for row in rows],
            }
            for (topic, name), rows in differing.items()
        ]

    def table(self) -> Table:
        """The report for people: what each node has of its own, then all else once, with what differs marked."""
        from rich.table import Table
        from rich.text import Text

        table = Table("", "", "", "", box=None, show_header=False, pad_edge=False)
        table.add_row(Text("Nodes", style="bold"))
        for node in self.nodes:
            own = Capability(node.name, not node.report.missing, _own(node.report))
            table.add_row(mark(own), f"  {node.name}", Text(own.detail))
        topic = None
        for row in self.rows():
            if row.found.name not in OWN:
                if row.topic != topic:
                    topic = row.topic
                    table.add_row(Text(topic, style="bold"))
                where = Text("" if row.common else row.which(), style="yellow")
                table.add_row(mark(row.found), f"  {row.found.name}", Text(row.found.detail), where)
        return table

    def verdict(self) -> str:
        """The last lines: whether the nodes are alike, and whether it works, or what is missing where."""
        wrong = [f"{row.which()}: {row.found.name}: {row.found.detail}" for row in self.missing]
        wrong += [f"{name} has to be the same on the driver and on all nodes" for name in self.breaking]
        if not wrong:
            return f"{self._likeness()}\nAll that Paretune needs works on all of them."
        return "\n  ".join([f"{self._likeness()}\nParetune can't do its work on this cluster:", *wrong])

    def _likeness(self) -> str:
        differ = dict.fromkeys(difference["name"] for difference in self._differences())
        count = f"{len(self.nodes)} node{'s' * (len(self.nodes) != 1)}"
        return f"{count}, which differ in: {', '.join(differ)}." if differ else f"{count}, all alike."


def _essence(topic: str, found: Capability) -> tuple[Any, ...]:
    """What makes two findings the same one."""
    detail = "" if found.works and topic in TRIED else found.detail
    return found.name, found.works, detail


def _own(report: Report) -> str:
    """What a node has of its own, in one line; for one that couldn't be examined, because of what."""
    found = [one for topic in report.topics.values() for one in topic]
    said = [f"{one.name} {one.detail}" for one in found if one.name in OWN]
    return "; ".join(said) or f"not looked at: {', '.join(one.name for one in report.missing)}"
