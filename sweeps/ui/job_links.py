"""The pages of the UI that show what a job has made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sweeps.ui.context import Ui
from trainables.storage.home import home


def job_links(ui: Ui, job: dict[str, Any]) -> list[dict[str, str]]:
    """Addresses, and the key of the words that name each; ``job`` is :meth:`Job.summary`."""
    links = []
    if job["run"] and ui.runs.get(job["run"]) is not None:
        links.append({"words": "jobs.to_run", "path": f"/runs/{job['run']}"})
    if job["kind"] == "report" and job["state"] == "done" and (name := _joint_report(job["argv"])):
        links.append({"words": "jobs.to_report", "path": f"/reports/{name}/index.html"})
    return links


def _joint_report(argv: list[str]) -> str | None:
    """The name of the report over several runs that a command wrote; ``None`` if it was another report."""
    if "--output" not in argv[:-1]:
        return None
    folder = Path(argv[argv.index("--output") + 1])
    return folder.name if folder.parent == home() / "ui" / "reports" else None
