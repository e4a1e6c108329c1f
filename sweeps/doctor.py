"""``paretune doctor``: what this machine can do, and what is missing for Paretune to do its work.

>>> report = examine()  # doctest: +SKIP
>>> report.exit_code  # doctest: +SKIP
0
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from rich.table import Table
from rich.text import Text

from trainables.capabilities import Capability


@dataclass(frozen=True)
class Report:
    """What was found, by topic."""

    topics: dict[str, list[Capability]]

    @property
    def missing(self) -> list[Capability]:
        """What Paretune needs and doesn't have."""
        return [
            found for topic in self.topics.values() for found in topic if found.needed and not found.works
        ]

    @property
    def exit_code(self) -> int:
        """0 when all that Paretune needs works, else 1."""
        return 1 if self.missing else 0

    def to_json(self) -> str:
        """The report for programs: ``{"works": bool, "topics": {topic: [capability, ...]}}``."""
        topics = {topic: [asdict(found) for found in all_found] for topic, all_found in self.topics.items()}
        return json.dumps({"works": not self.missing, "topics": topics}, indent=2, ensure_ascii=False)

    def table(self) -> Table:
        """The report for people."""
        table = Table("", "", "", box=None, show_header=False, pad_edge=False)
        for topic, all_found in self.topics.items():
            table.add_row(Text(topic, style="bold"))
            for found in all_found:
                table.add_row(_mark(found), f"  {found.name}", Text(found.detail))
        return table

    def verdict(self) -> str:
        """The last line: whether it works, or what doesn't."""
        if not self.missing:
            return "All that Paretune needs works here."
        return f"Paretune can't do its work here without: {', '.join(found.name for found in self.missing)}."


def _mark(found: Capability) -> Text:
    if found.works:
        return Text("ok", style="green")
    return Text("missing", style="red") if found.needed else Text("no", style="dim")


def examine() -> Report:
    """Asks this process's machine about everything. Torch is imported for it, which takes some seconds."""
    from trainables import capabilities, noise

    noise.silence()
    topics = {"Packages": [capabilities.python(), *capabilities.packages()]}
    if any(not found.works for found in topics["Packages"]):
        # The rest is asked of these very packages.
        return Report(topics)
    from trainables import machine

    return Report(
        {
            "Machine": machine.examine(),
            "Quantizers": capabilities.quantizers(),
            "Attention": capabilities.attention(),
            "Kernels": capabilities.kernels(),
            "Precision": capabilities.precisions(),
            "Tracking": [capabilities.wandb()],
            **topics,
        }
    )
