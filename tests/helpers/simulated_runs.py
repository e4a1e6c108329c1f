"""Run folders whose truth is known, and how often the report says what is not so of them.

A row's difficulty is common to all cells, as test rows are; what a seed changes, and what a cell's search was lucky
with, are drawn for each training. The laws and the spread between seeds are assumptions: real runs differ.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import special

from reports.analysis.cells import collect_cells
from reports.analysis.comparison import compare, group_of
from reports.analysis.group import Group
from reports.statistics.estimates import Estimate, auc_estimate, mean_estimate
from tests.helpers.run_folders import MIB, record, write_run, write_scores
from trainables import results
from trainables.results import Record, Run

Array = NDArray[np.float64]
METHODS = (
    "full",
    "lora",
    "qlora-4bit",
    "freeze",
    "dora",
    "rslora",
    "lora-8",
    "lora-16",
    "lora-32",
    "a",
    "b",
    "c",
)


@dataclass(frozen=True)
class World:
    """``rows`` test rows of ``prompts`` prompts, cells that are worse than the best by ``gaps``, each trained with
    ``seeds`` seeds (finalists; 1: the searched trial alone) that spread by ``seed_spread``.

    ``seed_spreads``: each cell's own, where they differ.

    ``law``: ``accuracy`` (gaps and spread in shares of rows), ``auc``, or of losses ``normal``, ``lognormal``,
    ``heavy-tailed``, ``mostly zero`` (in shares of the mean loss), or ``reward`` (in the reward's unit).

    ``search_trials``: by cell, of how many equal trainings the searched one is the best by as many validation rows as
    there are test rows; by default the only one. ``searched_counts``: it is one of the cell's finalists, too.
    """

    law: str = "accuracy"
    rows: int = 64
    gaps: tuple[float, ...] = (0.0,) * 4
    seeds: int = 1
    seed_spread: float = 0.0
    seed_spreads: tuple[float, ...] = ()
    prompts: int | None = None
    search_trials: tuple[int, ...] = ()
    searched_counts: bool = False
    untuned_gap: float | None = 0.5
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def higher_is_better(self) -> bool:
        return self.law in ("accuracy", "auc", "reward")

    def is_conditional(self) -> bool:
        """Whether one training was made, so that the report speaks of the trained models alone."""
        return self.seeds == 1

    def spread_of(self, position: int) -> float:
        """How much seeds change the quality of a cell, by its position."""
        return self.seed_spreads[position] if self.seed_spreads else self.seed_spread


@dataclass
class Trained:
    """A cell's trainings: each one's scores by row, and how much its seed adds to its quality over all rows there could
    be. Of an AUC, the scores are the worth of a good and of a bad answer: (rows, 2).
    """

    scores: list[Array]
    luck: list[float]


@dataclass(frozen=True)
class Simulated:
    """The trials of a run with their scores by row, the prompts of these, and each cell's true quality, by position.

    The truth is that of the trained model where one was trained, and of the configuration over all seeds otherwise.
    """

    trials: list[Record]
    scores: dict[str, Array]
    prompts: list[str]
    truths: list[float]


def simulate(world: World, folder: Path, dice: np.random.Generator) -> tuple[Group, list[float]]:
    """Writes a run folder and compares its cells: the group, and each cell's true quality."""
    made = _trained_cells(world, dice)
    shutil.rmtree(folder, ignore_errors=True)
    run = write_run(folder, made.trials, **world.environment)
    for trial_id, values in made.scores.items():
        if world.law == "auc":
            worth = {"good_worth": values[:, 0].tolist(), "bad_worth": values[:, 1].tolist()}
            write_scores(run, trial_id, [0.0] * world.rows, prompt=made.prompts, **worth)
        else:
            write_scores(run, trial_id, values.tolist(), prompt=made.prompts)
    (group,) = compare([results.read_run(run)])
    return group, made.truths


def simulated_group(world: World, dice: np.random.Generator) -> tuple[Group, list[float]]:
    """The same without files, which take ten times as long: the cells are given the estimates of their scores."""
    made = _trained_cells(world, dice)
    run = Run(Path("simulated"), made.trials, pa.table({}), None, dict(world.environment))
    cells = collect_cells([run])
    for cell in cells:
        scores = [made.scores[record.trial_id] for record in cell.judged_trials]
        estimate = _estimate(world, scores, made.prompts)
        # What a cell would read of its trials' files.
        cell.__dict__["estimate"] = replace(estimate, untrained=cell.is_base)
    first = made.trials[0]
    return group_of(first.stage, first.model, first.data, cells), made.truths


def _estimate(world: World, scores: Sequence[Array], prompts: Sequence[str]) -> Estimate:
    rows = range(world.rows)
    if world.law == "auc":
        good, bad = ([each[:, side].tolist() for each in scores] for side in (0, 1))
        return auc_estimate(good, bad, rows, prompts=prompts)
    of_means: Any = scores
    return mean_estimate(of_means, rows, prompts=prompts, proportion=world.law == "accuracy")


def _trained_cells(world: World, dice: np.random.Generator) -> Simulated:
    prompts = world.prompts or world.rows
    common = _Rows(world, prompts, dice)
    trials: list[Record] = []
    scores: dict[str, Array] = {}
    truths: list[float] = []
    for position, gap in enumerate(world.gaps):
        cell = METHODS[position]
        peak = {"peak_train_bytes": (1000 - 50 * position) * MIB}
        candidates = world.search_trials[position] if world.search_trials else 1
        trained = _train(common, world, position, candidates, dice)
        truths.append(common.truth(gap, trained.luck[0] if world.is_conditional() else 0.0))
        if world.searched_counts:
            trained.scores.append(trained.scores[0])
        for number, values in enumerate(trained.scores):
            role = "finalist" if number else "search"
            trial_id = f"{cell}-{number}"
            scores[trial_id] = values
            trials.append(_record(world, trial_id, cell, values, role=role, seed=number, **peak))
    if world.untuned_gap is not None:
        values = common.scores(world.untuned_gap, 0.0, dice)
        scores["base"] = values
        trials.append(_record(world, "base", "base", values))
    return Simulated(trials, scores, common.prompts, truths)


def _train(common: _Rows, world: World, position: int, candidates: int, dice: np.random.Generator) -> Trained:
    """The searched trial, and as many finalists as there are seeds where there are several."""
    trainings = 1 if world.is_conditional() else 1 + world.seeds
    gap, spread = world.gaps[position], world.spread_of(position)
    luck = [float(dice.normal(0, spread)) for _ in range(trainings)]
    if candidates > 1:
        luck[0] = _luckiest(world, position, candidates, dice)
    return Trained([common.scores(gap, each, dice) for each in luck], luck)


def _luckiest(world: World, position: int, candidates: int, dice: np.random.Generator) -> float:
    """The luck of the best of several equal trainings by validation rows of their own."""
    validation = _Rows(world, world.prompts or world.rows, dice)
    lucks = dice.normal(0, world.spread_of(position), candidates)
    sign = 1 if world.higher_is_better else -1
    return float(
        max(lucks, key=lambda luck: sign * validation.scores(world.gaps[position], luck, dice).mean())
    )


def _record(world: World, trial_id: str, method: str, values: Array, **more: Any) -> Record:
    measure: dict[str, Any] = {"quality": float(values.mean()), "test_rows": len(values)}
    if world.law == "auc":
        area = _estimate(world, [values], [str(row) for row in range(len(values))]).quality
        measure |= {"quality": area, "quality_name": "auc", "quality_unit": None}
    elif world.law == "reward":
        measure |= {"quality_name": "reward", "quality_unit": "reward"}
    elif world.law != "accuracy":
        measure |= {
            "quality_name": "loss",
            "quality_unit": "nats per token",
            "quality_higher_is_better": False,
        }
    return record(trial_id, method, **measure | more)


class _Rows:
    """The test rows of one run."""

    def __init__(self, world: World, prompts: int, dice: np.random.Generator) -> None:
        self._law = world.law
        self._of_prompt = np.arange(world.rows) % prompts
        self._hardness = self._draw(prompts, dice)[self._of_prompt]
        # Of an AUC: what all cells think of a good and of a bad answer, beside the hardness of the row.
        self._answers = dice.normal(0, 1, (world.rows, 2)) if world.law == "auc" else np.empty((0, 2))
        self.prompts = [f"prompt {number}" for number in self._of_prompt]

    def scores(self, gap: float, luck: float, dice: np.random.Generator) -> Array:
        """Each row's score of one training: (rows,), or of an AUC (rows, 2)."""
        rows = len(self._hardness)
        if self._law == "auc":
            own = (self._answers + dice.normal(0, 1, (rows, 2))) / np.sqrt(2)
            # Two answers to different prompts differ by 2 standard deviations of the normal law that has this area.
            apart = 2 * special.ndtri(self.truth(gap, luck))
            worth: Array = self._hardness[:, None] + own + np.array([apart, 0.0])
            return worth
        if self._law == "accuracy":
            chance = _logistic(self._hardness + _shift(-gap + luck))
            return (dice.random(rows) < chance).astype(float)
        own = np.where(dice.random(rows) < 0.5, self._hardness, self._draw(rows, dice))
        if self._law == "reward":
            return own - gap + luck
        return own * max(0.05, 1 + gap + luck)

    def truth(self, gap: float, luck: float) -> float:
        """The quality over all rows there could be."""
        if self._law == "auc":
            return AREA - gap + luck
        if self._law == "accuracy":
            return float(_logistic(_HARDNESS + _shift(-gap + luck)).mean())
        mean = _MEANS[self._law]
        return mean - gap + luck if self._law == "reward" else mean * max(0.05, 1 + gap + luck)

    def _draw(self, count: int, dice: np.random.Generator) -> Array:
        if self._law == "accuracy":
            return dice.normal(1.3, 1.5, count)
        if self._law == "auc":
            return dice.normal(0, 1, count)
        if self._law in ("normal", "reward"):
            return dice.normal(1.0, 0.5, count)
        if self._law == "lognormal":
            return dice.lognormal(0.0, 1.0, count)
        if self._law == "heavy-tailed":
            return 1.0 + 0.3 * dice.standard_t(3, count)
        assert self._law == "mostly zero", self._law
        return np.where(dice.random(count) < 0.08, dice.lognormal(0.7, 0.8, count), 0.001)


AREA = 0.75  # under the curve, of the best cell
_MEANS = {
    "normal": 1.0,
    "reward": 1.0,
    "heavy-tailed": 1.0,
    "lognormal": float(np.exp(0.5)),
    "mostly zero": float(0.08 * np.exp(0.7 + 0.32) + 0.92 * 0.001),
}
_HARDNESS: Array = np.random.default_rng(0).normal(1.3, 1.5, 100_000)


def _logistic(values: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-values))
    return result


