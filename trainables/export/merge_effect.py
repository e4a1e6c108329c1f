"""How scores change when an adapter that was trained on a quantized base model is merged into the unquantized one."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from trainables.data.errors import DataError
from trainables.evaluation import trial_rows
from trainables.export import saved_model
from trainables.inference.model_pool import ModelPool
from trainables.inference.result import Result
from trainables.quantizers import QuantizationFailed
from trainables.stages.rewards.rules import RewardModelError


@dataclass(frozen=True)
class ScoreChange:
    """The metrics of the test ``rows``: ``before``, of the adapter on the quantized base, and of the merged model."""

    rows: int
    before: dict[str, float]
    after: dict[str, float]


def changes_base(result: Result) -> bool:
    """Whether the adapter was trained on another form of the base model (a quantized one) than it is merged into."""
    method = result.config.method
    own_form = getattr(method, "holds_base", bool(method and method.base_form_settings))
    return result.is_adapter and bool(own_form)


def measure_change(result: Result, folder: Path, dtype: str, log: Callable[[str], None]) -> ScoreChange | str:
    """Scores the result and the merged model in ``folder``, both with the result's tokenizer.

    Returns a sentence about the reason if they can't be scored, such as data that is not on this machine.
    """
    config = trial_rows.local_config(result)
    try:
        data = trial_rows.load_rows(result)
        if not len(data.test):
            return "the trial held out no rows"
        log(f"scoring {len(data.test)} test rows, quantized and merged")
        with ModelPool().load(result).active() as policy:
            before = config.stage.score(policy, data, data.test, config.data.scored_cutoff).metrics
            attention = policy.causal.config._attn_implementation
        policy = replace(policy, model=None)  # frees the quantized model before the merged one is loaded
        gc.collect()
        merged = replace(
            policy,
            model=saved_model.load_exported(folder, result, dtype, attention),
            method=None,
            dtypes=saved_model.uniform_dtypes(dtype),
        )
        after = config.stage.score(merged, data, data.test, config.data.scored_cutoff).metrics
        return ScoreChange(len(data.test), before, after)
    except DataError as error:
        return f"the trial's data is not on this machine ({error})"
    except (QuantizationFailed, ImportError, RewardModelError) as error:
        return str(error)
