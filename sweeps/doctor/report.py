"""``paretune doctor``: what this machine can do, and what is missing for Paretune to do its work.

>>> report = examine()  # doctest: +SKIP
>>> report.exit_code  # doctest: +SKIP
0

On a cluster every node is asked by a process of its own there (``sweeps.cluster.remote_tasks``), which prints it:

    python -m sweeps.doctor      the question, as JSON, on standard input
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.system.capabilities import Capability

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

# Nothing more is imported up here: where a package is missing, that has to be said.


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

    def to_tree(self) -> dict[str, Any]:
        """``{"works": bool, "topics": {topic: [capability, ...]}}``."""
        topics = {topic: [asdict(found) for found in all_found] for topic, all_found in self.topics.items()}
        return {"works": not self.missing, "topics": topics}

    def to_json(self) -> str:
        """The report for programs."""
        return json.dumps(self.to_tree(), indent=2, ensure_ascii=False)

    @classmethod
    def of_json(cls, text: str) -> Report:
        """The report that ``to_json`` gave."""
        topics = json.loads(text)["topics"].items()
        return cls({topic: [Capability(**found) for found in all_found] for topic, all_found in topics})

    def table(self) -> Table:
        """The report for people."""
        from rich.table import Table
        from rich.text import Text

        table = Table("", "", "", box=None, show_header=False, pad_edge=False)
        for topic, all_found in self.topics.items():
            table.add_row(Text(topic, style="bold"))
            for found in all_found:
                table.add_row(mark(found), f"  {found.name}", Text(found.detail))
        return table

    def verdict(self) -> str:
        """The last line: whether it works, or what doesn't."""
        if not self.missing:
            return "All that Paretune needs works here."
        return f"Paretune can't do its work here without: {', '.join(found.name for found in self.missing)}."


def mark(found: Capability) -> Text:
    """``ok``; else ``missing`` where it is needed, and ``no`` where it isn't."""
    from rich.text import Text

    if found.works:
        return Text("ok", style="green")
    return Text("missing", style="red") if found.needed else Text("no", style="dim")


def examine(output: str = "runs", driver: bool = True) -> Report:
    """Asks this process's machine about everything; runs are to go to ``output``, and ``driver``: W&B is its job.

    Torch is imported for it, which takes some seconds.
    """
    from trainables.system import capabilities, quiet

    quiet.silence()
    topics = {"Packages": versions()}
    if any(not found.works for found in topics["Packages"]):
        # The rest is asked of these very packages.
        return Report(topics)
    from sweeps.cluster import url_access
    from trainables.storage.urls import is_url
    from trainables.system import machine
    from trainables.trial import scratch

    return Report(
        {
            "Machine": [*machine.examine(scratch.local(output)), token()],
            **({"Storage": [url_access.here(output)]} if driver and is_url(output) else {}),
            "Quantizers": capabilities.quantizers(),
            "Attention": capabilities.attention(),
            "Kernels": capabilities.kernels(),
            "Precision": capabilities.precisions(),
            **({"Tracking": tracking()} if driver else {}),
            **topics,
        }
    )


def asked(names: Iterable[str]) -> Report:
    """Versions, and of all else only what is named, as ``TrialConfig.needs`` names it."""
    from trainables.system import capabilities, quiet

    quiet.silence()
    topics = {"Packages": versions()}
    if all(found.works for found in topics["Packages"] if found.name == "torch"):
        topics["Asked"] = [capabilities.check(name) for name in names]
    return Report(topics)


def versions() -> list[Capability]:
    """Python, Paretune itself, and every package it depends on."""
    from trainables.system import capabilities

    return [capabilities.python(), capabilities.paretune(), *capabilities.packages()]


def token() -> Capability:
    """Whether other users can read Ray's token, with which code can be run in its owner's name. Ray writes it so."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    try:
        rights = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return Capability(
            "Ray token", True, f"none at {path}; run without --address makes its own", needed=False
        )
    if rights & 0o077:
        said = f"other users can read {path} (mode {rights:o}); chmod 600 {path}"
        return Capability("Ray token", False, said, needed=False)
    return Capability("Ray token", True, f"{path} is its owner's alone", needed=False)


def tracking() -> list[Capability]:
    """Whether W&B can record; and whether its server answers, if there is a key for it and nobody said offline."""
    from trainables.system import capabilities

    found = [capabilities.wandb()]
    silenced = os.environ.get("WANDB_MODE") in ("offline", "disabled")
    if found[0].works and capabilities.wandb_key() is not None and not silenced:
        from sweeps.tracking.connectivity import reachable

        works = reachable()
        said = "answers" if works else "can't be reached, so runs stay offline; `wandb sync` sends them later"
        found.append(Capability("W&B server", works, said, needed=False))
    return found
