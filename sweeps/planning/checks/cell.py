"""Whether a cell's trials can run: every end and choice of its space is tried before anything trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import ValidationError

from sweeps.planning.cell import Cell, build_config, space_size
from sweeps.planning.checks import requirements
from sweeps.planning.checks.requirements import Requirement
from sweeps.planning.dependencies import MODEL_FROM, MODEL_START
from sweeps.planning.draft import Draft, problem_at
from sweeps.planning.inputs import InputFinder, InvalidPath, MissingInput, make_paths_absolute
from sweeps.planning.memory.cell_memory import predict_cell_memory
from sweeps.spec.domain_parser import Domain
from sweeps.spec.problems import Problem, format_value
from sweeps.spec.schema import ENTRY_CLASSES, error_translator, validate_node
from sweeps.spec.settings import ResourcesConfig, SearchConfig
from sweeps.spec.spec import Spec
from sweeps.spec.tree import Branch, CellPath
from trainables import templates
from trainables.config import limits
from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.data.loading import Data
from trainables.data.rows import Conversation, Text
from trainables.models import rope_scaling
from trainables.models.folder import Architecture
from trainables.trial import starting_weights, worker_limits
from trainables.trial.config import TrialConfig

Config = TypeVar("Config", DataConfig, ModelConfig)
Settings = TypeVar("Settings", SearchConfig, ResourcesConfig)


@dataclass(frozen=True)
class CheckedDraft:
    """What became of a draft: a cell, unless an error stands in its way; and the problems, warnings too."""

    draft: Draft
    cell: Cell | None
    problems: tuple[Problem, ...]
    needs: tuple[Requirement, ...] = ()  # of the machines that its trials run on


def check_draft(spec: Spec, draft: Draft, materials: InputFinder, here: bool = True) -> CheckedDraft:
    """Builds a draft's trials at every probe of its space, with the data and the model it names.

    ``here``: they will run on this machine, which must be able to.
    """
    tree = {"cell": draft.name, "method_name": draft.method, **draft.tree()}
    try:
        make_paths_absolute(tree, spec.source.folder)
    except InvalidPath as error:
        return CheckedDraft(draft, None, (*draft.problems, problem_at(spec, draft, error.place, str(error))))
    start = draft.links.get(MODEL_START)
    before = starting_weights.read_trial(start.folder) if start is not None else None
    _take_base(tree, before)
    data, wrong_data = _data(spec, draft, tree, materials)
    architecture, wrong_model = _model(spec, draft, tree, materials, before)
    wrong_data += _template(spec, draft, tree, architecture)
    search, wrong_search = _own_settings(spec, draft, "search", SearchConfig)
    resources, wrong_resources = _own_settings(spec, draft, "resources", ResourcesConfig)
    configs, problems = _configs(spec, draft, tree)
    problems = [*draft.problems, *problems, *wrong_data, *wrong_model, *wrong_search, *wrong_resources]
    takes = resources or spec.resources
    needed = requirements.cell_requirements(draft, configs, on_gpus=bool(takes.gpus))
    problems += requirements.missing_on_this_machine(spec, needed) if here else ()
    for config in configs:
        problems += _resources(spec, draft, config, takes)
        problems += _too_many_rows(spec, draft, config, data)
        if architecture is not None:
            problems += _positions(spec, draft, config, architecture)
            problems += _vocabulary(spec, draft, architecture)
        problems += [
            problem_at(spec, draft, ("stage", leaf), what)
            for leaf, what in config.stage.problems(config, data)
        ]
        if architecture is not None and config.method is not None:
            problems += [
                problem_at(spec, draft, ("method", leaf), what)
                for leaf, what in config.method.problems(architecture.trained_for(config.stage.task))
            ]
    if not draft.real or search is None or data is None or any(problem.error for problem in problems):
        return CheckedDraft(draft, None, tuple(problems), needed)
    cell = _cell(draft, tree, search, takes, data, configs)
    cell = replace(cell, predicted=predict_cell_memory(takes, configs, architecture, data))
    return CheckedDraft(draft, cell, tuple(problems), needed)


def probes(space: Mapping[CellPath, Domain]) -> Iterator[dict[str, Any]]:
    """Values by leaf: each end and choice of a domain, the others at their first; then all at their last."""
    ends = {".".join(place): domain.probes() for place, domain in space.items()}
    first = {leaf: values[0] for leaf, values in ends.items()}
    yield first
    for leaf, values in ends.items():
        for value in values[1:]:
            yield {**first, leaf: value}
    if len(ends) > 1:
        yield {leaf: values[-1] for leaf, values in ends.items()}


def _configs(spec: Spec, draft: Draft, tree: dict[str, Any]) -> tuple[list[TrialConfig], list[Problem]]:
    configs, problems = [], []
    for values in probes(draft.space):
        try:
            configs.append(build_config(tree, values))
        except ValidationError as error:
            found = error_translator(spec.source).problems(error, TrialConfig, draft.parts, draft.space)
            problems += [problem for place, problem in found if not _follows(place, draft.broken)]
    return configs, problems


def _follows(place: CellPath, broken: frozenset[CellPath]) -> bool:
    """Whether a problem at ``place`` only follows from a leaf that is known to be wrong, and was left out."""
    return any(known[: len(place)] == place or place[: len(known)] == known for known in broken)


def _data(
    spec: Spec, draft: Draft, tree: dict[str, Any], materials: InputFinder
) -> tuple[Data | None, list[Problem]]:
    config = _valid(DataConfig, tree.get("data"), "train")
    if config is None:
        return None, []
    partly = (
        any(place[0] == "data" for place in draft.broken)
        or not tree["data"].keys() <= config.model_fields_set
    )
    # How the rows are cut isn't known then, only whether there are any.
    if partly and materials.has(config):
        return None, []
    found = materials.data(config, _need(tree))
    if isinstance(found, MissingInput):
        return None, [problem_at(spec, draft, ("data", found.leaf), found.what)]
    tree["data"]["sha256"] = found.sha256
    return found, [problem_at(spec, draft, ("data", "train"), what, error=False) for what in found.warnings]


def _template(spec: Spec, draft: Draft, tree: dict[str, Any], architecture: Any) -> list[Problem]:
    """Whether there is a chat template to render conversations with."""
    named = tree["data"].get("template") if isinstance(tree.get("data"), dict) else None
    try:
        if isinstance(named, str):
            templates.source(named)
        elif named is None and architecture and not architecture.chat_template and _need(tree) is not Text:
            raise templates.TemplateError(templates.NONE)
    except templates.TemplateError as error:
        return [problem_at(spec, draft, ("data", "template"), str(error))]
    return []


def _need(tree: Mapping[str, Any]) -> type:
    """The row type that the tree's stage takes; a stage that isn't right yet is reported elsewhere."""
    stage = tree.get("stage")
    kind = stage.get("kind") if isinstance(stage, dict) else None
    return getattr(ENTRY_CLASSES["stages"].get(str(kind)), "needs", Conversation)


def _model(
    spec: Spec, draft: Draft, tree: dict[str, Any], materials: InputFinder, before: TrialConfig | None
) -> tuple[Any, list[Problem]]:
    config = _valid(ModelConfig, tree.get("model"), "name", "path")
    if config is None:
        return None, []
    found = materials.model(config)
    if isinstance(found, MissingInput):
        return None, [problem_at(spec, draft, ("model", found.leaf), found.what, error=not found.later)]
    tree["model"]["fingerprint"] = found.fingerprint
    other = _other_base(before, found.fingerprint)
    return found.architecture, [problem_at(spec, draft, MODEL_FROM, other)] if other else []


def _take_base(tree: dict[str, Any], trial: TrialConfig | None) -> None:
    """The trial that is gone on from says what it was trained on, where the spec doesn't."""
    model = tree.get("model")
    if trial is not None and isinstance(model, dict) and not {"name", "path"} & model.keys():
        model |= trial.model.model_dump(mode="json", include={"name", "path"}, exclude_none=True)


