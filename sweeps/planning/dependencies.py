"""Which cells a cell depends on: those whose best trials it continues from or is rewarded by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeps.spec.tree import CellPath

FROM = "from"
MODEL_FROM: CellPath = ("model", FROM)  # as a spec names what a cell continues from ...
MODEL_START: CellPath = ("model", "start")  # ... and where a trial's config holds it
STAGE_REWARD: CellPath = ("stage", "reward")


def dependency_chain(name: str, depends_on: Callable[[str], Sequence[str]]) -> list[str]:
    """All cells that ``name`` depends on, each after its own dependencies, and ``name`` last.

    ``depends_on`` gives a cell's direct dependencies, and must have no circles.

    >>> dependency_chain("dpo", {"dpo": ["sft"], "sft": ["pretrain"], "pretrain": []}.__getitem__)
    ['pretrain', 'sft', 'dpo']
    """
    earlier = (cell for direct in depends_on(name) for cell in dependency_chain(direct, depends_on))
    return list(dict.fromkeys([*earlier, name]))


def levels(depends_on: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How many cells each cell waits for, one after another; names without an entry of their own don't count.

    >>> levels({"dpo": ["sft"], "sft": ["pretrain"], "pretrain": [], "reward": ["sft"]})
    {'pretrain': 0, 'sft': 1, 'dpo': 2, 'reward': 2}
    """
    found: dict[str, int] = {}

    def level(name: str) -> int:
        if name not in found:
            found[name] = (
                max((level(other) for other in depends_on[name] if other in depends_on), default=-1) + 1
            )
        return found[name]

    for name in depends_on:
        level(name)
    return found


def trained_references(tree: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The references to other cells of the run in a trial's tree: (``model`` or ``stage``, key, ``TrainedModel``)."""
    for part in ("model", "stage"):
        for key, value in tree[part].items():
            if isinstance(value, dict) and value.get("cell"):
                yield part, key, value


def with_trained_trials(
    tree: Mapping[str, Any], run: Path, best_trial: Callable[[str], str]
) -> dict[str, Any]:
    """A copy of a trial's tree in which each reference names the trial and folder that ``best_trial`` chose."""
    # Copied one level deep, which is as deep as the references are written below.
    filled = {part: dict(value) if isinstance(value, dict) else value for part, value in tree.items()}
    for part, key, reference in trained_references(tree):
        trial = best_trial(reference["cell"])
        filled[part][key] = {**reference, "trial": trial, "folder": str(run / "trials" / trial / "model")}
    return filled
