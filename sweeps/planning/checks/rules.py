"""Rules for a cell's configs beyond the types of their settings: each rule yields the problems it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sweeps.planning.draft import Draft
from sweeps.spec.problems import Problem
from sweeps.spec.settings import ResourcesConfig
from trainables.config import limits
from trainables.data.loading import Data
from trainables.methods.base import FineTuning
from trainables.methods.own_code import is_own_kind
from trainables.models import rope_scaling
from trainables.models.architecture.model_classes import (
    class_problem,
    is_encoder,
    supported_attention,
)
from trainables.models.folder import Architecture
from trainables.trial import optimizer_limits, worker_limits
from trainables.trial.config import TrialConfig

SHOWN_TOKENS = 8  # of those without an embedding


@dataclass(frozen=True)
class RuleContext:
    """What a rule may look at. Data and architecture are ``None`` where they were not found, or not looked for."""

    draft: Draft
    resources: ResourcesConfig
    data: Data | None
    architecture: Architecture | None


Rule = Callable[[RuleContext, TrialConfig], Iterator[Problem]]


def _workers(context: RuleContext, config: TrialConfig) -> Iterator[Problem]:
    """Precision, workers and packing that the resources or the stage can't provide."""
    train, draft = config.train, context.draft
    if train.precision == "fp16" and not context.resources.gpus:
        yield draft.problem(("train", "precision"), "fp16 needs a GPU; use bf16 or fp32")
    gpus, workers = context.resources.gpus, context.resources.workers
    if isinstance(gpus, float | int) and 0 < gpus < 1 and workers != 1:
        # NCCL refuses a group of which two are on one GPU.
        what = "the workers of one trial can't share a GPU; give whole GPUs, or gpus: auto, or one worker"
        yield draft.problem(("resources", "gpus"), what)
    if isinstance(gpus, float | int) and gpus > 1:
        idle = f"a worker trains on one GPU, so {gpus - 1:g} of its {gpus:g} would be idle"
        what = f"{idle}; give workers: {gpus:g} with gpus: 1"
        yield draft.problem(("resources", "gpus"), what, False)
    for path, what, error in worker_limits.sharing_problems(config, context.resources.workers):
        yield draft.problem(path, what, error)
    if train.packing and not config.stage.can_pack:
        what = f"{config.stage.kind} compares whole answers, so its rows can't be packed; leave packing out"
        yield draft.problem(("train", "packing"), what)
    elif train.packing == "stream" and not config.stage.can_stream:
        what = f"a stream is of running text, and {config.stage.kind} learns answers; write packing: true"
        yield draft.problem(("train", "packing"), what)


def _rows(context: RuleContext, config: TrialConfig) -> Iterator[Problem]:
    """More rows than the order of them, which is drawn before the first step, can be held in memory."""
    train = config.train
    steps = train.steps or (train.total_steps(len(context.data.train)) if context.data else 0)
    if (rows := steps * train.update_rows) > limits.ROWS:
        what = f"{rows:,} rows ({steps:,} steps x {train.update_rows:,}); a trial has at most {limits.ROWS:,}"
        yield context.draft.problem(("train", "steps" if train.steps else "epochs"), what)


def _positions(context: RuleContext, config: TrialConfig) -> Iterator[Problem]:
    """Rows that are longer than the model was trained for, with the tokens that a method puts before them, and scaling
    that is impossible or does nothing.
    """
    if context.architecture is None:
        return
    draft, cutoff, rope = context.draft, config.data.cutoff, config.model.rope
    positions = rope_scaling.trained_positions(context.architecture.config)
    if rope is None:
        virtual = config.method.added_tokens if config.method is not None else 0
        if positions is not None and cutoff + virtual > positions:
            tokens = f"{cutoff} tokens{f' after {virtual} virtual ones' if virtual else ''}"
            learned = rope_scaling.has_learned_positions(context.architecture)
            what = (
                f"{tokens}, but the model has embeddings of {positions} positions; give a cutoff of at most "
                f"{positions - virtual}"
                if learned
                else f"{tokens}, but the model was trained on {positions} positions; scale them "
                "(model: {rope: yarn}) or give a smaller cutoff"
            )
            yield draft.problem(("data", "cutoff"), what, error=learned)
        return
    problem = rope_scaling.scaling_problem(context.architecture.config, rope)
    if problem is not None:
        yield draft.problem(("model", "rope"), problem)
    elif rope.factor_for(cutoff, positions or cutoff) == 1:
        what = (
            f"rows of {cutoff} tokens fit the {positions} positions that the model was trained on, so nothing is "
            "scaled; give a factor, or leave rope out"
        )
        yield draft.problem(("model", "rope"), what, error=False)


