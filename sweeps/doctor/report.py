"""``paretune doctor``: what this machine can do, and what is missing for Paretune to work.

>>> report = examine()  # doctest: +SKIP
>>> report.exit_code  # doctest: +SKIP
0

On a cluster, a process on every node (``sweeps.cluster.remote_tasks`` starts it) prints the report of that node:

    python -m sweeps.doctor      the question, as JSON, on standard input
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.system.capabilities import Capability

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

# Nothing else is imported at the top: the doctor must run, and say so, where packages are missing.


@dataclass(frozen=True)
class Report:
    """Capabilities by topic."""

    topics: dict[str, list[Capability]]

    @property
    def missing(self) -> list[Capability]:
        """What Paretune needs and does not have."""
        return [
            capability
            for topic in self.topics.values()
            for capability in topic
            if capability.needed and not capability.works
        ]

    @property
    def exit_code(self) -> int:
        """0 if everything that Paretune needs works, else 1."""
        return 1 if self.missing else 0

    def to_tree(self) -> dict[str, Any]:
        """``{"works": bool, "topics": {topic: [capability, ...]}, "unavailable": [...]}``."""
        from sweeps.doctor.unavailable import unavailable_values

        topics = {topic: list(map(asdict, capabilities)) for topic, capabilities in self.topics.items()}
        examined = (capability for topic in self.topics.values() for capability in topic)
        return {
            "works": not self.missing,
            "topics": topics,
            "unavailable": list(unavailable_values(examined)),
        }

    def to_json(self) -> str:
        """The report for programs."""
        return json.dumps(self.to_tree(), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The inverse of :meth:`to_json`."""
        topics = json.loads(text)["topics"].items()
        return cls({topic: [Capability(**each) for each in capabilities] for topic, capabilities in topics})

    def table(self) -> Table:
        """The report for people."""
        from rich.table import Table
        from rich.text import Text

        table = Table("", "", "", box=None, show_header=False, pad_edge=False)
        for topic, capabilities in self.topics.items():
            table.add_row(Text(topic, style="bold"))
            for capability in capabilities:
                table.add_row(status_mark(capability), f"  {capability.name}", Text(capability.detail))
        return table

    def verdict(self) -> str:
        """The last line: that everything works, or what is missing."""
        if not self.missing:
            return "Everything that Paretune needs works on this machine."
        return (
            f"Paretune can't work on this machine without: {', '.join(each.name for each in self.missing)}."
        )


def status_mark(capability: Capability) -> Text:
    """``ok`` if it works; else ``missing`` if Paretune needs it, and ``no`` if it is optional."""
    from rich.text import Text

    if capability.works:
        return Text("ok", style="green")
    return Text("missing", style="red") if capability.needed else Text("no", style="dim")


def examine(output: str = "runs", driver: bool = True) -> Report:
    """Examines this machine; ``output`` is where runs will be written.

    ``driver``: whether sweeps are started from this machine, so that tracking and the URL of the output matter.
    Imports torch, which takes some seconds.
    """
    from trainables.system import capabilities, quiet

    quiet.silence()
    packages = package_versions()
    if any(not package.works for package in packages):
        return Report({"Packages": packages})  # the other examinations import these packages
    from sweeps.cluster import url_access
    from trainables.storage.urls import is_url
    from trainables.system import machine
    from trainables.trial import scratch

    return Report(
        {
            "Machine": [*machine.examine(scratch.local_run_folder(output)), ray_token(), leftovers()],
            **({"Storage": [url_access.from_this_machine(output)]} if driver and is_url(output) else {}),
            "Quantizers": capabilities.quantizers(),
            "Attention": capabilities.attention(),
            "Kernels": capabilities.kernels(),
            "Optimizers": capabilities.optimizers(),
            "Precision": capabilities.precisions(),
            **({"Search": capabilities.samplers(), "Tracking": tracking()} if driver else {}),
            "Packages": packages,
        }
    )


