"""Settings of the data: which rows, and how they are read, held out and cut."""

from __future__ import annotations

import re
from datetime import date as date_type
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from trainables.config import limits
from trainables.config.base import Frozen
from trainables.config.evaluation_sets import PlannedSet, SetSource, check_sets, sources

DataFormat = Literal["alpaca", "sharegpt", "messages", "openai", "completion", "text"]


def _as_text(value: Any) -> str:
    """A text that YAML may have read as a number."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        raise ValueError(f'{words[value]} is no text; in quotes it is: "{words[value]}"')
    raise ValueError(
        f"a {'list' if isinstance(value, list | tuple) else 'mapping'} is no text; give one text"
    )


def _as_column(value: Any) -> str | None:
    return None if value is None else _as_text(value)


def _as_date(value: Any) -> str | None:
    """A date as ``2026-11-28``, which YAML reads as a date."""
    if value is None:
        return None
    try:
        return date_type.fromisoformat(str(value)).isoformat()
    except ValueError:
        raise ValueError(f"{value} is no date; write it as 2026-11-28") from None


# What answers may be judged by, besides a function of the user's, and what the measure is called in results.
QUALITIES = {"exact_match": "exact_match", "loss": "loss", "rouge_l": "rougeL", "chrf": "sentence_chrf"}
_FUNCTION = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:([A-Za-z_]\w*)")


def _as_quality(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and value in QUALITIES:
        return value
    function = _FUNCTION.fullmatch(str(value))
    allowed = f"{', '.join(QUALITIES)}, or a function of yours, module:function"
    if function is None:
        raise ValueError(f"{value} is no measure of answers; allowed: {allowed}")
    if function[1] in MEASURES:
        raise ValueError(f"{function[1]} is the name of another measure; give the function a name of its own")
    return str(value)


# Names that results have for measures, which a function of the user's can't have.
MEASURES = frozenset(
    {*QUALITIES.values(), "bleu", "chrf", "sentence_bleu", "rouge1", "rouge2", "perplexity", "bits_per_byte"}
)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    """A list, or one value that stands for a list of it."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


Samples = Annotated[int, Field(ge=1)]
Text = Annotated[str, BeforeValidator(_as_text)]
Column = Annotated[str | None, BeforeValidator(_as_column)]


