"""Whether the test rows and seeds of a plan are enough for the margins of its claims, before anything is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sweeps.planning.assessment.power import MORE_ROWS, SHARES, Detectable, Power, power, seed_degrees
from sweeps.planning.claims.names import named_cells
from sweeps.planning.claims.obstacles import obstacles
from sweeps.planning.plan import Plan
from sweeps.spec.claims import Flat
from sweeps.spec.claims.base import BaseClaim
from trainables.system.wording import counted

MISSED = 0.2  # the share of cases in which a true claim may stay open


@dataclass(frozen=True)
class MarginPower:
    """The smallest margin that a claim about a share of rows could have on ``rows`` test rows and ``seeds``, to be
    supported in 4 of 5 cases where the cells are equal. ``enough_rows``: those for its own margin, ``None`` where
    none of ``MORE_ROWS`` is.
    """

    claim: BaseClaim
    rows: int
    seeds: int
    smallest: float
    margin: float
    enough_rows: int | None

    @property
    def is_enough(self) -> bool:
        return self.smallest <= self.margin


def margin_powers(plan: Plan, detectable: Detectable) -> Iterator[MarginPower]:
    """One for each claim with a margin that lacks nothing, and whose cells are measured by a share of rows: of losses
    and rewards, whose size is unknown before training, nothing can be said.
    """
    claims = plan.spec.claims
    for claim in claims:
        margin = claim.smallest_difference
        group = _group_of(plan, claim, detectable)
        lacks = any(obstacles(claim, plan.cells, plan.spec.finalists))
        if margin is None or group is None or group.assumed is not SHARES or lacks:
            continue
        seeds, tests = group.seeds, claim.tests
        if isinstance(claim, Flat) and claim.setting is not None:
            # The best trial at each value is trained once.
            seeds, tests = 1, replace(tests, pairs=_pairs_of_values(plan, claim, claim.setting))
        least = partial(
            detectable,
            seeds=seeds,
            pairs=len(claims),
            row_variance=SHARES.row_variance,
            seed_sd=SHARES.seed_sd,
            seed_degrees=seed_degrees(len(group.cells), group.seeds),
            sides=1,
            label_shares=group.label_shares,
            # Each bound fails seldom enough that all of them hold in 4 of 5 cases (Bonferroni).
            power=1 - MISSED / (tests.sides * tests.pairs),
        )
        enough = next((rows for rows in MORE_ROWS if least(rows) <= margin), None)
        yield MarginPower(claim, group.rows, seeds, least(group.rows), margin, enough)


def _pairs_of_values(plan: Plan, claim: Flat, setting: str) -> int:
    """Of the values of a setting that its cell chooses from."""
    methods = {cell.name: cell.method for cell in plan.cells}
    (name,) = named_cells(claim.of[0], methods)
    domain = next(cell for cell in plan.cells if cell.name == name).space[setting]
    size = domain.size() or 1
    return max(1, size * (size - 1) // 2)


def claim_lines(plan: Plan, detectable: Detectable) -> Iterator[str]:
    """A line for each claim whose margin is too small for the rows and seeds that there are."""
    for each in margin_powers(plan, detectable):
        if not each.is_enough:
            amount = f"{each.rows} test rows and {counted(each.seeds, 'seed')}"
            yield (
                f"claims[{plan.spec.claim_index(each.claim)}]: a margin of {100 * each.margin:.2g} points is too small "
                f"for {amount}, which tell about {100 * each.smallest:.2g} points; {_remedy(each)}"
            )


def _remedy(each: MarginPower) -> str:
    if each.enough_rows is None:
        most = f"no number of rows up to {MORE_ROWS[-1]:,} is enough"
        if isinstance(each.claim, Flat) and each.claim.setting is not None:
            return f"{most}; a cell of each value ({{compare: [...]}}) is trained with more seeds"
        return f"{most} with these seeds (finalists.seeds)"
    return f"about {each.enough_rows} test rows are enough (data.eval_rows, data.eval_fraction)"


def claims_json(plan: Plan, detectable: Detectable) -> list[dict[str, Any]]:
    """What ``paretune plan --json`` prints of the claims."""
    powers = {plan.spec.claim_index(each.claim): each for each in margin_powers(plan, detectable)}
    return [
        {
            **claim.to_record(),
            "lacks": list(obstacles(claim, plan.cells, plan.spec.finalists)),
            "smallest_margin": each.smallest if (each := powers.get(position)) is not None else None,
            "enough_test_rows": each.enough_rows if each is not None else None,
        }
        for position, claim in ((plan.spec.claim_index(claim), claim) for claim in plan.spec.claims)
    ]


def _group_of(plan: Plan, claim: BaseClaim, detectable: Detectable) -> Power | None:
    """The comparison that the claim's cells are in."""
    methods = {cell.name: cell.method for cell in plan.cells}
    wanted = {cell for name in claim.cells.values() for cell in named_cells(name, methods)}
    groups = power(plan, detectable)
    return next((each for each in groups if wanted and wanted <= {cell.name for cell in each.cells}), None)
