"""Loads a data set: reads and converts its rows once, and splits them into training, validation and test rows.

Rows are split by the hash of their first user turn (or of their group, or whole prompt: ``data.group``,
``data.split_by``), so rows that open alike stay together, and adding rows moves no other.
The validation rows steer a search; the test rows give the quality, once.

>>> load(DataConfig(train="commands")).train[0].answer  # doctest: +SKIP
'alarm 4pm'
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trainables.config.data import DataConfig
from trainables.data import arrow_rows
from trainables.data.converted_rows import (
    ConvertedRows,
    converted_rows,
    in_parentheses,
    rows_identity,
    rows_sha256,
)
from trainables.data.errors import DataError
from trainables.data.evaluation_sets import EvaluationSet, load_set, set_identity, trained_on
from trainables.data.kept_together import kept_together, large_group_warnings, other_split, split_keys
from trainables.data.rows import Conversation, Labelled, Preference
from trainables.data.sources import Source, joined_names, resolve, source_labels
from trainables.data.splits import (
    few_held_out,
    held_out_setting,
    interleave,
    sampled_rows,
    samples_of,
    split_advice,
    split_halves,
    split_rows,
)
from trainables.system.recent import Recent
from trainables.system.wording import counted


@dataclass(frozen=True)
class Quality:
    """By what the config says that answers are judged: ``name``, and the ``file`` of a function with its hash."""

    name: str
    file: Path | None = None
    sha256: str | None = None

    @classmethod
    def of(cls, config: DataConfig) -> Quality | None:
        """What a config says; ``None`` where it says nothing."""
        return cls(config.quality, config.quality_file, config.quality_sha256) if config.quality else None


@dataclass(frozen=True)
class Data:
    """A data set, split into training, validation and test rows.

    ``exact``: each prompt has one right answer. ``sha256``: the hash of every row. ``quality``: by what answers are
    judged, where the config says it. ``notes`` say how the rows were read, ``warnings`` which were left out or look
    unfinished; ``held_out_warnings`` are those of them on the files of ``data.eval``. ``duplicates``: rows whose prompt
    occurs before. ``overlap``: training rows that were left out because they belong to a held-out row. Validation and
    test part are empty where nothing is held out. ``pairs``: of embedded labelled answers, the pairs of the test rows'
    prompts.
    """

    name: str
    train: Sequence[Any]
    validation: Sequence[Any]
    test: Sequence[Any]
    exact: bool
    sha256: str
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    duplicates: int = 0
    overlap: int = 0
    held_out_warnings: tuple[str, ...] = ()
    quality: Quality | None = None
    pairs: Sequence[Any] = ()
    sets: tuple[EvaluationSet, ...] = ()  # further evaluation sets
    # Of several data sets, how many of the rows to train on are of each, by its name; else empty.
    mixture: Mapping[str, int] = field(default_factory=dict)


def load(config: DataConfig, row_type: type = Conversation) -> Data:
    """Loads and splits the data that ``config`` names, as rows of the type that a stage needs (``data.rows``).

    Raises :class:`DataError` for a file that is missing, empty, unreadable or too small to be split, and for
    data that has changed since the planning (``config.sha256``).
    """
    train = tuple(resolve(name, config) for name in config.names)
    held_out = tuple(resolve(name, config, "eval") for name in config.eval_names)
    identity = rows_identity(config, row_type, (*train, *held_out))
    states = [set_identity(config, name, row_type) for name in config.further_sets]
    # The identity covers the rows alone; the split and the mix depend on other settings of the config.
    data = recent_data.get(
        ("".join([identity, *states]), config.model_dump_json()),
        lambda: _load(config, row_type, train, held_out, identity),
    )
    if config.sha256 not in (None, data.sha256):
        raise DataError(
            f"{data.name} has changed since this was planned (its SHA-256 is {data.sha256[:12]}, it was "
            f"{str(config.sha256)[:12]}); restore the old rows, or plan again"
        )
    return data


recent_data: Recent[tuple[str, str], Data] = Recent(size=8)  # by the rows' identity and the config as JSON


def _load(
    config: DataConfig,
    row_type: type,
    train: tuple[Source, ...],
    held_out: tuple[Source, ...],
    identity: str,
) -> Data:
    converted = converted_rows(config, row_type, (*train, *held_out), identity)
    name, exact = joined_names(train), all(source.exact for source in (*train, *held_out))
    # (rows,) each: the first bytes of the hashes of the prompt and of what keeps rows together, and the number of the
    # row's source.
    prompts, sources = arrow_rows.key_prefixes(converted.table), converted.table["source"].to_numpy()
    keys = split_keys(config, converted.table)
    drawn = sampled_rows(sources, config.num_samples, config.sample_seed)
    prompts, sources, keys = prompts[drawn], sources[drawn], keys[drawn]
    if not len(keys):
        raise DataError(f"{name} holds no rows that can be used{in_parentheses(converted.warnings)}")
    parts = _split(
        config, keys, sources, len(train), lambda row: converted.table["row"][int(drawn[row])].as_py()
    )
    for part, indices in zip(("training", "validation", "test"), parts, strict=True):
        if not len(indices) and (config.holds_out or part == "training"):
            setting, value = held_out_setting(config)
            what = kept_together(config, row_type)
            is_held_out = sources >= len(train)
            advice = split_advice(config, part, what, keys, is_held_out) + other_split(config, keys, prompts)
            if held_out:
                raise _too_few_error(part, name, joined_names(held_out), is_held_out, advice, converted)
            raise DataError(
                f"{name} has {counted(len(keys), 'row')} and {setting} {value} leaves none for the {part} part; "
                f"{advice}{in_parentheses(converted.warnings)}",
                (setting,) if setting in config.model_fields_set else (),
            )
    few = few_held_out(config, keys, len(parts[1]), len(parts[2]))
    if few and config.strict:
        raise DataError(
            f"{name}: {few}; set eval_count, or accept this with strict: false", ("eval_fraction",)
        )
    changed = (
        *large_group_warnings(config, row_type, keys, prompts),
        *_sample_warnings(config, (*train, *held_out), sources),
    )
    if changed and config.strict:
        raise DataError(f"{changed[0]}, or accept this with strict: false")
    # Training rows that `_split` left out; without held-out sources the missing rows are the held-out part.
    overlap = int((sources < len(train)).sum()) - len(parts[0]) if held_out else 0
    sets = tuple(load_set(config, name, row_type) for name in config.further_sets)
    in_sets = trained_on(keys[parts[0]], sets, row_type)
    if in_sets.all():
        raise DataError(
            f"each row of {name} belongs to a further evaluation set; none is left to train on", ("eval",)
        )
    overlap += int(in_sets.sum())
    order = _mixed(config, parts[0][~in_sets], sources, len(train))
    training, validation, test = (
        arrow_rows.Rows[Any](converted.table, drawn[indices], row_type, converted.sha256)
        for indices in (order, *parts[1:])
    )
    return Data(
        name=name,
        train=training,
        validation=validation,
        test=test,
        exact=exact,
        sha256=rows_sha256(converted, exact),
        notes=converted.notes,
        warnings=(
            *converted.warnings,
            *changed,
            *([f"{name}: {few}"] if few else []),
        ),
        # By 64 bits of the hash: among ten million prompts the chance that two share them is about 3e-6.
        duplicates=len(prompts) - len(np.unique(prompts)),
        overlap=overlap,
        held_out_warnings=converted.held_out_warnings,
        quality=Quality.of(config),
        pairs=_embedded_pairs(config, row_type, train),
        sets=sets,
        mixture=_mixture(train, sources[order]),
    )


def _mixture(train: Sequence[Source], numbers: np.ndarray) -> dict[str, int]:
    """The rows to train on by data set; ``numbers`` (rows,): the source of each."""
    if len(train) == 1:
        return {}
    counts = np.bincount(numbers, minlength=len(train)).tolist()
    found: dict[str, int] = {}
    for label, count in zip(source_labels(train), counts, strict=True):
        found[label] = found.get(label, 0) + count
    return found


def _embedded_pairs(config: DataConfig, row_type: type, train: tuple[Source, ...]) -> Sequence[Any]:
    """The test pairs of embedded data whose labelled answers are loaded: of the same prompts, as these are split."""
    if row_type is not Labelled or not config.holds_out or not all(source.embedded for source in train):
        return ()
    return load(config.model_copy(update={"sha256": None}).without_further_sets(), Preference).test


def _too_few_error(
    part: str, name: str, held_out_name: str, is_held_out: np.ndarray, advice: str, converted: ConvertedRows
) -> DataError:
    """The error for a part without rows where ``data.eval`` says which are held out (``is_held_out``: (rows,))."""
    on_training = tuple(text for text in converted.warnings if text not in converted.held_out_warnings)
    if part != "training":
        count = counted(int(is_held_out.sum()), "usable row")
        left_out = in_parentheses(converted.held_out_warnings)
        return DataError(
            f"{held_out_name} has {count}, which leaves none for the {part} part; {advice}{left_out}",
            ("eval",),
        )
    if is_held_out.all():
        return DataError(f"{name} has no row that can be used{in_parentheses(on_training)}")
    return DataError(
        f"no row of {name} is left to train on: {advice}{in_parentheses(on_training)}", ("eval",)
    )


def _sample_warnings(config: DataConfig, sources: Sequence[Source], numbers: np.ndarray) -> Iterator[str]:
    """Data sets that have fewer rows than are to be drawn; ``numbers`` (rows,): the source of each row."""
    counts = np.bincount(numbers, minlength=len(sources))
    for place, (source, count) in enumerate(zip(source_labels(sources), counts, strict=True)):
        wanted = samples_of(config.num_samples, place)
        if wanted is not None and count < wanted:
            rows = counted(int(count), "usable row")
            yield f"{source} has {rows}, fewer than num_samples: {wanted}; none is repeated"


def _split(
    config: DataConfig, keys: np.ndarray, sources: np.ndarray, train: int, row_text: Callable[[int], str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers of the training, validation and test part; the first ``train`` sources are trained on."""
    if not config.eval_names:
        return split_rows(keys, row_text, config.eval_fraction, config.eval_count, config.eval_rows)
    held_out = np.flatnonzero(sources >= train)
    # Quality must come from rows that were not trained on: what belongs to both is left out of the training rows.
    in_both = np.isin(keys, keys[held_out])
    return (
        np.flatnonzero((sources < train) & ~in_both),
        *split_halves(keys, held_out, row_text, config.eval_rows),
    )


def _mixed(config: DataConfig, rows: np.ndarray, sources: np.ndarray, train: int) -> np.ndarray:
    """The training rows in the order in which the sources are mixed."""
    if config.mix == "concat" or train == 1:
        return rows
    parts = [rows[sources[rows] == source] for source in range(train)]
    until = "first" if config.mix == "interleave_under" else "all"
    return interleave(parts, config.weights or (1.0,) * train, until)
