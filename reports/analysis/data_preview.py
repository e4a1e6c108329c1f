"""What the models of some runs saw, from ``data.json``, in sentences for the page and for ``summary.md``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reports import units
from trainables.results import Run

_NO_DATA_FILE = (
    "{} no data.json (paretune try and earlier versions write none), so the report cannot show what the models saw. "
    "paretune data SPEC shows it."
)


@dataclass(frozen=True)
class DataPreview:
    """The training rows of one stage, model and data set. ``entry`` is their entry in ``data.json``."""

    title: str
    entry: dict[str, Any]

    @property
    def histogram(self) -> list[tuple[int, int, int]]:
        """Lengths of the training rows: (shortest in tokens, longest in tokens, number of rows) for each bar."""
        return [(low, high, count) for low, high, count in self.entry["histogram"]]

    @property
    def cutoff(self) -> int:
        """The maximum length of a row, in tokens."""
        return int(self.entry["tokens"]["cutoff"])

    @property
    def examples(self) -> list[list[dict[str, Any]]]:
        """Some rows, each in pieces: ``text``, whether the ``loss`` is on it, how many characters are ``left_out``."""
        return list(self.entry["examples"])

    @property
    def facts(self) -> str:
        """How many rows there are, how long they are, and where the loss is, in sentences."""
        return f"{self._counts()} {self._lengths()}"

    @property
    def remarks(self) -> list[str]:
        """How the rows were read, then the problems that some have."""
        return [*self.entry["notes"], *(f"Warning: {problem}" for problem in self.entry["problems"])]

    def _counts(self) -> str:
        parts = [f"{units.number(count)} {part}" for part, count in self.entry["rows"].items()]
        sentences = [f"{units.join(parts)} rows"]
        if duplicates := self.entry["duplicates"]:
            have = "has" if duplicates == 1 else "have"
            sentences.append(f"{units.count(duplicates, 'row')} {have} the same prompt as another row")
        if overlap := self.entry["overlap"]:
            belongs = "was left out of training because it belongs"
            belong = "were left out of training because they belong"
            sentences.append(
                f"{units.count(overlap, 'row')} {belongs if overlap == 1 else belong} to held-out rows"
            )
        return f"{'; '.join(sentences)}."

    def _lengths(self) -> str:
        tokens = self.entry["tokens"]
        cut = units.percent(tokens["cut_share"]) if tokens["cut"] else "none"
        what, plural = "A training row has", "the rows"
        if tokens.get("examples_per_row") == 2:
            what, plural = "An answer of a training pair has with its prompt", "these"
        elif tokens.get("examples", tokens["rows"]) != tokens["rows"]:
            examples, rows = units.number(tokens["examples"]), units.number(tokens["rows"])
            what, plural = f"{rows} training rows become {examples} examples. Each has", "these"
        return (
            f"{what} {units.number(tokens['least'])} to {units.number(tokens['most'])} tokens "
            f"(median {units.number(tokens['median'])}); {cut} of {plural} were shortened to the cutoff of "
            f"{units.number(self.cutoff)} tokens. "
            f"The loss is computed on {units.percent(tokens['learned_share'])} of the tokens; "
            f"{units.percent(tokens['padding_share'])} of a batch is padding."
        )


def data_previews(runs: Sequence[Run]) -> tuple[DataPreview, ...]:
    """What each run's models saw; what is the same in several cells or runs is there once."""
    entries: list[dict[str, Any]] = []
    for entry in (entry for run in runs for entry in run.data):
        if entry not in entries:
            entries.append(entry)
    titles = [f"{entry['stage']} of {entry['model']} on {entry['data']}" for entry in entries]
    totals, so_far = Counter(titles), Counter[str]()
    previews = []
    for title, entry in zip(titles, entries, strict=True):
        so_far[title] += 1
        numbered = f"{title} ({so_far[title]})" if totals[title] > 1 else title
        previews.append(DataPreview(numbered, entry))
    return tuple(previews)


def missing_data_note(runs: Sequence[Run]) -> str:
    """A sentence that names the runs without a ``data.json``; empty where all have one."""
    without = [run.name for run in runs if not run.data]
    if not without:
        return ""
    names = "The run" if len(runs) == 1 else units.join(without)
    return _NO_DATA_FILE.format(f"{names} {'has' if len(without) == 1 else 'have'}")