def _other_base(trial: TrialConfig | None, fingerprint: str) -> str | None:
    """Why a trial can't be gone on from with this base; ``None`` if it can."""
    if trial is None or trial.model.fingerprint in (None, fingerprint):
        return None
    return f"it was trained on another base, {trial.model.label}; leave model.name and model.path out to take that"


def _valid(cls: type[Config], tree: Any, *needed: str) -> Config | None:
    """``tree`` as ``cls``, or as much of it as names the data or model; the rest is reported elsewhere."""
    for keys in (tree, needed):
        try:
            return cls.model_validate({key: tree[key] for key in keys if key in tree})
        except (ValidationError, TypeError):
            continue
    return None


def _own_settings(
    spec: Spec, draft: Draft, section: str, cls: type[Settings]
) -> tuple[Settings | None, list[Problem]]:
    """What holds for a cell of how to search, or of what its trials take."""
    node = draft.parts.get(section) or Branch({}, (section,))
    if isinstance(node, Branch):
        broken = [place[1] for place in draft.broken if place[0] == section and len(place) > 1]
        return validate_node(spec.source, cls, node.without(*broken))
    return None, [] if (section,) in draft.broken else [
        problem_at(spec, draft, (section,), f"got {format_value(node.plain())}; allowed: a mapping")
    ]


