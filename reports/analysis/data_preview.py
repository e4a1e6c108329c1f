"""What the models of some runs saw, from ``data.json``, in words for the page and for ``summary.md``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reports import units
from trainables.results import Run

MISSING = (
    "{} no data.json, as runs of earlier versions have none, so what the models saw is not told here. "
    "paretune data SPEC shows it."
)


@dataclass(frozen=True)
class Seen:
    """One stage, model and data set. ``told`` is its entry in ``data.json``."""

    title: str
    told: dict[str, Any]

    @property
    def histogram(self) -> list[tuple[int, int, int]]:
        """(least tokens, most tokens, how many rows)."""
        return [(low, high, count) for low, high, count in self.told["histogram"]]

    @property
    def cutoff(self) -> int:
        return int(self.told["tokens"]["cutoff"])

    @property
    def was_cut(self) -> bool:
        return bool(self.told["tokens"]["cut"])

    @property
    def examples(self) -> list[list[dict[str, Any]]]:
        """Each in pieces: ``text``, whether the ``loss`` is on it, how many characters are ``left_out``."""
        return list(self.told["examples"])

    @property
    def facts(self) -> str:
        """The rows by part, how long they are, and where the loss is, in sentences."""
        return " ".join([self._counts(), self._lengths()])

    @property
    def remarks(self) -> list[str]:
        """How the rows were read, then what is wrong with some."""
        return [*self.told["notes"], *(f"Warning: {problem}" for problem in self.told["problems"])]

    def _counts(self) -> str:
        parts = [f"{units.number(count)} {part}" for part, count in self.told["rows"].items()]
        told = [f"{units.listing(parts)} rows"]
        if self.told["duplicates"]:
            told.append(f"{units.number(self.told['duplicates'])} of all have the prompt of another")
        if self.told["overlap"]:
            told.append(
                f"{units.number(self.told['overlap'])} left out of training, as their prompt is held out"
            )
        return f"{'; '.join(told)}."

    def _lengths(self) -> str:
        tokens = self.told["tokens"]
        cut = units.share(tokens["cut_share"]) if self.was_cut else "none"
        return (
            f"{units.number(tokens['least'])} to {units.number(tokens['most'])} tokens a row, "
            f"median {units.number(tokens['median'])}; {cut} cut to the cutoff of {units.number(self.cutoff)}. "
            f"The loss is on {units.share(tokens['learned_share'])} of the tokens; "
            f"{units.share(tokens['padding_share'])} of a batch is padding."
        )


def seen(runs: Sequence[Run]) -> tuple[Seen, ...]:
    """What each run's models saw; what is the same in several cells or runs is there once."""
    entries: list[dict[str, Any]] = []
    for entry in (entry for run in runs for entry in run.data):
        if entry not in entries:
            entries.append(entry)
    titles = [f"{entry['stage']} of {entry['model']} on {entry['data']}" for entry in entries]
    counts, met = Counter(titles), Counter[str]()
    found = []
    for title, entry in zip(titles, entries, strict=True):
        met[title] += 1
        found.append(Seen(f"{title} ({met[title]})" if counts[title] > 1 else title, entry))
    return tuple(found)


def missing(runs: Sequence[Run]) -> str:
    """Which runs do not tell what their models saw, in a sentence; nothing where all do."""
    without = [run.name for run in runs if not run.data]
    if not without:
        return ""
    named = (
        "The run has"
        if len(runs) == 1
        else f"{units.listing(without)} {'has' if len(without) == 1 else 'have'}"
    )
    return MISSING.format(named)