class DataConfig(Frozen):
    """Names of data sets, files or hub ids; which rows are held out; the maximum length of a row.

    Held out are ``eval_fraction`` of what keeps rows together (by hash), or ``eval_count`` of it, or the rows of
    ``eval``; they are split into validation and test rows, at most ``eval_rows`` each. With ``eval_fraction: 0``
    nothing is held out, and no quality is measured. ``eval`` may name several sets (name -> source): the first is
    held out so, or with ``null`` as its source what ``eval_fraction`` or ``eval_count`` says; the others are scored
    beside the test rows, at most ``eval_rows`` of each, and steer nothing. ``planned_sets``: what planning found of
    these. ``cutoff``: tokens of prompt and answer together. ``eval_cutoff``: the same of rows that are scored; set
    while planning where cells of different cutoffs are compared. ``group``: the column of what rows have in common
    that must stay on one side of the split. ``split_by``: without it, whether rows that open with the same user
    turn, however it is spelled, stay together, or those of one whole prompt; set while planning, ``None`` (as
    ``prompt``) in runs of earlier versions. ``max_samples``: maximum number of rows from each data set, its first
    ones; ``num_samples``: the number of its rows that ``sample_seed`` draws, or a number for each data set of
    ``train``. ``format``, ``columns`` (part -> column) and ``tags`` (the words of messages) describe files that do
    not have the usual names; a part whose column is ``None``, and the columns in ``ignore_columns``, are not read.
    ``reward_columns``: columns that functions among the rewards of ``ppo`` and ``grpo`` are given.
    ``variables``: values for ``{{name}}`` in texts. ``special_tokens``: whether control tokens in contents are
    ordinary text or kept as tokens. ``end``: whether answers that the template ends without an end token get one.
    ``turns``: whether all answers of a row are learned, or the last, where the template renders earlier ones
    differently once later ones follow. ``template_arguments``: values for variables that the chat template asks
    for. ``default_system``: the system text of rows without one. ``tool_format``: the format of tools and calls in
    place of the template's, or ``omit`` to leave out what the template has no place for. ``date``: what a template
    that writes today's date writes; set while planning, and no part of a trial's id. ``strict``: rows that would be
    left out, or read with a change, are errors. ``folder``: where ``dataset_info.json`` is. ``sha256``: the hash of
    the rows, set while planning; it is part of a trial's id, paths are not. ``quality``: by what the answers of
    ``sft`` are judged (:data:`QUALITIES`, or ``module:function``); where it is left out, planning chooses exact
    match for short answers; ``None``: exact match where each prompt is known to have one right answer, else the
    loss. ``quality_file``: the file of such a function, and ``quality_sha256`` its hash, both set while planning.
    """

    train: str | tuple[str, ...]
    eval: Annotated[str | tuple[str, ...] | dict[str, SetSource] | None, BeforeValidator(check_sets)] = None
    eval_fraction: float = Field(default=0.1, ge=0, lt=1)
    eval_count: int | None = Field(default=None, ge=2)
    eval_rows: int | None = Field(default=None, ge=1)
    cutoff: Annotated[int, limits.at_most(limits.TOKENS)] = Field(default=1024, ge=8)
    eval_cutoff: Annotated[int | None, limits.at_most(limits.TOKENS)] = Field(default=None, ge=8)
    group: Column = None
    split_by: Literal["prompt", "first_turn"] | None = None
    max_samples: int | None = Field(default=None, ge=1)
    num_samples: Samples | tuple[Samples, ...] | None = None
    sample_seed: int = Field(default=0, ge=0, lt=2**32)
    mix: Literal["concat", "interleave_under", "interleave_over"] = "concat"
    weights: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    format: DataFormat | None = None
    columns: dict[str, Column] = Field(default_factory=dict)
    ignore_columns: Annotated[tuple[Text, ...], BeforeValidator(_as_tuple)] = ()
    reward_columns: Annotated[tuple[Text, ...], BeforeValidator(_as_tuple)] = ()
    tags: dict[str, Text] = Field(default_factory=dict)
    variables: dict[str, Text] = Field(default_factory=dict)
    template: str | None = None
    thinking: Literal["keep", "strip", "empty"] = "keep"
    special_tokens: Literal["text", "keep"] = "text"
    end: Literal["add", "keep"] = "add"
    turns: Literal["all", "last"] = "all"
    template_arguments: dict[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")], JsonValue] = Field(
        default_factory=dict
    )
    default_system: Annotated[Text | None, Field(min_length=1)] = None
    tool_format: Literal["default", "qwen", "llama3", "mistral", "omit"] | None = None
    date: Annotated[str | None, BeforeValidator(_as_date)] = None
    strict: bool = False
    folder: Path | None = None
    sha256: str | None = None
    quality: Annotated[str | None, BeforeValidator(_as_quality)] = None
    quality_file: Path | None = None
    quality_sha256: str | None = None
    planned_sets: dict[str, PlannedSet] = Field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the training data sets."""
        return (self.train,) if isinstance(self.train, str) else self.train

    @property
    def eval_names(self) -> tuple[str, ...]:
        """The names of the held-out data sets; empty if part of the training data is held out."""
        if isinstance(self.eval, dict):
            return sources(next(iter(self.eval.values())))
        return sources(self.eval)

    @property
    def set_names(self) -> tuple[str, ...]:
        """The names that the spec gives its evaluation sets, the one that steers the search first; else empty."""
        return tuple(self.eval) if isinstance(self.eval, dict) else ()

    @property
    def further_sets(self) -> dict[str, tuple[str, ...]]:
        """The names of data by evaluation set, of those that steer nothing."""
        if not isinstance(self.eval, dict):
            return {}
        return {name: sources(self.eval[name]) for name in self.set_names[1:]}

    def without_further_sets(self) -> DataConfig:
        """The same rows to train on, to steer the search by and to test on, as far as no further set has them."""
        return self.model_copy(update={"eval": self.eval_names or None, "planned_sets": {}})

    @property
    def source_names(self) -> tuple[str, ...]:
        """The names of all data sets: trained on, held out, and of further evaluation sets."""
        further = (name for names in self.further_sets.values() for name in names)
        return (*self.names, *self.eval_names, *further)

    @property
    def holds_out(self) -> bool:
        """Whether rows are held out, so that there is an objective and a quality."""
        return bool(self.eval_names or self.eval_count or self.eval_fraction)

    @property
    def is_judged_by_function(self) -> bool:
        """Whether answers are judged by a function of the user's, ``module:function``."""
        return self.quality is not None and self.quality not in QUALITIES

    @property
    def contents(self) -> str | None:
        """A hash of all rows, those of further evaluation sets included; ``None`` before planning."""
        if not self.planned_sets:
            return self.sha256
        return "+".join(
            [str(self.sha256), *(f"{name}:{each.sha256}" for name, each in self.planned_sets.items())]
        )

    @property
    def scored_cutoff(self) -> int:
        """The maximum number of tokens of a row that is scored."""
        return self.eval_cutoff or self.cutoff

    @property
    def template_settings(self) -> tuple[tuple[str, str], ...]:
        """The settings that are noted in the chat template: those that differ from their default, by name."""
        chosen = (
            ("special_tokens", self.special_tokens, "text"),
            ("end", self.end, "add"),
            ("turns", self.turns, "all"),
            ("date", (self.date or "").replace("-", ""), ""),
        )
        return tuple((name, value) for name, value, default in chosen if value != default)

    @property
    def label(self) -> str:
        """The data's name in reports."""
        return "+".join(Path(name).name for name in self.names)

    @model_validator(mode="after")
    def _makes_sense(self) -> DataConfig:
        if not self.names:
            raise ValueError("train is empty; give a name, a file or a list of these")
        if taken := [name for name in ("reference", "tools") if name in self.reward_columns]:
            raise ValueError(
                f"reward_columns has {' and '.join(taken)}, which functions are given of every row; leave it out, or "
                "rename the column"
            )
        if self.group is not None and self.split_by is not None:
            raise ValueError("give only one of group and split_by: rows of one group stay together")
        if self.eval_names and self.eval_count is not None:
            raise ValueError("give only one of eval and eval_count")
        if isinstance(self.eval, dict):
            self._check_setsources(self.eval)
        if isinstance(self.num_samples, tuple) and len(self.num_samples) != len(self.names):
            raise ValueError(
                f"num_samples has {len(self.num_samples)} numbers for {len(self.names)} data sets; give one for each "
                "of data.train, or one number for all"
            )
        if self.weights is not None and len(self.weights) != len(self.names):
            raise ValueError(f"weights has {len(self.weights)} numbers for {len(self.names)} data sets")
        if self.weights is not None and self.mix == "concat":
            raise ValueError("weights need mix: interleave_under or interleave_over")
        return self

    def _check_setsources(self, sets: dict[str, SetSource]) -> None:
        first, *further = sets
        for name in further:
            if not sources(sets[name]):
                raise ValueError(
                    f"the evaluation set {name} has no data; only the first one, {first}, may be null, which stands "
                    "for the rows that eval_fraction or eval_count holds out of the training data"
                )
        if not self.holds_out:
            raise ValueError(
                f"the first evaluation set, {first}, steers the search and is null, and eval_fraction: 0 holds nothing "
                "out of the training data; give it a file, or an eval_fraction"
            )
