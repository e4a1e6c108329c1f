"""The rungs of a cell: the steps at which its trials are compared, and what they are compared by.

In the first epoch a step's training loss, computed before its update, is a loss on rows that the model has not seen.
Where all trials of a cell see the same batches in the same order, comparing them by it is paired, and takes no time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeps.planning.cell import Cell
from sweeps.planning.conventions import Conventions
from sweeps.planning.draft import Draft
from sweeps.spec.problems import Problem
from sweeps.spec.settings import LEAST_UPDATES, SearchConfig, earliest_rung, going_on
from trainables.data.loading import Data
from trainables.results import Comparison
from trainables.system.wording import counted
from trainables.trial.config import TrialConfig

# Searched settings that change neither the batches nor what the loss measures; those of a method don't, either.
ALIKE = frozenset(
    f"train.{name}"
    for name in (
        "learning_rate", "scheduler", "warmup_steps", "warmup_ratio", "weight_decay", "max_grad_norm", "optimizer",
        "keep", "early_stopping", "early_stopping.patience", "early_stopping.min_delta",
    )
)  # fmt: skip
# Stages whose objective is minus the loss, in the same or another unit. For others recorded sweeps leave it open which
# comparison is better (the table in sweeps/README.md).
LOSS_IS_OBJECTIVE = ("sft", "pretrain")
RANDOM_LOSS = "method.dropout"  # the loss is that of the weights that were kept
TURNED_OFF = "search.scheduler: none trains all to their end"
MAX_REPEATED = 0.05  # the share of training rows that may repeat another's prompt


def obstacle(config: TrialConfig, searched: Sequence[str], data: Data) -> str | None:
    """Why a cell's trials can't be compared by training loss, in words; ``None`` where they can."""
    if not config.stage.loss_falls:
        return f"the loss of {config.stage.kind} says nothing of what was learned"
    unlike = [leaf for leaf in searched if not _alike(leaf)]
    if unlike:
        return f"{unlike[0]} is searched, and the losses of different values can't be compared"
    if config.train.packing:
        return "with packing an epoch's steps are not known before training"
    if data.duplicates > MAX_REPEATED * len(data.train) or config.data.mix == "interleave_over":
        return "many training rows are repeated, so that even the first epoch has rows that were seen"
    return None


def comparisons(
    search: SearchConfig,
    trials: int,
    steps: int,
    configs: Sequence[TrialConfig],
    searched: Sequence[str],
    data: Data,
    conventions: Conventions,
) -> dict[int, Comparison]:
    """What ``trials`` of ``steps`` steps are compared by at each rung: by training loss at those in the first epoch, if
    nothing stands against it and the first of them leaves it enough steps. ``configs``: probes of the space.
    """
    if not configs[0].data.holds_out:
        return {}
    warmup = max(config.train.total_warmup(steps) for config in configs)

    def rungs(by: Comparison) -> tuple[int, ...]:
        earliest = earliest_rung(by, warmup) if conventions.late_rungs else 1
        return search.rungs(steps, trials, earliest, conventions.early_rungs)

    if _by_training_loss(search, configs[0], searched, data):
        by_loss = rungs("training")
        unseen = {rung for rung in by_loss if rung * configs[0].train.update_rows <= len(data.train)}
        if unseen:
            return {rung: "training" if rung in unseen else "validation" for rung in by_loss}
    return dict.fromkeys(rungs("validation"), "validation")


def _by_training_loss(search: SearchConfig, config: TrialConfig, searched: Sequence[str], data: Data) -> bool:
    differs = search.rungs_by == "auto" and config.stage.kind not in LOSS_IS_OBJECTIVE
    return not (search.rungs_by == "validation" or differs) and obstacle(config, searched, data) is None


def problems(
    draft: Draft, search: SearchConfig | None, configs: Sequence[TrialConfig], data: Data | None
) -> Iterator[Problem]:
    """What stands against a comparison by training loss where the spec asks for one."""
    if search is None or data is None or not configs or search.rungs_by != "training":
        return
    searched = [".".join(path) for path in draft.space]
    if search.scheduler == "asha" and (why := obstacle(configs[0], searched, data)) is not None:
        yield draft.problem(("search", "rungs_by"), f"training, but {why}. Leave it out, or use validation")


def moved(draft: Draft, cell: Cell) -> Iterator[Problem]:
    """A warning where the spec's own first rung is too early for the cell, so that there is a later one or none."""
    given = cell.search.grace_steps
    compared = cell.search.scheduler == "asha" and cell.trials > 1 and cell.holds_out
    if given is None or not compared or given >= cell.steps or given in cell.rungs:
        return
    then = f"they are first compared at step {cell.rungs[0]}" if cell.rungs else "none is compared on its way"
    what = (
        f"after {counted(given, 'step')} trials of {cell.name} would differ by rounding: a comparison needs "
        f"{LEAST_UPDATES} updates with a rate above 0 before it, one by training loss as many steps after these; {then}"
    )
    yield draft.problem(("search", "grace_steps"), what, error=False)


def kept(trials: int, rungs: Sequence[int], factor: int) -> list[int]:
    """How many trials of a cell train up to each rung, and to the end, where it is searched in breadth.

    >>> kept(8, (4, 12), 3)
    [8, 3, 1]
    """
    counts = [trials]
    for _ in rungs:
        counts.append(going_on(counts[-1], factor))
    return counts


def notes(cells: Sequence[Cell]) -> Iterator[str]:
    """How the cells' trials are compared on their way, once for all cells that are alike in that."""
    by_note: dict[str, list[str]] = {}
    for cell in cells:
        if cell.rungs and cell.trials > 1:
            by_note.setdefault(f"{note(cell)}; {TURNED_OFF}", []).append(cell.name)
    for text, names in by_note.items():
        where = f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if len(by_note) > 1 else ""
        yield f"{text}{where}"


def too_few(cells: Sequence[Cell], finalists: int) -> Iterator[str]:
    """A sentence where fewer trials of a cell train to their end than are to be trained again."""
    for cell in cells:
        if cell.search.breadth_first and cell.rungs:
            ended = kept(cell.trials, cell.rungs, cell.search.reduction_factor)[-1]
            if ended < min(finalists, cell.trials):
                yield (
                    f"{cell.name}: finalists.top is {finalists}, and {counted(ended, 'trial')} of its search train to "
                    "the end; a smaller search.reduction_factor or later search.grace_steps leave more"
                )


def note(cell: Cell) -> str:
    """How trials are compared: ``of a cell's 8 trials, all train to step 4 (compared by training loss), ...``"""
    by = [f"step {rung} (compared {_words(cell, rung)})" for rung in cell.rungs]
    if not cell.search.breadth_first:
        return f"a trial is stopped where it is behind the others of its cell: at {', '.join(by)}"
    counts = kept(cell.trials, cell.rungs, cell.search.reduction_factor)
    on = [
        f"the best {count} to {place}"
        for count, place in zip(counts[1:], [*by[1:], f"step {cell.steps}"], strict=True)
    ]
    return f"of a cell's {cell.trials} trials, all train to {by[0]}, {', '.join(on)}"


def _words(cell: Cell, rung: int) -> str:
    return "by training loss" if rung in cell.training_rungs else "on the validation rows"


def _alike(leaf: str) -> bool:
    return leaf in ALIKE or (leaf.startswith("method.") and leaf != RANDOM_LOSS)
