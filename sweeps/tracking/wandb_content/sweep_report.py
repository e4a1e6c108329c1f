"""The W&B Report of a sweep: its answer, panels over its runs, tables, failures, and how to repeat it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import wandb_workspaces.reports.v2 as wr
from wandb_workspaces import expr

from sweeps.spec.wandb_names import MAX_LENGTH
from sweeps.tracking.base import FollowedRun
from sweeps.tracking.run_report import RunReport, Section
from sweeps.tracking.wandb_content import panels
from sweeps.tracking.wandb_content.trial_values import SWEEP, sweep_key

SUMMARY_OF = "summary_of"  # the config key of the summary run, which has no key that trials are found by
SHOWN_BY = {("config", SWEEP), ("config", SUMMARY_OF)}  # what the panels' runs are found by
RUNNING = "The sweep is running. The panels follow its trials; the answer comes at its end."


@dataclass(frozen=True)
class Place:
    """Where a sweep's W&B runs are."""

    entity: str
    project: str


@dataclass(frozen=True)
class SavedReport:
    """A report at W&B: by its id it is updated."""

    id: str
    url: str


def save(place: Place, run: FollowedRun, results: RunReport | None, known_id: str | None) -> SavedReport:
    """Saves the report of a sweep, in place of the one with ``known_id``, if that is still there and its own.

    ``results``: ``None`` while the sweep runs.
    """
    report = wr.Report(
        entity=place.entity,
        project=place.project,
        title=run.name[:MAX_LENGTH],
        description=str(run.environment.get("question") or ""),
        width="fluid",
        blocks=list(blocks(place, run, results)),
    )
    if known_id is not None and _is_own(known_id, place, run):
        report.id = known_id
    report.save()
    return SavedReport(report.id, str(report.url))


def _is_own(report_id: str, place: Place, run: FollowedRun) -> bool:
    """Whether a report is still at W&B, where people may delete it, and shows this sweep.

    The id is from the run folder, which somebody else may have made: it could name any report that the user may change.
    """
    import wandb
    from wandb_workspaces._graphql import execute_graphql
    from wandb_workspaces.reports.v2 import gql

    view = execute_graphql(wandb.Api(), gql.view_report, {"reportId": report_id}).get("view")
    if view is None:
        return False
    project = view.get("project") or {}
    is_here = (project.get("entityName"), project.get("name")) == (place.entity, place.project)
    return is_here and sweep_key(run) in _filtered_by(json.loads(view.get("spec") or "null"))


def _filtered_by(content: Any) -> Iterator[Any]:
    """The sweeps whose runs the panels of a report show, by its content as W&B keeps it."""
    if isinstance(content, dict):
        key = content.get("key")
        if isinstance(key, dict) and (key.get("section"), key.get("name")) in SHOWN_BY:
            yield content.get("value")
    if isinstance(content, dict | list):
        for part in content.values() if isinstance(content, dict) else content:
            yield from _filtered_by(part)


def blocks(place: Place, run: FollowedRun, results: RunReport | None) -> Iterator[Any]:
    """The blocks of the report, in their order."""
    if results is None:
        yield wr.P(RUNNING)
        yield from _panels(place, run, (), {})
        return
    answer, comparison, *others = results.sections
    yield wr.P(results.facts)
    yield from _text(answer)
    yield from _panels(place, run, results.searched, results.colours)
    yield from _text(comparison)
    yield _grid(_summary_run(place, run), [panels.table(panels.COMPARISON), panels.pareto_front()])
    if next(results.sample_answers(), None) is not None:
        yield wr.H2("Sample answers side by side")
        yield _grid(_summary_run(place, run), [panels.table(panels.SAMPLES)])
    for section in others:
        yield from _text(section)


def _text(section: Section) -> Iterator[Any]:
    title, markdown = section
    if markdown:
        yield wr.H2(title)
        yield wr.MarkdownBlock(text=markdown)


def _panels(
    place: Place, run: FollowedRun, searched: Iterable[str], colours: dict[str, str]
) -> Iterator[Any]:
    for title, shown in panels.by_subject(tuple(searched)).items():
        yield wr.H2(title)
        yield _grid(_trials(place, run, colours), shown)


def _grid(runset: wr.Runset, shown: list[Any]) -> wr.PanelGrid:
    return wr.PanelGrid(runsets=[runset], panels=shown)


def _trials(place: Place, run: FollowedRun, colours: dict[str, str]) -> wr.Runset:
    """The runs of the sweep's trials, each in the colour of its method."""
    settings = {f"{run.id}-{trial}": wr.RunSettings(color=colour) for trial, colour in colours.items()}
    filters = [expr.Config(SWEEP) == sweep_key(run)]
    return wr.Runset(
        entity=place.entity, project=place.project, name="Trials", filters=filters, run_settings=settings
    )


def _summary_run(place: Place, run: FollowedRun) -> wr.Runset:
    filters = [expr.Config(SUMMARY_OF) == sweep_key(run)]
    return wr.Runset(entity=place.entity, project=place.project, name="Summary", filters=filters)
