"""The pages of W&B that show a sweep: its report and the project's view; their addresses are kept in the run folder."""

from __future__ import annotations

import sys
from typing import Any

from sweeps.tracking import links
from sweeps.tracking.base import FollowedRun
from sweeps.tracking.connectivity import wandb_server
from sweeps.tracking.run_report import RunReport
from sweeps.tracking.wandb_content import project_view, sweep_report
from sweeps.tracking.wandb_content.sweep_report import Place
from trainables.system import redaction

TRACKER = "wandb"


class Pages:
    """Saves the pages of one sweep, which a resumed sweep updates."""

    def __init__(self, run: FollowedRun) -> None:
        self.run, self._announced = run, False

    def announce(self, place: Place) -> None:
        """Saves the pages as the first trial begins, so that people can follow it; those that are there stay.

        Without them the sweep's runs are still sent, so a failure is written to the log alone.
        """
        if self._announced:
            return
        self._announced = True
        if "report_id" in self._known(place):
            return
        try:
            self._save(place, None)
        except Exception as error:
            reason = redaction.redacted(f"{type(error).__name__}: {error}")
            print(f"The W&B report could not be saved as the sweep began: {reason}", file=sys.stderr)

    def complete(self, place: Place, results: RunReport) -> None:
        """Saves the report with the results."""
        self._save(place, results)

    def _save(self, place: Place, results: RunReport | None) -> None:
        known = self._known(place)
        report = sweep_report.save(place, self.run, results, known.get("report_id"))
        view = project_view.save(place.entity, place.project)
        pages = {"W&B report": report.url, "W&B workspace": view}
        links.write(self.run.folder, TRACKER, pages, report_id=report.id, **self._location(place))

    def _known(self, place: Place) -> dict[str, Any]:
        """What was saved at the same place: another project or server has none of it."""
        known = links.read(self.run.folder, TRACKER)
        location = self._location(place)
        return known if {name: known.get(name) for name in location} == location else {}

    @staticmethod
    def _location(place: Place) -> dict[str, str]:
        return {"server": wandb_server(), "entity": place.entity, "project": place.project}
