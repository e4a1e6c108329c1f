"""The Optuna studies of a run, read back from ``study-CELL.journal``.

trials = read(run, "sft-lora")  # [] without a journal
domains(trials)                 # {"train.learning_rate": FloatDistribution(...), ...}
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

EDGE_SHARE = 0.05  # of a domain's width
# The user attributes of a study's trial: the id of ours, and where its settings come from (``start``, ``earlier``,
# ``random``, ``quasi-random``, ``results`` or ``rest``; studies of earlier versions lack it).
TRIAL_ID, ORIGIN = "trial_id", "origin"


@contextmanager
def quiet() -> Iterator[None]:
    """Silences Optuna's progress lines and its warnings of experimental features."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def read(run: Path, cell: str) -> list[FrozenTrial]:
    """Every trial of a cell's study in a run's folder; empty without a journal.

    Reads a copy: opening a journal may write a lock file beside it, and a run folder may be read-only or in use.
    """
    journal = run / f"study-{cell}.journal"
    if not journal.exists():
        return []
    with quiet(), tempfile.TemporaryDirectory() as folder:
        return _trials(Path(shutil.copyfile(journal, Path(folder) / "study.journal")))


def _trials(journal: Path) -> list[FrozenTrial]:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(journal)))
    names = optuna.get_all_study_names(storage)
    return [trial for name in names for trial in optuna.load_study(study_name=name, storage=storage).trials]


def domains(trials: list[FrozenTrial]) -> dict[str, BaseDistribution]:
    """The domain of each searched setting, by path; the last one where it changed."""
    return {path: domain for trial in trials for path, domain in trial.distributions.items()}


def edge(value: Any, domain: BaseDistribution) -> Literal["low", "high"] | None:
    """The end of its domain that a value lies at: within 5 % of the width, or an outer one of at least 3 numbers.

    The width of a log domain is that of the logarithms.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, CategoricalDistribution):
        numbers = sorted(choice for choice in domain.choices if isinstance(choice, int | float))
        # Of two choices each is an end, which says nothing about the range.
        low, high = (numbers[0], numbers[-1]) if len(numbers) > 2 else (None, None)
        return "low" if value == low else "high" if value == high else None
    assert isinstance(domain, FloatDistribution | IntDistribution)
    if domain.single():
        return None
    scaled, low, high = (log(x) if domain.log else x for x in (value, domain.low, domain.high))
    position = (scaled - low) / (high - low)
    return "low" if position <= EDGE_SHARE else "high" if position >= 1 - EDGE_SHARE else None
