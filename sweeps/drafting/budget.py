"""How much a proposed spec trains: its split, the length of its rows, its steps and its trials."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sweeps.drafting.row_facts import RowFacts

HELD_OUT_ROWS = 80  # to aim at, half of them for validation and half for the test
LEAST_SHARE, LARGEST_SHARE = 0.1, 0.3  # of the rows that are held out
MOST_CUTOFF, LEAST_CUTOFF = 2048, 64
CUTOFF_STEP = 64
EPOCHS = 2.0  # to aim at
LEAST_STEPS = 20
LEAST_TRIALS = 2


@dataclass(frozen=True)
class Scale:
    """What a device can be expected to do in a first sweep. ``most_tokens``: of a trial's training."""

    most_steps: int
    most_tokens: float
    trials: int  # of each method's search
    seeds: int  # other seeds with which each method's best settings are trained again
    eval_rows: int  # for validation, and for the test


SCALES = {"cpu": Scale(60, 60_000, 4, 2, 100), "cuda": Scale(500, math.inf, 6, 3, 500)}
BATCH = 8  # rows of a step, where these are not too long


@dataclass(frozen=True)
class Budget:
    """``eval_rows`` is ``None`` where no part has more rows than a device can be expected to score."""

    eval_fraction: float
    eval_rows: int | None
    cutoff: int
    steps: int
    trials: int
    seeds: int

    def scaled(self, factor: float, fixed_steps: bool = False) -> Budget:
        """The budget for ``factor`` (below 1) of its time: fewer steps first, unless these are fixed, then fewer seeds
        and trials.
        """
        steps = self.steps if fixed_steps else max(LEAST_STEPS, math.floor(self.steps * factor))
        left = factor * self.steps / steps
        if left >= 1:
            return replace(self, steps=steps)
        # A cell's trials and seeds, of which at least two trials remain.
        trials = max(LEAST_TRIALS, math.floor((self.trials + self.seeds) * left))
        seeds = max(1, min(self.seeds, trials - self.trials)) if trials > self.trials else 1
        return replace(self, steps=steps, seeds=seeds, trials=min(self.trials, trials))


def usual_share(rows: int) -> float:
    """The share of so many rows that is held out, unless that leaves too few."""
    share = min(LARGEST_SHARE, max(LEAST_SHARE, HELD_OUT_ROWS / max(1, rows)))
    return round(round(share / 0.05) * 0.05, 2)


def choose_budget(
    facts: RowFacts, device: str, batch: int, share: float, cutoff: int | None = None
) -> Budget:
    """A budget for these rows on ``cpu`` or ``cuda``, with steps of ``batch`` rows and a ``share`` that is held out."""
    scale = SCALES[device]
    held_out = round(facts.rows * share)
    training = max(1, facts.rows - held_out)
    steps = min(
        math.ceil(EPOCHS * training / batch), scale.most_tokens / (batch * facts.mean(choose_cutoff(facts)))
    )
    return Budget(
        eval_fraction=share,
        eval_rows=scale.eval_rows if held_out // 2 > scale.eval_rows else None,
        cutoff=cutoff or choose_cutoff(facts),
        steps=max(LEAST_STEPS, min(scale.most_steps, math.floor(steps))),
        trials=scale.trials,
        seeds=scale.seeds,
    )


def choose_batch(facts: RowFacts, device: str, least: int = 1) -> int:
    """The rows of a step: fewer of long rows on a CPU, at least ``least``."""
    batch = BATCH
    while (
        batch > least and LEAST_STEPS * batch * facts.mean(choose_cutoff(facts)) > SCALES[device].most_tokens
    ):
        batch //= 2
    return max(batch, least)


def choose_cutoff(facts: RowFacts) -> int:
    """The smallest multiple of :data:`CUTOFF_STEP` tokens that the longest row fits in, up to :data:`MOST_CUTOFF`
    and what the model was trained on.
    """
    fitting = -(-facts.longest // CUTOFF_STEP) * CUTOFF_STEP
    return max(LEAST_CUTOFF, min(MOST_CUTOFF, facts.positions or MOST_CUTOFF, fitting))
