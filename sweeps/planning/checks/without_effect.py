"""Settings that a spec gives in vain, because others of its settings leave them nothing to decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sweeps.planning.draft import Draft
from sweeps.spec.problems import Problem
from sweeps.spec.settings import COMPARISON, SearchConfig
from sweeps.spec.tree import CellPath, node_at
from trainables.config.train import SHARDED
from trainables.data.rows import Text
from trainables.stages.rewards.stage import own_rewards
from trainables.trial.config import TrialConfig

if TYPE_CHECKING:
    from sweeps.planning.checks.cell import CheckedDraft

Reasons = dict[CellPath, str]  # why each of these settings does nothing


def warnings(checked: Sequence[CheckedDraft]) -> Iterator[Problem]:
    """What is written in the spec and takes effect in no trial of any cell that it holds for."""
    probes = [
        (each.draft, dict(_without_effect(config, each))) for each in checked for config in each.configs
    ]
    for path in dict.fromkeys(path for _, reasons in probes for path in reasons):
        yield from _in_vain(path, [probe for probe in probes if node_at(probe[0].parts, path) is not None])


def _in_vain(path: CellPath, probes: Sequence[tuple[Draft, Reasons]]) -> Iterator[Problem]:
    """A warning for each place of the spec that gives ``path`` and never has an effect.

    One place may hold for many cells: ``data.template`` does nothing in pre-training, and all in the stage after it.
    """
    effective = {draft.origin(path) for draft, reasons in probes if path not in reasons}
    for draft, reasons in probes:
        if path in reasons and draft.origin(path) not in effective:
            yield draft.problem(path, f"it has no effect: {reasons[path]}", error=False)


def _without_effect(config: TrialConfig, checked: CheckedDraft) -> Iterator[tuple[CellPath, str]]:
    yield from _in_data(config)
    yield from _in_training(config, checked.cell.resources.min_workers if checked.cell is not None else 1)
    for part, owner in (("stage", config.stage), ("method", config.method)):
        for key, reason in owner.without_effect() if owner is not None else ():
            yield (part, key), reason
    if checked.search is not None and checked.search.scheduler == "none":
        for key in ("grace_steps", "reduction_factor", *COMPARISON):
            yield ("search", key), "search.scheduler is none, and only asha compares trials on their way"
    yield from _in_search(checked.search)


def _in_search(search: SearchConfig | None) -> Iterator[tuple[CellPath, str]]:
    if search is None:
        return
    if search.scheduler == "asha" and search.score_stopped and search.order == "breadth":
        yield (
            ("search", "order"),
            "with search.score_stopped trials are compared in depth, and scored when stopped",
        )
    if not search.early_exit:
        yield ("search", "exit_reports"), "search.early_exit is empty"
    if search.earlier_run is None:
        yield ("search", "earlier_trials"), "there is no search.from"
    if search.scheduler == "none" or search.breadth_first:
        why = "trials are compared with finished ones only in depth (search.order: depth, search.scheduler: asha)"
        yield ("search", "prune_dominated"), why


def _in_data(config: TrialConfig) -> Iterator[tuple[CellPath, str]]:
    data = config.data
    # A first evaluation set that is null is what the fraction holds out.
    for key, given in (("eval", data.eval_names), ("eval_count", data.eval_count)):
        if given:
            yield ("data", "eval_fraction"), f"data.{key} decides which rows are held out"
    if not data.holds_out:
        by_validation = ("eval_steps", "early_stopping", "keep")
        for path in (("data", "eval_rows"), *(("train", key) for key in by_validation)):
            yield path, "no rows are held out (data.eval_fraction: 0)"
    if len(data.names) == 1:
        yield ("data", "mix"), "there is only one data set"
    if not own_rewards(config.stage):
        yield ("data", "reward_columns"), "only functions among a stage's rewards are given columns"
    if config.stage.kind != "sft":
        yield (
            ("data", "quality"),
            f"{config.stage.kind} has a measure of its own; only sft is judged by data.quality",
        )
    if config.stage.row_type is Text:
        for key in ("template", "thinking", "default_system", "tool_format"):
            yield (
                ("data", key),
                f"the texts of {config.stage.kind} have no turns, and are trained on as they are",
            )


def _in_training(config: TrialConfig, workers: int) -> Iterator[tuple[CellPath, str]]:
    train, dtype = config.train, {"fp32": "float32", "pure_bf16": "bfloat16"}.get(config.train.precision)
    if dtype not in (None, config.model.dtype):
        yield ("model", "dtype"), f"train.precision: {train.precision} loads and saves all weights in {dtype}"
    if train.packing and train.group_by_length:
        yield ("train", "group_by_length"), "with packing, every batch has rows of the same length"
    sharded = train.sharding != "none" and workers > 1
    obstacle = SHARDED if sharded else config.compile_obstacle
    if not train.optimizer_settings.has_schedule:
        yield ("train", "scheduler"), f"{train.optimizer_label} has no schedule: it averages the weights"
    if train.compile == "on" and obstacle is not None:
        yield ("train", "compile"), obstacle
    if train.retry_out_of_memory and config.halved() is None:
        yield ("train", "retry_out_of_memory"), f"a batch of {train.batch_size} can't be halved"
