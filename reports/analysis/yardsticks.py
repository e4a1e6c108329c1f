"""Which cells are measured alike, so that their qualities can be ranked: by one measure, reward model and tokens.

A reward model's rewards are known up to a zero and a scale (R. A. Bradley and M. E. Terry, "Rank analysis of incomplete
block designs", Biometrika 39, 1952): those of two models can't be compared. A loss per token is of its tokens: another
cutoff, template or treatment of thoughts makes others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from reports import units
from reports.analysis.cells import Cell
from reports.analysis.quality_names import shown_objective_name
from reports.text import joined, text
from trainables.results import Record
from trainables.system.shown_text import with_short_hashes

# A measure of texts, which another tokenization or reward leaves as it is.
SHARED_MEASURE, SHARED_UNIT = "exact_match", "fraction"
PER_TOKEN = ("loss", "bits_per_byte", "masked_loss")
TOKEN_SETTINGS = (
    *("template", "template_arguments", "thinking", "special_tokens", "end", "turns"),
    *("default_system", "tool_format"),
)
# What may differ, and why qualities that differ in it are not ranked.
REASONS = {
    "measure": text("they are judged by different measures"),
    "reward": text("the rewards of different reward models have neither a zero nor a scale in common"),
    "tokens": text("losses over different tokens can't be compared"),
}


@dataclass(frozen=True)
class Alike:
    """Cells that are measured alike.

    ``label`` says by what, where other cells of their stage, model and data are measured otherwise; ``note`` says why
    they are ranked apart from these, or by another measure than their stage's.
    """

    cells: tuple[Cell, ...]
    label: str | None = None
    note: str | None = None


def measured_alike(cells: Sequence[Cell]) -> list[Alike]:
    """The cells in groups that are measured alike; all in one by a measure that they share, where there is one."""
    yardsticks = {cell.label: _yardstick(cell) for cell in cells}
    known = [each for each in yardsticks.values() if each is not None]
    differing = [part for part in REASONS if _differs(part, known)]
    if not differing:
        return [Alike(tuple(cells))]
    reason = units.join([REASONS[part] for part in differing])
    trained = [cell for cell in cells if not cell.is_base and cell.quality is not None]
    judged = [record for cell in trained for record in cell.judged_trials]
    if all(_value(record, SHARED_MEASURE) is not None for record in judged):
        measure = units.readable(SHARED_MEASURE)
        note = text(
            "These cells are ranked by {measure}, which all have: {reason}.", measure=measure, reason=reason
        )
        return [Alike(tuple(measured_by(cell, SHARED_MEASURE, SHARED_UNIT) for cell in cells), None, note)]
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        own = yardsticks[cell.label]
        # A cell without a result is measured by nothing: it stands with the first.
        values = {part: (own or known[0])[part] for part in differing}
        groups.setdefault(json.dumps(values), []).append(cell)
    return [
        Alike(tuple(members), _label(json.loads(values)), _apart(members, cells, reason))
        for values, members in groups.items()
    ]


def measured_by(cell: Cell, measure: str, unit: str) -> Cell:
    """The cell with another measure as its quality; its best trial is still the one with the best objective."""
    named = {"quality_name": measure, "quality_unit": unit, "quality_higher_is_better": True}
    records = (
        record.model_copy(update={"quality": _value(record, measure), **named}) for record in cell.records
    )
    return replace(cell, records=tuple(records))


def _value(record: Record, measure: str) -> float | None:
    return record.quality if record.quality_name == measure else record.metrics.get(measure)


def chosen_and_judged(cells: Sequence[Cell]) -> str | None:
    """By what the cells' best trials were chosen, and by what they are judged; ``None`` where that is unknown."""
    bests = [cell.best for cell in cells if not cell.is_base and cell.best is not None]
    chosen = dict.fromkeys(shown_objective_name(best.objective_name) for best in bests if best.objective_name)
    judged = dict.fromkeys(units.readable(best.quality_name) for best in bests if best.quality_name)
    if not chosen or not judged:
        return None
    return (
        f"The best trial of each cell was chosen by {units.join([*chosen])} on the validation rows; it is judged by "
        f"{units.join([*judged])} on the test rows."
    )


def _differs(part: str, yardsticks: Sequence[dict[str, Any]]) -> bool:
    """Whether cells are measured otherwise in one part: of those with the same measure, unless it is that."""
    by_measure: dict[str, set[str]] = {}
    for each in yardsticks:
        measure = "" if part == "measure" else json.dumps(each["measure"])
        by_measure.setdefault(measure, set()).add(json.dumps(each[part]))
    return any(len(values) > 1 for values in by_measure.values())


def _yardstick(cell: Cell) -> dict[str, Any] | None:
    """What a cell is measured by, part by part; ``None`` without a result."""
    record = next(iter(cell.judged_trials), cell.best)
    if record is None or record.quality_name is None:
        return None
    data = record.config.get("data") or {}
    return {
        "measure": [record.quality_name, record.quality_unit, data.get("quality_sha256")],
        "reward": _reward(record),
        "tokens": _tokens(record, data) if record.quality_name in PER_TOKEN else None,
    }


def _reward(record: Record) -> str | None:
    if record.quality_name != "reward":
        return None
    stage = record.config.get("stage") or {}
    reward = stage.get("reward")
    if isinstance(reward, dict):
        names = [str(reward[key]) for key in ("cell", "trial") if reward.get(key)]
        reward = f"{names[0]} (trial {names[1]})" if len(names) == 2 else " ".join(names)
    terms, weight = stage.get("rewards") or (), stage.get("reward_weight", 1.0)
    if not terms and weight == 1:
        return reward
    weighted = [] if reward is None else [f"{weight:g} x {reward}"]
    return " + ".join([*weighted, *map(_term, terms)])


def _term(term: dict[str, Any]) -> str:
    """A reward of several with its weight: ``0.2 x regex '^on '``."""
    settings = [
        json.dumps(value)
        for key, value in term.items()
        if key not in ("kind", "weight", "code_path") and value
    ]
    return " ".join([f"{term.get('weight', 1.0):g} x {term.get('kind')}", *settings])


def _tokens(record: Record, data: dict[str, Any]) -> dict[str, Any]:
    """The settings by which the test rows became tokens; those that have no value are left out."""
    # Running text has no turns: how these are written plays no part.
    settings = TOKEN_SETTINGS if record.quality_name == "loss" else ()
    values = {name: data[name] for name in settings if data.get(name) not in (None, {})}
    cutoff = data.get("eval_cutoff") or data.get("cutoff")
    return values | ({"cutoff": cutoff} if cutoff else {})


def _label(values: dict[str, Any]) -> str:
    words = list[str]()
    if "measure" in values:
        name, _, sha256 = values["measure"]
        # Two functions of one name are told apart by their files.
        version = f" ({sha256[:8]})" if sha256 else ""
        words.append(text("by {measure}{version}", measure=units.readable(name), version=version))
    if "reward" in values:
        words.append(text("rewarded by {model}", model=with_short_hashes(values["reward"])))
    if values.get("tokens") is not None:
        settings = ", ".join(f"{units.readable(name)} {value}" for name, value in values["tokens"].items())
        words.append(text("with {settings}", settings=settings))
    return joined(", ", words)


def _apart(members: Sequence[Cell], cells: Sequence[Cell], reason: str) -> str | None:
    others = [cell.label for cell in cells if cell not in members and not cell.is_base]
    return (
        text("Not ranked against {cells}: {reason}.", cells=units.join(others), reason=reason)
        if others
        else None
    )
