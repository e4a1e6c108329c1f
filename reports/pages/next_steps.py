"""How to use a run's results: the commands, and what each cell's best answers to the same held-out prompts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reports.analysis.group import Group, Row
from trainables.results import Run

PAGE = "samples.html"  # in the report's folder
MOST = 12  # prompts that are shown
SIDE_BY_SIDE = 3  # results of one chat


@dataclass(frozen=True)
class Sample:
    """A held-out prompt with its right answer, and each cell's own."""

    prompt: tuple[dict[str, Any], ...]
    reference: str
    answers: tuple[str, ...]

    @property
    def agreed(self) -> bool:
        return len(set(self.answers)) == 1


@dataclass(frozen=True)
class Samples:
    """A group's samples: ``cells`` are whose answers they are. ``rows`` is how many prompts all of them answered."""

    title: str
    cells: tuple[str, ...]
    shown: tuple[Sample, ...]
    rows: int

    @property
    def facts(self) -> str:
        differ = sum(not sample.agreed for sample in self.shown)
        order = "those on which the cells differ first" if 0 < differ < len(self.shown) else "in their order"
        return f"{len(self.shown)} of the {self.rows} held-out prompts that all answered, {order}."


def samples(group: Group) -> Samples | None:
    """What the best of each cell answers; ``None`` where no two of them answered the same prompt."""
    said = {row.told: found for row in group.all_rows if (found := _answers(row))}
    if len(said) < 2:
        return None
    first, *others = said.values()
    common = [number for number in first if all(_same(first[number], each.get(number)) for each in others)]
    asked = (_sample([each[number] for each in said.values()]) for number in common)
    shown = sorted(asked, key=lambda sample: sample.agreed)[:MOST]
    return Samples(group.title, tuple(said), tuple(shown), len(common)) if shown else None


def _answers(row: Row) -> dict[int, dict[str, Any]]:
    """The rows that a cell's best answered in words, by their number."""
    if row.best is None:
        return {}
    path = row.cell.run.folder / "trials" / row.best.trial_id / "predictions.parquet"
    if not path.exists():
        return {}
    import pyarrow.parquet as pq

    columns = ["row", "prompt", "reference", "prediction"]
    found = pq.read_table(path, columns=columns).to_pylist()
    return {each["row"]: each for each in found if each["prediction"] is not None}


def _same(one: dict[str, Any], other: dict[str, Any] | None) -> bool:
    return other is not None and one["prompt"] == other["prompt"]


def _sample(answers: list[dict[str, Any]]) -> Sample:
    first = answers[0]
    prompt = tuple(json.loads(first["prompt"]))
    return Sample(prompt, first["reference"], tuple(each["prediction"] for each in answers))


def commands(group: Group) -> Iterator[str]:
    """What to type, for the best of each cell and for several side by side."""
    bests = [row for row in group.rows if row.best is not None]
    bases = [row for row in group.bases if row.best is not None]
    for row in bests:
        name = _named(row)
        yield f"paretune chat {name}"
        yield f"paretune export {name} {shlex.quote(row.cell.name)}"
        yield f"paretune serve {name}"
    together = [*bests[:SIDE_BY_SIDE], *bases[:1]]
    if len(together) > 1:
        yield f"paretune chat {' '.join(map(_named, together))}"


def _named(row: Row) -> str:
    return shlex.quote(f"{place(row.cell.run)}:{row.cell.name}")


def place(run: Run) -> str:
    """Where a run is, as its driver called it: its mirror's or copy's folder means nothing to others."""
    return str(run.environment.get("place") or run.folder)
