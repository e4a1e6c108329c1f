"""Which cells a cell starts from, and their trials in its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeps.spec.tree import CellPath

FROM = "from"


MODEL_FROM: CellPath = ("model", FROM)


MODEL_START: CellPath = ("model", "start")


STAGE_REWARD: CellPath = ("stage", "reward")


def dependency_chain(name: str, needs: Callable[[str], Sequence[str]]) -> list[str]:
    """``name``, last, and all it goes on from, each after what it goes on from itself. ``needs`` has no circles.

    >>> line("dpo", {"dpo": ["sft"], "sft": ["pretrain"], "pretrain": []}.__getitem__)
    ['pretrain', 'sft', 'dpo']
    """
    before = (each for needed in needs(name) for each in dependency_chain(needed, needs))
    return list(dict.fromkeys([*before, name]))


def trained_references(tree: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """What a trial's tree takes from cells of its run: (``model`` or ``stage``, the key, the ``Trained``)."""
    for part in ("model", "stage"):
        for key, value in tree[part].items():
            if isinstance(value, dict) and value.get("cell"):
                yield part, key, value


def with_trained_trials(tree: Mapping[str, Any], run: Path, trial: Callable[[str], str]) -> dict[str, Any]:
    """A trial's tree with the trials it takes from other cells in it; ``trial`` gives a cell's."""
    whole = {part: dict(value) if isinstance(value, dict) else value for part, value in tree.items()}
    for part, key, trained in trained_references(tree):
        found = trial(trained["cell"])
        whole[part][key] = {**trained, "trial": found, "folder": str(run / "trials" / found / "model")}
    return whole
