"""The rows that a result is evaluated on: all of a data set, or those its trial held out; and which of them it was
trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainables.config.data import DataConfig
from trainables.data import converted_rows, loading, row_kind
from trainables.data.arrow_rows import Rows
from trainables.data.errors import DataError
from trainables.data.rows import Classified, Conversation, Labelled, Preference, Prompt, Text
from trainables.data.sources import exists
from trainables.evaluation import trial_rows
from trainables.inference.result import Result
from trainables.trial import starting_weights
from trainables.trial.config import TrialConfig
from trainables.trial.staged_inputs import StagedInputs

Kind = Literal["answers", "pairs", "text", "labels", "prompts", "classes"]
Part = Literal["test", "validation"]
ROW_TYPES: dict[Kind, type] = {
    "answers": Conversation,
    "pairs": Preference,
    "text": Text,
    "labels": Labelled,
    "prompts": Prompt,
    "classes": Classified,
}
KINDS: dict[type, Kind] = {row_type: kind for kind, row_type in ROW_TYPES.items()}


@dataclass(frozen=True)
class EvaluationRows:
    """Rows to evaluate on, all or some of a data set or of one ``part`` of a trial's data.

    ``row_numbers``: the position of each row in the data or its part, which has ``total`` rows. ``one_right_answer``:
    whether each prompt has exactly one. ``sha256``: the hash of all rows of the data set. ``group``: the column that
    keeps rows together, of a trial's data that names one.
    """

    name: str
    kind: Kind
    part: Part | None
    rows: Rows[Any]
    row_numbers: tuple[int, ...]
    total: int
    one_right_answer: bool
    sha256: str
    warnings: tuple[str, ...] = ()
    group: str | None = None

    def clusters(self) -> tuple[int, ...] | None:
        """The same number, from 0, for rows that open alike or are of one group; ``None`` where no two are."""
        keys = pc.take(self.rows.table["group"], pa.array(self.rows.indices)).to_pylist()
        numbers: dict[bytes, int] = {}
        found = tuple(numbers.setdefault(key, len(numbers)) for key in keys)
        return found if len(numbers) < len(found) else None

    def sample(self, count: int | None, seed: int) -> EvaluationRows:
        """``count`` of the rows, drawn by ``seed``, in their original order; all of them for ``None``."""
        if count is None or count >= self.total:
            return self
        # The beginning of one permutation: by the same seed, a larger sample contains every smaller one.
        drawn = np.sort(np.random.default_rng(seed).permutation(self.total)[:count])
        rows = Rows(self.rows.table, self.rows.indices[drawn], self.rows.row_type, self.rows.sha256)
        return replace(self, rows=rows, row_numbers=tuple(drawn.tolist()))


def load_held_out(result: Result, part: Part, kind: Kind | None = None) -> EvaluationRows:
    """The test or validation rows of the result's trial, exactly as the trial scored them. Raises ``DataError``."""
    config = trial_data(result)
    if config is None:
        raise DataError(
            f"{result.name} is not the result of a trial and has no held-out rows; give the data to evaluate on: "
            "--data FILE or NAME"
        )
    kind = kind or KINDS[result.config.stage.row_type]
    data = loading.load(config.without_further_sets(), ROW_TYPES[kind])
    rows = data.test if part == "test" else data.validation
    assert isinstance(rows, Rows)
    if not len(rows):
        raise DataError(
            f"{result.name} held out no rows (eval_fraction: 0); give the data to evaluate on: --data FILE or NAME"
        )
    numbers = tuple(range(len(rows)))
    return EvaluationRows(
        data.name, kind, part, rows, numbers, len(rows), data.exact, data.sha256, group=config.group
    )


def load_named(result: Result, name: str, kind: Kind | None = None) -> EvaluationRows:
    """All rows of a data set by its ``name``: a file, a folder, a pattern, a data set of a hub, an embedded one, or an
    entry of a ``dataset_info.json`` in the folder of the trial's data, the working directory or ``./data``.

    Without ``kind``, it is detected from the rows' columns; where these leave it open, it is the kind that the
    trial was trained on. Raises ``DataError``.
    """
    config = _named_data(result, name)
    if kind is None and result.classifies:
        kind = "classes"
    if kind is None:
        row_type = row_kind.detect_row_type(config, classes=False)
        kind = KINDS[result.config.stage.row_type if row_type is None else row_type]
    data = converted_rows.load_uncut(config, ROW_TYPES[kind])
    count = len(data.rows)
    numbers = tuple(range(count))
    return EvaluationRows(
        data.name, kind, None, data.rows, numbers, count, data.exact, data.sha256, data.warnings
    )


def trial_data(result: Result) -> DataConfig | None:
    """The data of the result's trial, with the paths of this machine; ``None`` for a result of no trial."""
    return None if result.run is None else trial_rows.local_config(result).data


def count_trained_on(result: Result, data: EvaluationRows) -> tuple[int, list[str]]:
    """How many of the rows open with a user turn, or are a text, that the result was trained on, by its trial or by
    those that it started from; and a sentence about each trial whose training rows can't be read.

    Turns are compared as the split compares them: whatever the system prompt, case and white space.
    """
    keys, seen, unknown = data.rows.openings(data.group is not None), np.zeros(len(data.rows), bool), []
    for config in _training_configs(result):
        try:
            train = loading.load(config.data, config.stage.row_type).train
        except DataError as error:
            unknown.append(f"{result.name}: can't check whether it was trained on these rows: {error}")
            continue
        assert isinstance(train, Rows)
        trained = train.openings(config.data.group is not None)
        seen |= pc.is_in(keys, value_set=trained).to_numpy(zero_copy_only=False)
    return int(seen.sum()), unknown


def _training_configs(result: Result) -> Iterator[TrialConfig]:
    """The trials that trained the result, the last one first."""
    run = result.run
    config: TrialConfig | None = (
        result.config if result.trained_folder is not None and run is not None else None
    )
    start = result.config.model.start
    while config is not None:
        # Inputs are looked up in the run folder of each trial: a start may be of another run.
        yield config if run is None else StagedInputs.read(run).local_config(config)
        folder = start.folder if start is not None else None
        config = starting_weights.read_trial(folder)
        run = None if folder is None else folder.parent.parent.parent  # RUN/trials/TRIAL/model
        start = config.model.start if config is not None else None


def _named_data(result: Result, name: str) -> DataConfig:
    """The data set of that name in the first of the folders that may hold it."""
    trained = result.config.data
    base = DataConfig(train=name, cutoff=trained.cutoff, template=trained.template, thinking=trained.thinking)
    folders = (None, trained.folder, Path(), Path("data"))
    candidates = (base.model_copy(update={"folder": folder}) for folder in folders)
    return next((config for config in candidates if exists(name, config)), base)