_CHANCE = _logistic(_HARDNESS)
_SLOPE = float((_CHANCE * (1 - _CHANCE)).mean())


def _shift(share: float) -> float:
    """The shift of logits that changes the share of right rows by about that much."""
    return share / _SLOPE


@dataclass
class Tally:
    """How often a report says what is not so, over many simulated runs."""

    runs: int = 0
    # Runs with a verdict of "better" or "worse" on two cells that are equal; and the wrong way round.
    false_verdicts: int = 0
    reversed_verdicts: int = 0
    # Of cells that are worse than the best by the margin or more.
    worse_cells: int = 0
    called_as_good: int = 0
    # Of two trained cells that differ, each counted once: called better and worse.
    unequal_pairs: int = 0
    unequal_settled: int = 0
    recommended_though_worse: int = 0
    intervals: int = 0
    covering: int = 0
    differences: int = 0
    differences_covering: int = 0
    equal_pairs: int = 0
    equal_called_as_good: int = 0
    excess: list[float] = field(default_factory=list)
    optimism: list[float] = field(default_factory=list)
    optimism_after_correction: list[float] = field(default_factory=list)
    # Of runs with an interval of the best cell: that hold its truth, its own and the one that is printed.
    best_intervals: int = 0
    best_covering_by_own: int = 0
    best_covering: int = 0
    # Printed intervals of cells on the front, each the best within its memory.
    front_intervals: int = 0
    front_covering: int = 0

    def add(self, group: Group, truths: Sequence[float], world: World) -> None:
        from reports.analysis.recommendation.answer import recommend

        true = {METHODS[position]: truth for position, truth in enumerate(truths)}
        sign = 1 if world.higher_is_better else -1
        self.runs += 1
        self.false_verdicts += any(
            verdict.settled and abs(true[_method(one)] - true[_method(other)]) < 1e-9
            for (one, other), verdict in group.verdicts.items()
        )
        for (one, other), verdict in group.verdicts.items():
            gain = sign * (true[_method(one)] - true[_method(other)])
            if verdict.comparison is not None:
                low, high = verdict.comparison.interval
                self.differences += 1
                self.differences_covering += low <= sign * gain <= high
            if abs(gain) < 1e-9:
                self.equal_pairs += 1
                self.equal_called_as_good += verdict.outcome == "as good"
            if gain > 1e-9 and "base" not in (_method(one), _method(other)):
                self.unequal_pairs += 1
                self.unequal_settled += verdict.settled
            wrong = {"better": gain < -1e-9, "worse": gain > 1e-9}
            self.reversed_verdicts += wrong.get(verdict.outcome, False)
            if group.margin is not None and gain <= -group.margin + 1e-9:
                self.worse_cells += 1
                self.called_as_good += verdict.outcome == "as good"
        for row in group.scored_rows:
            assert row.quality is not None
            self.excess.append(sign * (row.quality - true[row.name]))
            interval = group.interval(row)
            if interval is not None:
                covers = interval[0] <= true[row.name] <= interval[1]
                self.intervals += 1
                self.covering += covers
                self.front_intervals += row.on_front
                self.front_covering += row.on_front and covers
        best, chosen = group.scored_rows[0], recommend(group)
        best_truth = max(sign * truth for truth in truths)
        if chosen is not None and group.margin is not None and chosen is not best:
            self.recommended_though_worse += sign * true[chosen.name] < best_truth - group.margin
        corrected = group.choice
        if best.quality is not None and corrected is not None:
            self.optimism.append(sign * (best.quality - true[best.name]))
            self.optimism_after_correction.append(sign * (corrected.expected_quality - true[best.name]))
        own, printed = best.own_interval, group.interval(best)
        if own is not None and printed is not None:
            self.best_intervals += 1
            self.best_covering_by_own += own[0] <= true[best.name] <= own[1]
            self.best_covering += printed[0] <= true[best.name] <= printed[1]

    def shares(self) -> dict[str, float | None]:
        """The tally's shares, each ``None`` where there was nothing of its kind."""

        def share(part: int, whole: int) -> float | None:
            return part / whole if whole else None

        return {
            "any false verdict": share(self.false_verdicts, self.runs),
            "reversed verdicts": share(self.reversed_verdicts, self.runs),
            "as good, though worse by the margin": share(self.called_as_good, self.worse_cells),
            "as good, where equal": share(self.equal_called_as_good, self.equal_pairs),
            "settled, where unequal": share(self.unequal_settled, self.unequal_pairs),
            "recommended, though worse by the margin": share(self.recommended_though_worse, self.runs),
            "coverage of qualities": share(self.covering, self.intervals),
            "coverage of differences": share(self.differences_covering, self.differences),
            "coverage of the best's quality": share(self.best_covering, self.best_intervals),
            "of qualities on the front": share(self.front_covering, self.front_intervals),
            "of the best's interval without extension": share(self.best_covering_by_own, self.best_intervals),
            "figures above their truth": float(np.mean(self.excess)) if self.excess else None,
            "best's figure above its truth": float(np.mean(self.optimism)) if self.optimism else None,
            "the same after correction": (
                float(np.mean(self.optimism_after_correction)) if self.optimism_after_correction else None
            ),
        }


def _method(label: str) -> str:
    return label.removeprefix("sft-")


def tally(world: World, repeats: int, seed: int = 0, *, folder: Path | None = None) -> Tally:
    """The report's claims over so many runs of one world; with a ``folder``, of run folders that are written there."""
    dice, found = np.random.default_rng(seed), Tally()
    for _ in range(repeats):
        made = simulated_group(world, dice) if folder is None else simulate(world, folder / "run", dice)
        found.add(*made, world)
    return found