def _vocabulary(context: RuleContext, config: TrialConfig) -> Iterator[Problem]:
    """Tokens that begin with an embedding that means nothing yet."""
    if context.architecture is None or not (added := context.architecture.added_rows).rows:
        return
    count = len(added.tokens) or added.rows
    named = ", ".join(added.tokens[:SHOWN_TOKENS]) + (", ..." if count > SHOWN_TOKENS else "")
    rows = "rows were" if added.rows == count else f"{added.rows} rows, as ids are skipped, were"
    what = (
        f"its tokenizer has {count} token{'s' if count > 1 else ''} without an embedding"
        f"{f' ({named})' if named else ''}; {rows} added, each the mean of the others. full trains them; lora and "
        "qlora do with modules_to_save: [embed_tokens, lm_head], freeze with modules: [embed_tokens]"
    )
    yield context.draft.problem(("model",), what, error=False)


def _model_class(context: RuleContext, config: TrialConfig) -> Iterator[Problem]:
    """Models that are no decoders, or that lack what the spec asks of them."""
    if context.architecture is None:
        return
    draft, settings = context.draft, context.architecture.config
    stage = config.stage
    problem = class_problem(settings, stage.kind, stage.model_kinds, labels=stage.gives == "labels")
    if problem is not None:
        yield draft.problem(("model",), f"{config.model.label}: {problem}")
        return
    if is_encoder(settings):
        yield from _encoder(context, config)
    supported = supported_attention(settings)
    if config.model.attention != "auto" and config.model.attention not in supported:
        what = f"models of type {settings.get('model_type')} support {', '.join(sorted(supported))}; leave it out"
        yield draft.problem(("model", "attention"), what)


def _encoder(context: RuleContext, config: TrialConfig) -> Iterator[Problem]:
    """What only models that predict the next token have: chat templates, and positions for virtual tokens."""
    draft = context.draft
    if config.data.template is not None:
        what = "an encoder reads texts as they are, without a chat template; leave it out"
        yield draft.problem(("data", "template"), what)
    if config.method is not None and config.method.adds_tokens:
        what = "its virtual tokens can't stand before the first token that an encoder reads; take lora, or another type"
        yield draft.problem(("method", "type"), what)
    if config.model.kernels == "unsloth":
        yield draft.problem(("model", "kernels"), "unsloth has no kernels for encoders; leave it out")


def _optimizer(context: RuleContext, config: TrialConfig) -> Iterator[Problem]:
    """What the optimizer can't do with the other settings."""
    for path, what in optimizer_limits.optimizer_problems(config):
        yield context.draft.problem(path, what)


def _stage(context: RuleContext, config: TrialConfig) -> Iterator[Problem]:
    """What the stage itself finds wrong with the config and its data."""
    for key, what in config.stage.problems(config, context.data):
        yield context.draft.problem(("stage", key), what)


def _method(context: RuleContext, config: TrialConfig) -> Iterator[Problem]:
    """What the method itself finds wrong with the training, and with the model: modules that it does not have."""
    if config.method is None:
        return
    try:
        yield from _method_problems(context, config, config.method)
    except Exception as error:
        kind = getattr(config.method, "kind", "")
        if not is_own_kind(kind):
            raise
        what = f"the checks of {kind} fail: {type(error).__name__}: {error}"
        yield context.draft.problem(("method", "kind"), what)


def _method_problems(context: RuleContext, config: TrialConfig, method: FineTuning) -> Iterator[Problem]:
    for key, what in method.training_obstacles(config.train):
        yield context.draft.problem(("train", key), what)
    if config.stage.task == "SEQ_CLS" and method.head_obstacle is not None:
        yield context.draft.problem(("method", "type"), method.head_obstacle)
    if context.architecture is not None:
        trained = context.architecture.trained_for(config.stage.task)
        for key, what in method.problems(trained):
            yield context.draft.problem(("method", key), what)
        for key, what in method.remarks(trained):
            yield context.draft.problem(("method", key), what, error=False)


RULES: tuple[Rule, ...] = (
    _workers,
    _rows,
    _positions,
    _vocabulary,
    _model_class,
    _optimizer,
    _stage,
    _method,
)
