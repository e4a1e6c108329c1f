"""How to use a run's results: the commands, and what the best of each cell answers to the same held-out prompts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reports.analysis.group import Group
from reports.analysis.recommendation.answer import recommend
from reports.analysis.recommendation.cell_answers import USE, cell_answers
from reports.analysis.row import Row
from reports.analysis.runs.progress import run_location
from reports.analysis.settling import open_comparisons

SAMPLES_FILE = "samples.html"  # in the report's folder
MAX_PROMPTS = 12
MAX_SIDE_BY_SIDE = 3  # trained results in one chat


@dataclass(frozen=True)
class Sample:
    """A held-out prompt, its reference answer, and the answer of each cell."""

    prompt: tuple[dict[str, Any], ...]  # messages with ``role`` and ``content``
    reference: str
    answers: tuple[str, ...]

    @property
    def all_equal(self) -> bool:
        return len(set(self.answers)) == 1

    def answers_by_cell(self, cells: Sequence[str]) -> list[tuple[str, str]]:
        """(name, answer) pairs: the reference first, then the answer of each cell."""
        return [("reference", self.reference), *zip(cells, self.answers, strict=True)]


@dataclass(frozen=True)
class SampleAnswers:
    """The samples of one group. ``cells`` name whose answers they are; ``rows`` is how many prompts all answered."""

    title: str
    cells: tuple[str, ...]
    samples: tuple[Sample, ...]
    rows: int

    @property
    def facts(self) -> str:
        differing = sum(not sample.all_equal for sample in self.samples)
        order = (
            "those with different answers first"
            if 0 < differing < len(self.samples)
            else "in the order of the data"
        )
        return f"{len(self.samples)} of {self.rows} held-out prompts that every cell answered, {order}."


def sample_answers(group: Group) -> SampleAnswers | None:
    """What the best of each cell answers; ``None`` unless at least two of them answered the same prompt."""
    by_cell = {row.display_name: answers for row in group.all_rows if (answers := _answers(row))}
    if len(by_cell) < 2:
        return None
    first, *others = by_cell.values()
    # The prompts are compared too: in another run the same row number may mean another row.
    common = [
        number
        for number in first
        if all(number in other and other[number]["prompt"] == first[number]["prompt"] for other in others)
    ]
    samples = [_sample([answers[number] for answers in by_cell.values()]) for number in common]
    # The sort is stable: within the differing and the equal ones, the order stays that of the data.
    chosen = sorted(samples, key=lambda sample: sample.all_equal)[:MAX_PROMPTS]
    return SampleAnswers(group.title, tuple(by_cell), tuple(chosen), len(common)) if chosen else None


def _answers(row: Row) -> dict[int, dict[str, Any]]:
    """The test rows that a cell's best trial generated an answer to, by row number."""
    if row.best is None:
        return {}
    path = row.cell.run.folder / "trials" / row.best.trial_id / "predictions.parquet"
    if not path.exists():
        return {}
    import pyarrow.parquet as pq

    rows = pq.read_table(path, columns=["row", "prompt", "reference", "prediction"]).to_pylist()
    return {each["row"]: each for each in rows if each["prediction"] is not None}


def _sample(answers: list[dict[str, Any]]) -> Sample:
    first = answers[0]
    prompt = tuple(json.loads(first["prompt"]))
    return Sample(prompt, first["reference"], tuple(each["prediction"] for each in answers))


def first_command(group: Group) -> str | None:
    """The command that tries what the answer recommends; ``None`` where it recommends nothing that was trained."""
    recommended = recommend(group)
    if recommended is None or recommended.best is None:
        return None
    none_is_better = USE in {cell_answers(group).get(base.cell.label) for base in group.bases}
    return None if none_is_better else f"paretune chat {_result_name(recommended)}"


def commands(group: Group) -> Iterator[str]:
    """The commands that use the best trial of each cell, and one that chats with several side by side."""
    bests = [row for row in group.rows if row.best is not None]
    bases = [row for row in group.bases if row.best is not None]
    for row in bests:
        name = _result_name(row)
        yield f"paretune chat {name}"
        yield f"paretune export {name} {shlex.quote(row.cell.name)}"
        yield f"paretune serve {name}"
    if any(open_comparisons(group, recommend(group))):
        yield f"paretune settle {shlex.quote(run_location(group.rows[0].cell.run))}"
    # One base stands beside them, to show what training changed.
    side_by_side = [*bests[:MAX_SIDE_BY_SIDE], *bases[:1]]
    if len(side_by_side) > 1:
        yield f"paretune chat {' '.join(map(_result_name, side_by_side))}"


def _result_name(row: Row) -> str:
    """``RUN:CELL``, quoted for a shell."""
    return shlex.quote(f"{run_location(row.cell.run)}:{row.cell.name}")
