"""Claims about runs and searches whose truth is known: how often a report supports or contradicts what is not so, and
how often its intervals hold the truth.

Each claim is simulated at the edge of being true: a cell is worse by exactly the margin, two cells are equal, a ratio
is the bound itself. There it is neither to be supported nor to be contradicted more often than the error allows, and
anywhere else the one that is wrong is less frequent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray

from reports.analysis.evaluation_sets import SetResults
from reports.analysis.group import Group
from reports.claims.best_setting import BestSetting
from reports.claims.better import Better
from reports.claims.cells import named_cells
from reports.claims.claim import Claim
from reports.claims.differences import Difference
from reports.claims.findings import findings
from reports.claims.flat import Flat
from reports.claims.judgement import Figure
from reports.claims.least_memory import LeastMemory
from reports.claims.rate_ratio import RateRatio, ratio_figure, without_optimum
from reports.claims.stated import StatedClaim
from reports.claims.within import Within
from reports.statistics.estimates import Estimate, mean_estimate
from reports.statistics.intervals import pooled_seed_variance
from reports.statistics.looks import level
from tests.helpers.simulated_runs import World, simulated_group
from tests.helpers.simulated_searches import SearchWorld, simulate_search

GAP = 0.05  # by which the second of three cells is worse; the first and the third are equal


@dataclass
class ClaimTally:
    """How often one claim came out how, and how many of its intervals held the truth."""

    runs: int = 0
    supported: int = 0
    contradicted: int = 0
    intervals: int = 0
    covering: int = 0

    def add_figure(self, figure: Figure, truth: float) -> None:
        low, high = figure.interval
        self.intervals += 1
        # Sums in another order differ by less than the tolerance.
        self.covering += (
            (-inf if low is None else low) - 1e-9 <= truth <= (inf if high is None else high) + 1e-9
        )

    @property
    def coverage(self) -> float | None:
        return self.covering / self.intervals if self.intervals else None


@dataclass
class ClaimTallies:
    """By kind; ``any_supported`` and ``any_contradicted``: of how many runs, where all are claimed at once."""

    runs: int = 0
    any_supported: int = 0
    any_contradicted: int = 0
    by_kind: dict[str, ClaimTally] = field(default_factory=dict)


def claims_at_the_edge(truths: Mapping[str, float]) -> dict[str, Claim]:
    """A claim of each kind about qualities, which is at the edge of being true."""
    margin = abs(truths["lora"] - truths["full"])
    return {
        "within": Within("lora", "full", margin),
        "within, both": Within("lora", "full", margin, True),
        "better": Better("qlora-4bit", "full"),
        "least memory": LeastMemory("lora", "full", 0.97, margin),
        "flat": Flat(("full", "lora", "qlora-4bit"), margin),
    }


def tally_claims(world: World, repeats: int, seed: int = 0) -> ClaimTallies:
    """Claims about three cells of so many simulated runs: one at a time, and all of them together."""
    dice, found = np.random.default_rng(seed), ClaimTallies()
    for _ in range(repeats):
        group, truths = simulated_group(world, dice)
        _add(found, group, dict(zip(("full", "lora", "qlora-4bit"), truths, strict=True)))
    return found


def _add(found: ClaimTallies, group: Group, truths: Mapping[str, float]) -> None:
    claims = claims_at_the_edge(truths)
    judged = [claim.judge(named_cells([group], claim.names, None)[0]) for claim in claims.values()]
    found.runs += 1
    # What a report says of all of them, at its first look.
    stated = [StatedClaim(claim, None, None, False, {}) for claim in claims.values()]
    outcomes = [each.outcome for each in findings(stated, [group])]
    assert len(outcomes) == len(claims)
    found.any_supported += "supported" in outcomes
    found.any_contradicted += "contradicted" in outcomes
    true = {
        "better": truths["qlora-4bit"] - truths["full"],
        "flat": max(truths.values()) - min(truths.values()),
    }
    for name, each in zip(claims, judged, strict=True):
        tally = found.by_kind.setdefault(name, ClaimTally())
        tally.runs += 1
        tally.supported += each.p_supported < level(1)
        tally.contradicted += each.p_contradicted < level(1)
        # The last figure is that of the quality; memory's is no estimate.
        tally.add_figure(each.figures[-1], true.get(name, truths["lora"] - truths["full"]))


def tally_ratios(
    one: SearchWorld, other: SearchWorld, repeats: int, seed: int = 0, bound: float | None = None
) -> ClaimTally:
    """A claim about the ratio of two searches' best rates, whose bound is by default the true one."""
    dice, found = np.random.default_rng(seed), ClaimTally()
    truth = one.best / other.best
    claim = BestSetting("one", "other", at_least=truth if bound is None else bound)
    for _ in range(repeats):
        searches = simulate_search(one, dice), simulate_search(other, dice)
        found.runs += 1
        if any(without_optimum("", each) is not None for each in searches):
            continue
        ratio = RateRatio(*searches)
        supported, contradicted = claim.test(ratio)
        found.supported += supported < level(1)
        found.contradicted += contradicted < level(1)
        found.add_figure(ratio_figure(ratio, "", ""), truth)
    return found


def tally_forgetting(texts: int, repeats: int, seed: int = 0) -> ClaimTally:
    """``forgets_less`` of two cells that forget alike: losses of so many texts, weighted by their tokens.

    Texts differ far more from one another (a standard deviation of 0.6) than by what a training changes. Each of three
    trainings of a cell raises all losses by 0.1, with a standard deviation of 0.02 between trainings, and the loss of
    each text by noise with a standard deviation of 0.05. No text is changed by the one method and not by the other.
    """
    dice, found = np.random.default_rng(seed), ClaimTally()
    for _ in range(repeats):
        losses = dice.normal(3.0, 0.6, texts)
        tokens = np.ceil(dice.lognormal(3.0, 0.7, texts)).tolist()
        one, other = (_forgetful(losses, tokens, dice) for _ in range(2))
        scale = SetResults(
            name="general", title="general", quality_name="loss", unit="", higher_is_better=False, rows=texts,
            source="", sha256=None, qualities={}, estimates={}, seed_variance=pooled_seed_variance([one, other]),
        )  # fmt: skip
        difference = Difference(scale, one, other, "")
        supported, contradicted = difference.direction_ps()
        found.runs += 1
        found.supported += supported < level(1)
        found.contradicted += contradicted < level(1)
        found.add_figure(difference.figure(), 0.0)
    return found


def _forgetful(losses: NDArray[np.float64], tokens: list[float], dice: np.random.Generator) -> Estimate:
    """A cell of three seeds, by its losses of the same texts."""
    rises = dice.normal(0.1, 0.02, 3)
    scores = [(losses + rise + dice.normal(0, 0.05, len(losses))).tolist() for rise in rises]
    return mean_estimate(scores, range(len(losses)), weights=tokens)
