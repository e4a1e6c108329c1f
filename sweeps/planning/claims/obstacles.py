"""Why a plan's run can't answer a claim: what the spec lacks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sweeps.planning.cell import LEARNING_RATE, Cell
from sweeps.planning.claims.names import named_cells
from sweeps.spec.claims import Flat, ForgetsLess
from sweeps.spec.claims.base import BaseClaim
from sweeps.spec.claims.reading import PART
from sweeps.spec.problems import Problem
from sweeps.spec.settings import FinalistsConfig, going_on
from sweeps.spec.spec import Spec
from trainables.system.suggestions import did_you_mean
from trainables.system.wording import counted

# Trials through which a learning-rate curve has an interval: `LEAST_TRIALS` of reports.statistics.response_curve.
LEAST_RATES = 5


def warnings(spec: Spec, cells: Sequence[Cell]) -> Iterator[Problem]:
    """A warning for each claim that this plan's run can't answer."""
    for claim in spec.claims:
        if lacks := list(obstacles(claim, cells, spec.finalists)):
            path = (PART, spec.claim_index(claim))
            what = f"this claim can't be answered by this spec: {'; '.join(lacks)}"
            yield spec.source.problem(path, what, error=False)


def obstacles(claim: BaseClaim, cells: Sequence[Cell], finalists: FinalistsConfig) -> Iterator[str]:
    """What is missing for a claim, each as a clause with what to do."""
    methods = {cell.name: cell.method for cell in cells}
    found = {name: named_cells(name, methods) for name in claim.cells.values()}
    for name, names in found.items():
        if not names:
            yield f"{name} is not among the cells that run"
    meant = [cell for cell in cells if [cell.name] in found.values()]
    if len({(cell.stage, cell.first().model.label, cell.first().data.label) for cell in meant}) > 1:
        yield (
            f"{' and '.join(cell.name for cell in meant)} are of different stages, models or data, and are not compared"
        )
    if len(claim.cells) > 1 and len({cell.name for cell in meant}) < sum(map(bool, found.values())):
        yield f"{meant[0].name} is named twice, and is not compared with itself"
    if claim.subject == "quality":
        yield from _without_quality(claim, meant, finalists)
    elif claim.subject == "learning rates":
        yield from _without_rates(meant)
    elif isinstance(claim, ForgetsLess):
        yield from _without_set(claim, meant)
        yield from _without_quality(claim, meant, finalists)


def _without_quality(claim: BaseClaim, cells: Sequence[Cell], finalists: FinalistsConfig) -> Iterator[str]:
    if not_held := [cell.name for cell in cells if not cell.holds_out]:
        yield f"{', '.join(not_held)}: no rows are held out to score (data.eval_fraction)"
    if finalists.seeds < 2:
        yield (
            "each cell is trained with one seed, and what others would give is not known (finalists: {seeds: 3})"
        )
    if isinstance(claim, Flat) and claim.setting is not None:
        yield from _without_values(claim.setting, cells)


def _without_set(claim: ForgetsLess, cells: Sequence[Cell]) -> Iterator[str]:
    for cell in cells:
        names = [each.name for each in cell.evaluation_sets]
        if not names:
            yield (
                f"{cell.name} has no second evaluation set (data: {{eval: {{mine: a.jsonl, general: b.jsonl}}}}; "
                "mine: null is what eval_fraction holds out)"
            )
        elif claim.set is None and len(names) > 1:
            yield f"{cell.name} has the further sets {' and '.join(names)}, and the claim names none (set: {names[0]})"
        elif claim.set is not None and claim.set not in names:
            advice = did_you_mean(claim.set, names)
            yield f"{cell.name} has no further evaluation set {claim.set}, but {' and '.join(names)}{advice}"
    hashes = [{name: each.sha256 for name, each in cell.first().data.planned_sets.items()} for cell in cells]
    for name in [claim.set] if claim.set is not None else hashes[0] if hashes else ():
        if len({found[name] for found in hashes if name in found}) > 1:
            yield f"{' and '.join(cell.name for cell in cells)} are scored on other data called {name}"


def _without_values(setting: str, cells: Sequence[Cell]) -> Iterator[str]:
    for cell in cells:
        domain = cell.space.get(setting)
        if domain is None:
            searched: Mapping[str, object] = cell.space
            yield f"{cell.name} does not search {setting} (it searches {', '.join(searched) or 'nothing'})"
        elif (size := domain.size()) is None:
            yield f"{setting} of {cell.name} is searched in a range; values are compared of a {{choice: [4, 16]}}"
        elif cell.trials < size:
            yield (
                f"{cell.name} has {counted(cell.trials, 'trial')} for {size} values of {setting}, and each needs "
                "one (search.trials)"
            )
        if cell.rungs:
            yield (
                f"trials of {cell.name} that are stopped early have no quality, and every value needs one "
                "(search: {scheduler: none})"
            )


def _without_rates(cells: Sequence[Cell]) -> Iterator[str]:
    for cell in cells:
        ending = cell.trials
        for _ in cell.rungs:
            ending = going_on(ending, cell.search.reduction_factor)
        if LEARNING_RATE not in cell.space:
            yield f"{cell.name} does not search its learning rate (train: {{learning_rate: {{log: [1e-5, 1e-3]}}}})"
        elif cell.trials < LEAST_RATES:
            yield f"{cell.name} has {cell.trials} trials; an interval needs a curve of {LEAST_RATES} (search.trials)"
        elif ending < LEAST_RATES:
            yield (
                f"of {cell.name} {counted(ending, 'trial')} will run to the end, and an interval needs a curve of "
                f"{LEAST_RATES} (search: {{scheduler: none}})"
            )
