"""The check of a draft while it is typed: ``paretune plan - --json`` as a child, whose former run it ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from sweeps.spec.problems import SpecError
from sweeps.spec.source import parse
from sweeps.ui.children import Completed, Jobs
from sweeps.ui.children.short_commands import REPLACED, TIMED_OUT
from sweeps.ui.drafts.form_state import form_state
from sweeps.ui.drafts.paths import outside_problems
from sweeps.ui.roots import Roots

SECONDS = 300.0  # the first look at new data tokenizes it


@dataclass(frozen=True)
class DraftFolder:
    """Where drafts stand: the data folder, which their paths are relative to; ``output`` is where runs are written."""

    folder: Path
    roots: Roots
    jobs: Jobs
    output: str

    def outside(self, text: str) -> list[dict[str, Any]]:
        """Problems with paths that lead out of the UI's folders; none of a text that can't be read."""
        try:
            return outside_problems(parse(self.folder / "spec.yaml", text), self.folder, self.roots)
        except (SpecError, YAMLError):
            return []

    async def check(self, text: str, name: str, who: str) -> dict[str, Any]:
        """The plan of a text, or ``{"replaced": True}`` once a newer check of ``who`` has begun."""
        if refused := await asyncio.to_thread(self.outside, text):
            form = await asyncio.to_thread(form_state, text, self.folder)
            return {"cells": [], "problems": [*refused, *form["problems"]], "notes": [], "refused": True}
        argv = ["plan", "-", "--json", "--base", str(self.folder / f"{name}.yaml"), "--output", self.output]
        completed = await self.jobs.run_json(
            argv, cwd=self.folder, stdin=text, timeout=SECONDS, replaces=f"plan:{who}"
        )
        return _answer(completed)

    async def preview(self, text: str, name: str, who: str, options: list[str]) -> dict[str, Any]:
        """The rows of a text's data as ``paretune data`` shows them."""
        if refused := await asyncio.to_thread(self.outside, text):
            return {"problems": refused, "refused": True}
        base = ["--base", str(self.folder / f"{name}.yaml")]
        completed = await self.jobs.run_json(
            ["data", "-", "--json", *base, *options],
            cwd=self.folder,
            stdin=text,
            timeout=SECONDS,
            replaces=f"data:{who}",
        )
        if completed.ended == REPLACED:
            return {REPLACED: True}
        return {"previews": completed.value, "error": None if completed.value else failure(completed)}


def _answer(completed: Completed) -> dict[str, Any]:
    if completed.ended == REPLACED:
        return {REPLACED: True}
    if isinstance(completed.value, dict):
        return completed.value
    return {"cells": [], "problems": [], "notes": [], "failed": failure(completed)}


def failure(completed: Completed) -> str:
    """Why a command printed no JSON: the end of what it printed."""
    if completed.ended == TIMED_OUT:
        return f"the command took more than {completed.timeout or 0:g} s"
    if completed.ended is not None:
        return completed.ended
    said = (completed.stderr or completed.stdout).strip()
    if "Traceback (most recent call last)" in said:
        said = said.rpartition("\n")[2]  # the terminal of a command shows where
    return said[-2000:] or f"the command ended with code {completed.exit_code}"