def _resources(spec: Spec, draft: Draft, config: TrialConfig, takes: ResourcesConfig) -> Iterator[Problem]:
    train = config.train
    if train.precision == "fp16" and not takes.gpus:
        yield problem_at(spec, draft, ("train", "precision"), "fp16 needs a GPU; use bf16 or fp32")
    for place, what, error in worker_limits.problems(config, takes.workers):
        yield problem_at(spec, draft, place, what, error)
    if train.packing and not config.stage.can_pack:
        what = f"{config.stage.kind} compares whole answers, so its rows can't be packed; leave packing out"
        yield problem_at(spec, draft, ("train", "packing"), what)


def _too_many_rows(spec: Spec, draft: Draft, config: TrialConfig, data: Data | None) -> Iterator[Problem]:
    """Which rows come when is decided before the first step, and held in memory."""
    train = config.train
    steps = train.steps or (train.total_steps(len(data.train)) if data else 0)
    if (rows := steps * train.update_rows) > limits.ROWS:
        what = f"{rows:,} rows ({steps:,} steps x {train.update_rows:,}); a trial has at most {limits.ROWS:,}"
        yield problem_at(spec, draft, ("train", "steps" if train.steps else "epochs"), what)


def _positions(
    spec: Spec, draft: Draft, config: TrialConfig, architecture: Architecture
) -> Iterator[Problem]:
    """Whether the model knows as many positions as the rows have, scaled or not."""
    known, cutoff, asked = (
        rope_scaling.trained_positions(architecture.config),
        config.data.cutoff,
        config.model.rope,
    )
    if asked is None:
        if known is not None and cutoff > known:
            what = (
                f"the model knows {known} positions; scale them (model: {{rope: yarn}}) or cut rows shorter"
            )
            yield problem_at(spec, draft, ("data", "cutoff"), f"{cutoff} tokens, and {what}", error=False)
        return
    wrong = rope_scaling.scaling_problem(architecture.config, asked)
    if wrong is not None:
        yield problem_at(spec, draft, ("model", "rope"), wrong)
    elif asked.factor_for(cutoff, known or cutoff) == 1:
        what = f"rows of {cutoff} tokens fit the {known} positions the model knows, so nothing is scaled"
        yield problem_at(
            spec, draft, ("model", "rope"), f"{what}; give a factor, or leave it out", error=False
        )


def _vocabulary(spec: Spec, draft: Draft, architecture: Architecture) -> Iterator[Problem]:
    """Whether tokens begin with an embedding that means nothing yet."""
    if architecture.added_rows:
        what = (
            f"its tokenizer has {architecture.added_rows} tokens that it has no embedding for; rows were added, each "
            "the mean of the others. full trains them, lora and qlora with modules_to_save: [embed_tokens, lm_head], "
            "freeze with modules: [embed_tokens]"
        )
        yield problem_at(spec, draft, ("model",), what, error=False)


def data_notes(data: Data) -> tuple[str, ...]:
    """What a reader should know of the rows: how they were read, what was left out, what is held out."""
    counts = f"{len(data.train)} training, {len(data.validation)} validation and {len(data.test)} test rows"
    extra = [f"{data.duplicates} rows have the prompt of another"] if data.duplicates else []
    if data.overlap:
        extra.append(f"{data.overlap} training rows were left out: their prompt is held out")
    return (*data.notes, f"data {data.name}: {'; '.join([counts, *extra])}")


def _counted(config: TrialConfig, data: Data) -> int:
    """The steps of some epochs; a tokenizer counts them, which takes its time to import."""
    from trainables.trial.preview import optimizer_steps

    return optimizer_steps(config, data)


def _cell(
    draft: Draft,
    tree: dict[str, Any],
    search: SearchConfig,
    takes: ResourcesConfig,
    data: Data,
    configs: list[TrialConfig],
) -> Cell:
    lengths = [config.train.steps or _counted(config, data) for config in configs]
    batches = [config.train.update_rows for config in configs]
    space = {".".join(place): domain for place, domain in draft.space.items()}
    size = space_size(space)
    return Cell(
        name=draft.name,
        stage=draft.stage,
        method=draft.method,
        tree=tree,
        space=space,
        search=search,
        resources=takes,
        trials=search.trials if size is None else min(search.trials, size),
        steps=max(lengths),
        rungs=search.rungs(max(lengths)),
        seed=search.seed,
        data_notes=data_notes(data),
        data_warnings=data.warnings,
        row_counts=tuple(sorted({n * batch for n, batch in zip(lengths, batches, strict=True)})),
    )
