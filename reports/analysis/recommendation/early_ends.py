"""How much of their budgets cells used of which trials ended before their last step."""

from __future__ import annotations

from collections.abc import Iterator

from reports import units
from reports.analysis.configs import leaves
from reports.analysis.group import Group
from reports.text import text


def fewer_steps(group: Group) -> Iterator[str]:
    """A clause about trials that ended before their last step as their validations got no better: their cells used less
    of a budget that is the same for all.
    """
    shares: dict[str, float] = {}
    early = trained = 0
    for row in group.scored_rows:
        done = [record for record in row.cell.search_trials if record.status == "done" and record.steps]
        ended_early = sum(record.ended_early for record in done)
        planned = [dict(leaves(record.config)).get("train.steps") or 0 for record in done]
        early, trained = early + ended_early, trained + len(done)
        # Of trials that train for epochs, the planned steps are not recorded.
        if ended_early and all(planned):
            shares[row.name] = sum(record.steps or 0 for record in done) / sum(planned)
    if not early:
        return
    yield text(
        "{early} of {trials} ended before the last step, as validations got no better (train.early_stopping){used}",
        early=early,
        trials=units.count(trained, "finished trial"),
        used=text(
            ", so that these cells made fewer steps than were planned for these trials: {shares}",
            shares=units.join([f"{name} {units.percent(share)}" for name, share in shares.items()]),
        )
        if shares
        else "",
    )
