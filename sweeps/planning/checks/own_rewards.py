"""What a plan says of rewards: that a search can't vary them, and of functions of one's own which code runs, where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sweeps.planning.cell import Cell
from sweeps.planning.checks.own_methods import place_of_code
from sweeps.planning.draft import Draft
from sweeps.spec.problems import Problem
from sweeps.spec.source import Source
from trainables.stages.base import TrainingStage
from trainables.stages.rewards.stage import RewardedStage, own_rewards
from trainables.stages.rewards.terms import FunctionReward

YARDSTICK = ("reward", "reward_weight", "rewards")  # the settings of a stage that decide what is rewarded


def searched(draft: Draft) -> list[Problem]:
    """A problem for each setting by which a search varies what is rewarded: it would choose what is rewarded most
    easily, as the reward is its objective.
    """
    paths = [path for path in draft.space if path[0] == "stage" and path[1:2] and path[1] in YARDSTICK]
    why = "can only be compared ({compare: [...]}): the trials of a search are ranked by their rewards"
    return [draft.problem(path, f"{path[1]} {why}") for path in paths]


def unweighted(draft: Draft, stage: TrainingStage) -> list[Problem]:
    """A warning for each of several rewards whose weight is 0."""
    if not isinstance(stage, RewardedStage) or not any(stage.term_weights):
        return []
    pairs = zip(stage.term_names, stage.term_weights, strict=True)
    found = [name for name, weight in pairs if weight == 0]
    why = "has weight 0: it is measured, and plays no part in training and in the quality"
    return [draft.problem(("stage", "rewards"), f"the reward {name} {why}", error=False) for name in found]


def notes(cells: Sequence[Cell]) -> Iterator[str]:
    """A sentence for each function of one's own that rewards answers."""
    for name, reward in _functions(cells).items():
        place = place_of_code(reward.code(), name.partition(":")[0])
        yield (
            f"the reward {name} is code of yours, not Paretune's: {place}. It was imported to make this plan, and runs "
            "in every process that trains with it"
        )


def hashes(cells: Sequence[Cell]) -> dict[str, str]:
    """The hashes of the code beside the spec of its rewards, by function."""
    found = _functions(cells)
    return {name: reward.code_sha256 for name, reward in found.items() if reward.code_sha256 is not None}


def changes(source: Source, cells: Sequence[Cell], before: Mapping[str, str]) -> Iterator[Problem]:
    """A problem for each function whose code is no longer what a run began with, ``before``."""
    now = hashes(cells)
    for name in dict.fromkeys([*before, *now]):
        if now.get(name) != before.get(name):
            what = (
                f"the code of the reward {name} is not what this run was started with. Restore it, or start a new run "
                "under another name"
            )
            yield source.problem(("stages",), what)


def _functions(cells: Sequence[Cell]) -> dict[str, FunctionReward]:
    return {reward.function: reward for cell in cells for reward in own_rewards(cell.first().stage)}
