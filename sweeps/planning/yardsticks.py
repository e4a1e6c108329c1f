"""Whether the cells that a report puts side by side are measured alike: by one reward model, tokens and measure.

What can be made alike is: they are scored at the largest of their cutoffs. Of the rest ``plan`` warns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from sweeps.planning.cell import Cell
from sweeps.planning.checks.cell import CheckedDraft
from sweeps.planning.conventions import Conventions
from sweeps.spec.problems import Problem
from trainables.config.data import DataConfig
from trainables.config.trained_model import TrainedModel
from trainables.stages.rewards.stage import RewardedStage
from trainables.system.shown_text import with_short_hashes
from trainables.trial.config import TrialConfig

# Settings of the data by which other tokens are scored, so that a loss per token is another one.
TOKEN_SETTINGS = (
    *("template", "template_arguments", "thinking", "special_tokens", "end", "turns"),
    *("default_system", "tool_format"),
)
NOT_RANKED = "The report ranks them by exact match if all have one, or not at all"


def with_one_cutoff(checked: Sequence[CheckedDraft], conventions: Conventions) -> list[CheckedDraft]:
    """The same drafts; cells that a report compares are scored at the largest cutoff among them."""
    if not conventions.one_cutoff:
        return list(checked)
    largest = {
        key: max(cell.first().data.scored_cutoff for cell in cells) for key, cells in _groups(checked).items()
    }

    def scored(cell: Cell) -> Cell:
        data, cutoff = cell.first().data, largest[_key(cell)]
        if data.scored_cutoff == cutoff or data.eval_cutoff is not None:
            return cell
        return replace(cell, tree={**cell.tree, "data": {**cell.tree["data"], "eval_cutoff": cutoff}})

    return [each if each.cell is None else replace(each, cell=scored(each.cell)) for each in checked]


def notes(cells: Sequence[Cell]) -> Iterator[str]:
    """At which cutoff cells are scored that train with a smaller one."""
    found: dict[int, list[str]] = {}
    for cell in cells:
        if (cutoff := cell.first().data.eval_cutoff) is not None:
            found.setdefault(cutoff, []).append(cell.name)
    for cutoff, names in found.items():
        yield f"{', '.join(names)}: scored with at most {cutoff} tokens a row, as the cells beside them are"


def warnings(checked: Sequence[CheckedDraft]) -> Iterator[Problem]:
    """What is measured otherwise in some cells than in those that a report puts beside them."""
    for cells in _groups(checked).values():
        drafts = [each.draft for each in checked if each.cell in cells]
        configs = {cell.name: cell.first() for cell in cells}
        rewards = _by_value(configs, _reward)
        if len(rewards) > 1:
            what = (
                f"the rewards of {_listed(rewards)} have neither a zero nor a scale in common, so that these cells "
                f"can't be compared by them. {NOT_RANKED}. Take one reward model for all: reward: {{from: CELL}}"
            )
            yield drafts[0].problem(("stage", "reward"), what, error=False)
        qualities = _by_value(configs, _quality)
        if len(qualities) > 1:
            what = f"cells are judged by different measures: {_listed(qualities)}. {NOT_RANKED}"
            yield drafts[0].problem(("data", "quality"), what, error=False)
        for setting in TOKEN_SETTINGS:
            values = _by_value(configs, partial(_token_setting, setting))
            if len(qualities) == 1 and len(values) > 1:
                what = (
                    f"the cells' losses are over different tokens: {_listed(values)}, and can't be compared. "
                    f"{NOT_RANKED}"
                )
                yield drafts[-1].problem(("data", setting), what, error=False)


def _groups(checked: Sequence[CheckedDraft]) -> dict[tuple[str, str, str], list[Cell]]:
    """The cells that a report puts side by side: of one stage, model and data set."""
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for each in checked:
        if each.cell is not None:
            groups.setdefault(_key(each.cell), []).append(each.cell)
    return groups


def _key(cell: Cell) -> tuple[str, str, str]:
    config = cell.first()
    return config.stage.kind, config.model.label, config.data.label


def _by_value(
    configs: dict[str, TrialConfig], value: Callable[[TrialConfig], str | None]
) -> dict[str, list[str]]:
    """The cells' names by what they are measured by; without those where that plays no part."""
    found: dict[str, list[str]] = {}
    for name, config in configs.items():
        if (measured_by := value(config)) is not None:
            found.setdefault(measured_by, []).append(name)
    return found


def _reward(config: TrialConfig) -> str | None:
    stage = config.stage
    if not isinstance(stage, RewardedStage):
        return None
    reward = stage.reward
    name = (reward.cell or str(reward.identity)) if isinstance(reward, TrainedModel) else reward
    if not stage.rewards and stage.reward_weight == 1:
        return name
    first = [] if name is None else [f"{stage.reward_weight:g} x {name}"]
    return " + ".join([*first, *(f"{term.weight:g} x {term.text}" for term in stage.rewards)])


def _quality(config: TrialConfig) -> str | None:
    return (config.data.quality or "the default") if config.stage.kind == "sft" else None


def _token_setting(setting: str, config: TrialConfig) -> str | None:
    if config.stage.kind != "sft" or config.data.quality not in (None, "loss"):
        return None
    default = DataConfig.model_fields[setting].get_default(call_default_factory=True)
    value = getattr(config.data, setting)
    return f"{setting} {'the default' if value == default else value}"


def _listed(by_value: dict[str, list[str]]) -> str:
    return with_short_hashes("; ".join(f"{', '.join(names)} by {value}" for value, names in by_value.items()))
