"""``index.html`` and ``samples.html``: pages that need nothing else, no network and no other file.

The markup is in ``reports/templates``. Jinja escapes every value that is not :class:`~markupsafe.Markup`; only the
drawn figures, our own style sheet and our own script are. The page's policy allows that script alone, by its hash;
without scripts everything can be read.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports import units
from reports.analysis import comparison_notes
from reports.analysis.data_preview import missing_data_note
from reports.analysis.evaluation_sets import not_measured
from reports.analysis.group import Group
from reports.analysis.recommendation.front_steps import front_sentence
from reports.analysis.search.rate_search import search_sentences
from reports.analysis.yardsticks import chosen_and_judged
from reports.claims.wording import NOTE, claim_sentences
from reports.pages import label_tables, next_steps, peft_table, reproduce, tables, trial_tables
from reports.pages.notes import NOTES
from reports.pages.report import NO_ANSWER, Report
from reports.plots.figures import Figures
from trainables.system.shown_text import shown


def index_page(report: Report, figures: Figures) -> str:
    """The whole report as HTML. The answer comes first."""
    return _environment().get_template("index.html").render(
        **_header(report.title, report.question, report.facts),
        **_script("page.js"),
        report=report,
        figures=figures,
        notes=NOTES,
        no_answer=NO_ANSWER,
        claims=claim_sentences(report.findings),
        claims_note=NOTE,
        comparison_notes=[note for run in report.runs for note in comparison_notes.notes(run)],
        memory_source=reproduce.memory_source(report.runs),
        missing_data_note=missing_data_note(report.runs),
        samples_file=next_steps.SAMPLES_FILE,
        peft=peft_table,
        unfinished_table=trial_tables.unfinished(report.groups),
        repeatability=reproduce.REPEATABILITY,
    )  # fmt: skip


def samples_page(report: Report) -> str | None:
    """What the cells answer to the same prompts, as a page of its own; ``None`` without any answers."""
    if not report.sample_answers:
        return None
    facts = (
        "Answers of the best trial of each cell to the same held-out prompts. Long answers may be cut off."
    )
    header = _header(f"{report.title}: answers", None, facts)
    return _environment().get_template("samples.html").render(**header, report=report, script=None)


def _header(title: str, question: str | None, facts: str) -> dict[str, Any]:
    return {"title": title, "question": question, "facts": facts, "style": Markup(_own_file("style.css"))}


def _script(name: str) -> dict[str, Any]:
    """The script, and the hash by which a content security policy allows it (W3C CSP 3, section 2.3.1)."""
    script = _own_file(name)
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    return {"script": Markup(script), "script_hash": f"sha256-{digest}"}


def _own_file(name: str) -> str:
    return (resources.files("reports") / "templates" / name).read_text(encoding="utf-8")


def _shown(value: Any) -> Any:
    """What stands in a page, with marks of direction and control characters named."""
    return (
        type(value)(shown(value))
        if isinstance(value, Markup)
        else shown(value)
        if isinstance(value, str)
        else value
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "unbroken": unbroken,
        "counted": units.count,
        "number": units.number,
        "message_text": message_text,
    }
    environment.globals |= {
        "commands": next_steps.commands,
        "judged_sentence": _judged_sentence,
        "comparison_table": tables.comparison,
        "quality_table": tables.quality_details,
        "cost_table": tables.cost_details,
        "has_other_measures": tables.has_other_measures,
        "front_sentence": front_sentence,
        "pairs_table": tables.cell_pairs,
        "gained_and_lost_table": tables.gained_and_lost,
        "labels": label_tables,
        "has_sets": lambda groups: any(group.sets or not_measured(group.all_rows) for group in groups),
        "not_measured": lambda group: not_measured(group.all_rows),
        "importance_table": trial_tables.importances,
        "without_importance": trial_tables.without_importance,
        "early_stops": _early_stops,
        "expected_best_table": trial_tables.expected_bests,
        "search_sentences": search_sentences,
        "trials_table": trial_tables.trials,
        "trial_work_table": trial_tables.trial_work,
        "run_facts": reproduce.facts,
        "plan_notes": reproduce.plan_notes,
        "unplaced_trials": _unplaced_trials,
        "searched_settings": _searched_settings,
    }
    return environment


def unbroken(text: str) -> str:
    """The text with no-break spaces between numbers and units and within intervals: no line ends between them."""
    text = re.sub(r"\(([^()\s]+) to ([^()\s]+)\)", "(\\1\u00a0to\u00a0\\2)", text)
    # The unit has to end there: the s of `3 steps` stands for no second.
    return re.sub(r"(\d) (%|GiB|MiB|s|min|h)(?![\w])", "\\1\u00a0\\2", text)


def message_text(message: dict[str, Any]) -> str:
    """The content of a message, followed by the tools it calls as JSON."""
    content, calls = message.get("content"), message.get("tool_calls")
    parts = [str(content)] if content else []
    return "\n".join([*parts, json.dumps(calls, ensure_ascii=False)] if calls else parts)


def _early_stops(groups: Iterable[Group]) -> bool:
    """Whether any trial was stopped early, or was done early."""
    rows = [row for group in groups for row in group.rows]
    early = any(record.ended_early for row in rows for record in row.cell.records)
    return early or any(row.counts["stopped"] for row in rows)


def _judged_sentence(group: Group) -> str:
    return chosen_and_judged([row.cell for row in group.rows]) or ""


def _unplaced_trials(group: Group) -> str:
    """How many trials are not in the group's Pareto figure, in a sentence; empty where all are."""
    records = [record for row in group.rows for record in row.cell.records]
    unplaced = sum(record.quality is None or record.peak_bytes is None for record in records)
    if not unplaced:
        return ""
    unscored = [record for record in records if record.status == "stopped" and record.quality is None]
    by_hand = sum(record.stopped_by_hand for record in unscored)
    counts = {"stopped early": len(unscored) - by_hand, "stopped by hand": by_hand}
    stopped = units.join([f"{count} {words}" for words, count in counts.items() if count])
    why = f" ({stopped}, and therefore not scored)" if stopped else ""
    return f"Not in the figure, because their quality or memory is unknown: {units.count(unplaced, 'trial')}{why}."


def _searched_settings(groups: Iterable[Group]) -> str:
    """A heading that names what was searched: ``Effect of rank, alpha and learning rate``."""
    paths = dict.fromkeys(path for group in groups for path in group.searched)
    names = list(dict.fromkeys(map(units.setting_name, paths)))
    return f"Effect of {units.join(names)}" if names else "Effect of the settings"
