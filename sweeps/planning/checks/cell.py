"""Checks one cell: its data and model, every probe of its search space, and the machine that its trials run on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sweeps.planning import learning_rates, rungs
from sweeps.planning.cell import Cell, space_size
from sweeps.planning.checks import own_rewards, trial_length
from sweeps.planning.checks.cell_inputs import cell_settings, data_warnings, find_inputs
from sweeps.planning.checks.evaluation_sets import set_notes, set_problems, set_warnings
from sweeps.planning.checks.llama_factory import difference_notes
from sweeps.planning.checks.mixtures import CellRows, mixed_rows, mixture_notes, mixture_text
from sweeps.planning.checks.probes import build_configs
from sweeps.planning.checks.quality import quality_notes
from sweeps.planning.checks.requirements import (
    Requirement,
    cell_requirements,
    missing_on_this_machine,
)
from sweeps.planning.checks.row_tokens import row_token_problems, template_notes
from sweeps.planning.checks.rules import RULES, RuleContext
from sweeps.planning.draft import Draft
from sweeps.planning.inputs import InputFinder, InvalidPath, make_paths_absolute
from sweeps.planning.memory.cell_memory import CellMemory, predict_cell_memory
from sweeps.planning.quality_rows import evaluation_sets, quality_rows
from sweeps.planning.resources.default_precision import NOTHING_CHOSEN, DefaultPrecision, gpus_of
from sweeps.spec.problems import Problem
from sweeps.spec.settings import ResourcesConfig, SearchConfig
from trainables.data.overlaps import find_overlaps
from trainables.models.architecture.decoder_shape import MemoryNotPredictable
from trainables.results import Comparison
from trainables.system.wording import counted
from trainables.trial.config import TrialConfig


@dataclass(frozen=True)
class CheckedDraft:
    """A draft with all of its problems, warnings included, and the cell that it became unless there are errors."""

    draft: Draft
    cell: Cell | None
    problems: tuple[Problem, ...]
    requirements: tuple[Requirement, ...] = ()  # of the machines that its trials run on
    search: SearchConfig | None = None
    configs: tuple[TrialConfig, ...] = ()  # the valid ones of its probes


def check_draft(
    draft: Draft,
    default_resources: ResourcesConfig,
    finder: InputFinder,
    local: bool = True,
    precision: DefaultPrecision = NOTHING_CHOSEN,
) -> CheckedDraft:
    """Checks a draft with the data and the model that it names, at every probe of its space.

    With ``local`` its trials run on this machine, which must have the features that they ask for.
    ``default_resources`` has the GPUs that a worker takes where none are given, ``precision`` that of their trials.
    """
    tree = {"cell": draft.name, "method_name": draft.method, **draft.tree()}
    tree |= precision.sections(draft, tree, gpus_of(draft, default_resources))
    try:
        make_paths_absolute(tree, draft.source.folder)
    except InvalidPath as error:
        problem = draft.problem(error.setting, str(error))
        return CheckedDraft(draft, None, (*draft.problems, problem))

    # The order matters: inputs put the hashes of data and model into the tree, and configs are built of that.
    inputs = find_inputs(draft, tree, finder)
    rate_factor = learning_rates.width_factor(inputs.architecture)
    draft = learning_rates.with_default_range(draft, rate_factor)
    search, search_problems = cell_settings(draft, "search", SearchConfig)
    resources, resource_problems = cell_settings(draft, "resources", ResourcesConfig)
    # Broken resources are reported; the spec's own stand in so that the other checks can go on.
    resources = resources or default_resources
    if "gpus" not in resources.model_fields_set:
        resources = resources.model_copy(update={"gpus": default_resources.gpus})
    configs, config_problems = build_configs(draft, tree)
    requirements = cell_requirements(draft, configs, on_gpus=bool(resources.gpus))
    context = RuleContext(draft, resources, inputs.data, inputs.architecture)

    problems = [
        *draft.problems,
        *config_problems,
        *inputs.problems,
        *own_rewards.searched(draft),
        *(own_rewards.unweighted(draft, configs[0].stage) if configs else ()),
        *search_problems,
        *resource_problems,
        *learning_rates.outside_problems(draft, rate_factor),
        *(missing_on_this_machine(draft.source, requirements) if local else ()),
        *(problem for config in configs for rule in RULES for problem in rule(context, config)),
        *set_problems(draft, configs, inputs.data),
    ]
    rows = None
    if inputs.data is not None:
        rows, mixture_problems = mixed_rows(draft, configs, inputs.data, finder)
        problems += mixture_problems
    if not any(problem.error for problem in problems):
        problems += row_token_problems(draft, configs, inputs.data, finder.conventions.tools_need_place)
    has_errors = any(problem.error for problem in problems)
    # With errors, such as a template that can't be read, rows can't be counted.
    problems += rungs.problems(draft, search, configs, inputs.data)
    shortest = None
    if rows is not None and not has_errors:
        shortest = min(
            (rows.of(config) for config in configs), key=lambda each: len(each.train), default=rows.data
        )
    problems += trial_length.warnings(draft, search, configs, shortest)
    cell = None
    if not (draft.placeholder or search is None or rows is None or has_errors):
        predicted: CellMemory | str
        try:
            predicted = predict_cell_memory(resources, configs, inputs.architecture, rows.of, local)
        except MemoryNotPredictable as error:
            predicted = str(error)
        compared = partial(rungs.comparisons, data=rows.data, conventions=finder.conventions)
        cell = _cell(draft, tree, search, resources, rows, configs, predicted, rate_factor, compared)
        problems += rungs.moved(draft, cell)
    return CheckedDraft(draft, cell, tuple(problems), requirements, search, tuple(configs))


def _cell(
    draft: Draft,
    tree: dict[str, Any],
    search: SearchConfig,
    resources: ResourcesConfig,
    rows: CellRows,
    configs: Sequence[TrialConfig],
    predicted: CellMemory | str,
    rate_factor: float,
    compared: Callable[..., dict[int, Comparison]],
) -> Cell:
    """``predicted``: its memory, or why that can't be predicted. ``compared``: :func:`rungs.comparisons` here."""
    data = rows.data
    # For each probed config, in the same order: its optimizer steps, and the rows that one step trains on.
    lengths = [trial_length.optimizer_steps(config, rows.of(config)) for config in configs]
    update_rows = [config.train.update_rows for config in configs]
    space = {".".join(path): domain for path, domain in draft.space.items()}
    size = space_size(space)
    trials = search.trials if size is None else min(search.trials, size)
    comparisons = compared(search, trials, max(lengths), configs, tuple(space))
    return Cell(
        name=draft.name,
        stage=draft.stage,
        method=draft.method,
        tree=tree,
        space=space,
        search=search,
        resources=resources,
        trials=trials,
        steps=max(lengths),
        rungs=tuple(comparisons),
        training_rungs=frozenset(rung for rung, by in comparisons.items() if by == "training"),
        seed=search.seed,
        data_notes=(
            *data_notes(rows),
            *set_notes(configs[0].stage, data),
            *quality_notes(draft, configs[0], data),
            *template_notes(configs[0]),
            *difference_notes(draft, configs[0]),
        ),
        data_warnings=(
            *data_warnings(data),
            *(what for each in data.sets for what in set_warnings(data, each)),
        ),
        predicted=None if isinstance(predicted, str) else predicted,
        not_predicted=predicted if isinstance(predicted, str) else None,
        learning_rate_factor=rate_factor,
        row_counts=tuple(sorted({n * size for n, size in zip(lengths, update_rows, strict=True)})),
        quality_rows=quality_rows(configs[0], data),
        mixture={} if rows.mixtures else data.mixture,
        mixtures=rows.mixtures,
        evaluation_sets=evaluation_sets(configs[0].stage, data),
        validation_rows=len(data.validation),
    )


def data_notes(rows: CellRows) -> tuple[str, ...]:
    """What a reader should know about the rows: how they were read, what was left out, what is held out."""
    data = rows.data
    training = "-".join(map(str, rows.training_rows))
    counts = f"{training} training, {len(data.validation)} validation and {len(data.test)} test rows"
    verb = "repeats" if data.duplicates == 1 else "repeat"
    repeated = f"{counted(data.duplicates, 'row')} {verb} the prompt of another"
    details = [repeated] if data.duplicates else []
    details += mixture_notes(rows)
    if data.mixture and not rows.mixtures:
        details.append(mixture_text(data.mixture))
    if data.overlap:
        details.append(f"{data.overlap} training rows were left out because they belong to held-out rows")
    overlaps = find_overlaps(data.train, data.test)
    alike = overlaps.note() if overlaps is not None else None
    return (*data.notes, f"data {data.name}: {'; '.join([counts, *details])}", *([alike] if alike else []))
