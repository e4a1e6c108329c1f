"""What can't work on this machine, and why: by ``paretune doctor --json``, asked once in the life of a UI."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.ui.children import Jobs

SECONDS = 300.0
# Names of doctor's topics and items -> the settings whose option has that name, or another one.
TOPICS = {"Attention": "attention", "Kernels": "kernels", "Precision": "precision", "Tracking": "wandb"}
QUANTIZERS = {
    "hqq": ("backend", "hqq"),
    "eetq": ("backend", "eetq"),
    "bitsandbytes 4-bit": ("backend", "bnb"),
}


@dataclass
class Availability:
    """The options that can't work: setting -> option -> why. ``paretune doctor`` is slow, so it runs once."""

    jobs: Jobs
    folder: Path
    _asked: asyncio.Task[dict[str, dict[str, str]]] | None = field(default=None, repr=False)

    async def unavailable(self) -> dict[str, dict[str, str]]:
        if self._asked is None or (self._asked.done() and self._failed()):
            self._asked = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asked)

    def _failed(self) -> bool:
        assert self._asked is not None
        return self._asked.cancelled() or self._asked.exception() is not None or not self._asked.result()

    async def _ask(self) -> dict[str, dict[str, str]]:
        completed = await self.jobs.run_json(["doctor", "--json"], cwd=self.folder, timeout=SECONDS)
        return unavailable_options(completed.value)


def unavailable_options(report: Any) -> dict[str, dict[str, str]]:
    """The options that do not work by a report of ``doctor --json``; none for what is no report.

    >>> item = {"name": "eetq", "works": False, "detail": "needs `pip install eetq`"}
    >>> unavailable_options({"topics": {"Quantizers": [item]}})
    {'backend': {'eetq': 'needs `pip install eetq`'}}
    """
    found: dict[str, dict[str, str]] = {}
    for topic, item in _items(report):
        if item.get("works") is not False:
            continue
        name, why = str(item.get("name")), str(item.get("detail") or item.get("reason") or "")
        if topic in TOPICS:
            found.setdefault(TOPICS[topic], {})[name] = why
        elif topic == "Quantizers" and name in QUANTIZERS:
            setting, option = QUANTIZERS[name]
            found.setdefault(setting, {})[option] = why
    return found


def _items(report: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    topics = report.get("topics") if isinstance(report, dict) else None
    for topic, items in topics.items() if isinstance(topics, dict) else ():
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict):
                yield str(topic), item
