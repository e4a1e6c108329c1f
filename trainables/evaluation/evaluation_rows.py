"""Which rows a result is evaluated on: all of a data set, or what its trial held out; and which it was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainables.config.data import DataConfig
from trainables.data import loading, row_kind
from trainables.data.arrow_rows import Rows
from trainables.data.errors import DataError
from trainables.data.rows import Conversation, Labelled, Preference, Prompt, Text
from trainables.data.sources import exists
from trainables.evaluation import trial_rows
from trainables.inference.result import Result
from trainables.trial import starting_weights
from trainables.trial.config import TrialConfig
from trainables.trial.staged_inputs import Given

Kind = Literal["answers", "pairs", "text", "labels", "prompts"]
Part = Literal["test", "validation"]
NEEDS: dict[Kind, type] = {
    "answers": Conversation,
    "pairs": Preference,
    "text": Text,
    "labels": Labelled,
    "prompts": Prompt,
}
KINDS: dict[type, Kind] = {need: kind for kind, need in NEEDS.items()}


@dataclass(frozen=True)
class EvaluationRows:
    """Rows to evaluate. ``numbers`` are theirs within the data, or the part of it; ``of`` is how many that has.

    ``exact``: each prompt has one right answer. ``sha256`` is the hash of all the data's rows.
    """

    name: str
    kind: Kind
    part: Part | None
    rows: Rows[Any]
    numbers: tuple[int, ...]
    of: int
    exact: bool
    sha256: str
    warnings: tuple[str, ...] = ()

    def some(self, count: int | None, seed: int) -> EvaluationRows:
        """``count`` of the rows, drawn by ``seed``, in their order."""
        if count is None or count >= self.of:
            return self
        drawn = np.sort(np.random.default_rng(seed).permutation(self.of)[:count])
        rows = Rows(self.rows.table, self.rows.indices[drawn], self.rows.cls, self.rows.sha256)
        return replace(self, rows=rows, numbers=tuple(drawn.tolist()))


def load_held_out(result: Result, part: Part, kind: Kind | None = None) -> EvaluationRows:
    """What the result's trial held out, exactly as it was scored there. Raises ``DataError``."""
    config = trial_data(result)
    if config is None:
        raise DataError(
            f"{result.name} has no data of its own; say which to evaluate on: --data FILE or NAME"
        )
    kind = kind or KINDS[result.config.stage.row_type]
    found = loading.load(config, NEEDS[kind])
    rows = found.test if part == "test" else found.validation
    assert isinstance(rows, Rows)
    numbers = tuple(range(len(rows)))
    return EvaluationRows(found.name, kind, part, rows, numbers, len(rows), found.exact, found.sha256)


def load_named(result: Result, name: str, kind: Kind | None = None) -> EvaluationRows:
    """All rows of the data that ``name`` names: a file, a folder, a pattern, a hub's, an embedded one, or one of a
    ``dataset_info.json`` beside the trial's data, here, or in ``./data``. Raises ``DataError``.
    """
    config = _config(result, name)
    if kind is None:
        need = row_kind.kind(config)
        kind = KINDS[result.config.stage.row_type if need is None else need]
    found = loading.whole(config, NEEDS[kind])
    count = len(found.rows)
    numbers = tuple(range(count))
    return EvaluationRows(
        found.name, kind, None, found.rows, numbers, count, found.exact, found.sha256, found.warnings
    )


def trial_data(result: Result) -> DataConfig | None:
    """The data of the result's trial, where it is on this machine; ``None`` for what no trial left."""
    return None if result.run is None else trial_rows.local_config(result).data


def count_trained_on(result: Result, material: EvaluationRows) -> tuple[int, list[str]]:
    """How many of the rows have a prompt, or a text, that the result was trained on, by its trial or one before it;
    and what couldn't be looked at, in sentences.
    """
    keys, seen, unknown = _keys(material.rows), np.zeros(len(material.rows), bool), []
    for config in _trained(result):
        try:
            train = loading.load(config.data, config.stage.row_type).train
        except DataError as error:
            unknown.append(f"{result.name}: whether rows were trained on can't be told: {error}")
            continue
        assert isinstance(train, Rows)
        seen |= pc.is_in(keys, value_set=_keys(train)).to_numpy(zero_copy_only=False)
    return int(seen.sum()), unknown


def _trained(result: Result) -> Iterator[TrialConfig]:
    """The trials that trained the result, the last first."""
    left, run = result.trained_folder, result.run
    config: TrialConfig | None = result.config if left is not None and run is not None else None
    start = result.config.model.start
    while config is not None:
        yield config if run is None else Given.of(run).config(config)
        folder = start.folder if start is not None else None
        config = starting_weights.trial(folder)
        run = _run(folder)
        start = config.model.start if config is not None else None


def _run(folder: Path | None) -> Path | None:
    return None if folder is None else folder.parent.parent.parent


def _keys(rows: Rows[Any]) -> pa.Array:
    """Each row's hash of its prompt."""
    return pc.take(rows.table["key"], pa.array(rows.indices)).combine_chunks()


def _config(result: Result, name: str) -> DataConfig:
    """The data of that name, looked for where it may be."""
    own = result.config.data
    base = DataConfig(train=name, cutoff=own.cutoff, template=own.template, thinking=own.thinking)
    folders = (None, own.folder, Path(), Path("data"))
    found = (base.model_copy(update={"folder": folder}) for folder in folders)
    return next((config for config in found if exists(name, config)), base)
