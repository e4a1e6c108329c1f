"""What can't work on this machine, and why: by ``paretune doctor --json``, asked once in the life of a UI."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.ui.children import Jobs
from sweeps.ui.drafts.checking import failure

SECONDS = 900.0  # doctor tries everything, some of it twice
Rule = dict[str, Any]


class NoReport(Exception):  # noqa: N818
    """``paretune doctor`` gave no report."""


@dataclass
class Availability:
    """The values of settings that can't work here. ``paretune doctor`` is slow, so it runs once."""

    jobs: Jobs
    folder: Path
    _asked: asyncio.Task[list[Rule]] | None = field(default=None, repr=False)

    async def unavailable(self) -> list[Rule]:
        if self._asked is None or (self._asked.done() and self._failed()):
            self._asked = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asked)

    def _failed(self) -> bool:
        assert self._asked is not None
        return self._asked.cancelled() or self._asked.exception() is not None

    async def _ask(self) -> list[Rule]:
        completed = await self.jobs.run_json(["doctor", "--json"], cwd=self.folder, timeout=SECONDS)
        if not isinstance(completed.value, dict):
            raise NoReport(failure(completed))  # and the next page asks again
        return rules(completed.value)


def rules(report: Any) -> list[Rule]:
    """Which values of which settings can't work, by a report of ``doctor --json``; none of what is no report.

    >>> rules({"unavailable": [{"setting": "model.kernels", "values": ["liger"], "when": {}, "reason": "no GPU"}]})
    [{'setting': 'model.kernels', 'values': ['liger'], 'when': {}, 'reason': 'no GPU'}]
    """
    listed = report.get("unavailable") if isinstance(report, dict) else None
    found = []
    for each in listed if isinstance(listed, list) else ():
        match each:
            case {
                "setting": str(setting),
                "values": list() | None as values,
                "when": dict(when),
                "reason": str(reason),
            }:
                found.append({"setting": setting, "values": values, "when": when, "reason": reason})
    return found