def examine_capabilities(names: Iterable[str]) -> Report:
    """Package versions, and the capabilities of these names (those of ``capabilities.CHECKS``)."""
    from trainables.system import capabilities, quiet

    quiet.silence()
    topics = {"Packages": package_versions()}
    # The checks import torch, so without it they would all fail for the same reason.
    if all(package.works for package in topics["Packages"] if package.name == "torch"):
        topics["Requested"] = [capabilities.check_capability(name) for name in names]
    return Report(topics)


def package_versions() -> list[Capability]:
    """Python, Paretune itself, and every package it depends on."""
    from trainables.system import capabilities

    return [capabilities.python(), capabilities.paretune(), *capabilities.packages(), tested_with()]


def tested_with() -> Capability:
    """Which packages are installed in another version than Paretune is tested with; those work as well."""
    from trainables.system import capabilities
    from trainables.system.tested_versions import installed_otherwise

    found = installed_otherwise(each.name for each in capabilities.requirements())
    others = [f"{name} {tested} (installed: {installed})" for name, (tested, installed) in found.items()]
    detail = f"{', '.join(others)}; all others are the tested versions" if others else "these versions"
    return Capability("tested with", True, detail, needed=False)


def ray_token() -> Capability:
    """Whether other users can read Ray's token, with which they could run code in its owner's name.

    Ray itself writes the file with permissions that allow it.
    """
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        detail = f"no file {path}; run without --address creates a token of its own"
        return Capability("Ray token", True, detail, needed=False)
    if mode & 0o077:
        detail = f"other users can read {path} (mode {mode:o}); chmod 600 {path}"
        return Capability("Ray token", False, detail, needed=False)
    return Capability("Ray token", True, f"only its owner can read {path}", needed=False)


def leftovers() -> Capability:
    """The temporary folders that killed processes of this user left: how many, how large, how old."""
    from sweeps.cluster import private_folder
    from trainables.storage import files
    from trainables.system.byte_sizes import gib

    folders = private_folder.leftovers()
    if not folders:
        return Capability("leftovers", True, "no temporary files of killed processes", needed=False)
    size = sum(map(files.folder_bytes, folders))
    oldest = min(folders, key=lambda folder: folder.stat().st_mtime)
    hours = (time.time() - oldest.stat().st_mtime) / 3600
    age = f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"
    detail = (
        f"{len(folders)} temporary folder{'s' * (len(folders) != 1)} of killed processes, {gib(size)}, the oldest "
        f"{age} old ({oldest}); the next run or serve removes them"
    )
    return Capability("leftovers", True, detail, needed=False)


def tracking() -> list[Capability]:
    """Which trackers can record."""
    return [*_wandb(), *_other_trackers()]


def _wandb() -> list[Capability]:
    """Whether W&B can record and is logged in; and whether its server answers, if it is and is not set offline."""
    from trainables.system import capabilities

    wandb = capabilities.wandb()
    if not wandb.works:
        return [wandb]
    # The key itself is shown nowhere.
    if capabilities.wandb_key() is None:
        return [
            wandb,
            Capability("W&B login", False, "no API key: `wandb login`, or WANDB_API_KEY", needed=False),
        ]
    login = Capability("W&B login", True, "there is an API key", needed=False)
    if os.environ.get("WANDB_MODE") in (*capabilities.WANDB_OFFLINE, "disabled"):
        return [wandb, login]
    from sweeps.tracking.connectivity import server_reachable

    works = server_reachable()
    detail = "reachable" if works else "can't be reached: runs stay offline; `wandb sync` uploads them later"
    return [wandb, login, Capability("W&B server", works, detail, needed=False)]


def _other_trackers() -> Iterator[Capability]:
    """The trackers that a package of their own records with; TensorBoard's files need none."""
    from importlib.util import find_spec

    from sweeps.planning.checks.tracking import PACKAGES

    yield Capability("tensorboard", True, "its files are written without its package", needed=False)
    for key, package in PACKAGES.items():
        if find_spec(package) is None:
            yield Capability(key, False, f"not installed: pip install 'paretune[{key}]'", needed=False)
        else:
            yield Capability(key, True, "installed", needed=False)
