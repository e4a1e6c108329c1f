"""How many rows a proposed spec holds out: enough in both halves to tell anything, where the data has as many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.drafting.budget import Budget
from sweeps.drafting.spec_text import Setting
from sweeps.planning.assessment.few_rows import LEAST_ROWS
from trainables.config.data import DataConfig
from trainables.data.description import DataDescription
from trainables.data.errors import DataError
from trainables.data.loading import Data, load
from trainables.system.wording import counted

FEWEST_HELD_OUT = 4  # prompts, where a share of them leaves too few
MOST_SHARE, STEP = 0.5, 0.05  # up to which more is held out of few rows
SPLITS = ("eval", "eval_fraction", "eval_count")


@dataclass(frozen=True)
class Share:
    """The share of the prompts that is held out. ``note``: why it is as large as it is, or why it isn't larger, where
    the rows are few. ``training``: the rows that it leaves; ``None`` where the user said which rows are held out, or no
    row can be.
    """

    value: float
    note: str | None = None
    training: int | None = None


@dataclass(frozen=True)
class ChosenSplit:
    """``settings`` that say which rows are held out, ``data`` as they split it, and in words what the held-out rows are
    for.
    """

    settings: list[Setting]
    data: Data
    halves: str


def held_out_share(data: DataConfig, row_type: type, usual: float) -> Share:
    """The usual share, or of few rows a larger one that leaves :data:`LEAST_ROWS` in both halves, up to a half."""
    if is_given(data):
        return Share(usual)
    steps = round((MOST_SHARE - usual) / STEP)
    for share in [usual, *(round(usual + STEP * step, 2) for step in range(1, steps + 1))]:
        split = _split(data, row_type, share)
        if split is not None and min(len(split.validation), len(split.test)) >= LEAST_ROWS:
            note = f"{share:.0%} of the prompts, as a smaller share leaves fewer than {LEAST_ROWS} rows in a half"
            return Share(share, note if share > usual else None, len(split.train))
    return Share(
        usual,
        f"{usual:.0%} of the prompts; the data has too few for {LEAST_ROWS} of each half, so the comparison will "
        "mostly show chance: more rows would tell more, or a file of test rows (data.eval)",
        len(split.train) if (split := _split(data, row_type, usual)) is not None else None,
    )


def _split(data: DataConfig, row_type: type, share: float) -> Data | None:
    try:
        return load(changed(data, eval_fraction=share), row_type)
    except DataError:
        return None


def is_given(data: DataConfig) -> bool:
    """Whether the user said which rows are held out."""
    return any(key in data.model_fields_set for key in SPLITS)


def changed(data: DataConfig, **update: Any) -> DataConfig:
    """The config with other settings, validated."""
    return DataConfig.model_validate({**data.model_dump(exclude_unset=True), **update})


def chosen_split(data: DataConfig, described: DataDescription, budget: Budget) -> ChosenSplit:
    """Which rows are held out: those that are given, or a share that leaves enough.

    Raises ``DataError`` for rows of which none can be held out.
    """
    rows = [Setting("eval_rows", budget.eval_rows, "at most, for each half; more are surer and take longer")]
    capped = rows if budget.eval_rows is not None and "eval_rows" not in data.model_fields_set else []
    if is_given(data):
        if described.split is None:
            raise DataError(str(described.not_split))
        halves = halves_in_words(described.split)
        return ChosenSplit([*_given_split(data, halves), *capped], described.split, halves)
    for key, value in (("eval_fraction", budget.eval_fraction), ("eval_count", FEWEST_HELD_OUT)):
        try:
            split = load(changed(data, **{key: value}), described.row_type)
        except DataError as error:
            reason = error
            continue
        what = f"{value:.0%} of the prompts" if key == "eval_fraction" else f"{value} prompts"
        halves = halves_in_words(split, budget.eval_rows if capped else None)
        return ChosenSplit([Setting(key, value, f"{what} are held out: {halves}"), *capped], split, halves)
    raise reason


def halves_in_words(split: Data, most: int | None = None) -> str:
    """``12 validation rows steer the search, 6 test rows give the result``, at most ``most`` of each."""
    validation, test = (min(len(rows), most or len(rows)) for rows in (split.validation, split.test))
    steer, give = "steers" if validation == 1 else "steer", "gives" if test == 1 else "give"
    return f"{counted(validation, 'validation row')} {steer} the search, {counted(test, 'test row')} {give} the result"


def held_out_choice(data: DataConfig, split: Sequence[Setting]) -> str:
    """Which rows are held out, in words."""
    if data.eval_names:
        return ", ".join(Path(name).name for name in data.eval_names)
    return ", ".join(f"{line.key} {line.value}" for line in split)


def _given_split(data: DataConfig, halves: str) -> Iterator[Setting]:
    for key in ("eval_fraction", "eval_count"):
        if key in data.model_fields_set:
            yield Setting(key, getattr(data, key), f"is held out: {halves}")
