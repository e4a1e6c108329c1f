"""What a plan says of rewards that are functions of one's own: which code runs, where it is, and that it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sweeps.planning.cell import Cell
from sweeps.planning.checks.own_methods import place_of_code
from sweeps.planning.draft import Draft
from sweeps.spec.problems import Problem
from sweeps.spec.source import Source
from trainables.stages.rewards.stage import own_rewards
from trainables.stages.rewards.terms import FunctionReward

SETTING = ("stage", "rewards")


def searched(draft: Draft) -> list[Problem]:
    """A problem where a search varies rewards of which one is code, which planning could not fill in."""
    domain = draft.space.get(SETTING)
    varied = [] if domain is None else [entry for value in domain.probes() for entry in value]
    if not any(isinstance(entry, dict) and entry.get("kind") == "function" for entry in varied):
        return []
    return [
        draft.problem(SETTING, "rewards with a function can't be searched, only compared: {compare: [...]}")
    ]


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
