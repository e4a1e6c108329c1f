"""Gives a trainer the optimizer that its config asks for, where the trainer wouldn't make it itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer

from trainables.config.optimizers.adamw import AdamW
from trainables.config.optimizers.apollo import Apollo as ApolloSettings
from trainables.config.optimizers.apollo import ApolloMini
from trainables.config.optimizers.galore import GaLore as GaLoreSettings
from trainables.config.optimizers.lomo import AdaLomo
from trainables.config.optimizers.lomo import Lomo as LomoSettings
from trainables.config.optimizers.muon import Muon
from trainables.training.optimizers.adamw_4bit import AdamW4bit
from trainables.training.optimizers.apollo import Apollo
from trainables.training.optimizers.averaged_weights import AveragingCallback
from trainables.training.optimizers.galore import GaLore
from trainables.training.optimizers.lomo import Lomo, LomoCallback
from trainables.training.optimizers.muon import MuonWithAdamW
from trainables.training.optimizers.parameter_groups import parameter_groups

if TYPE_CHECKING:
    from trainables.config.train import TrainConfig
    from trainables.training.policy import Policy

Groups = list[dict[str, Any]]


def use_optimizer(trainer: Any, policy: Policy, train: TrainConfig, heaviest: bool = False) -> None:
    """Gives the trainer the method's own optimizer (LoRA+), or one of ours; else it makes transformers' itself. The
    trainer also gets the method's callbacks; ``heaviest``: those by which weights train that take the most memory.
    """
    assert policy.method is not None
    settings, method = train.optimizer_settings, policy.method
    callbacks = (
        method.heaviest_callbacks(policy.model, policy.dtypes, train.seed)
        if heaviest
        else method.callbacks(policy.model, policy.dtypes, train.seed)
    )
    for callback in callbacks:
        trainer.add_callback(callback)
    trainer.add_gradients = partial(policy.method.add_gradients, policy.model)
    if not settings.has_schedule:
        trainer.add_callback(AveragingCallback())
    decaying = trainer.get_decay_parameter_names(policy.model)
    make = OWN.get(type(settings))
    if make is not None:
        groups = parameter_groups(policy.model, decaying, train.weight_decay)
        trainer.optimizer = make(groups, settings, train)
        if isinstance(trainer.optimizer, Lomo):
            trainer.add_callback(LomoCallback(trainer.optimizer))
        return
    cls, options = trainer.get_optimizer_cls_and_kwargs(trainer.args, policy.model)
    if isinstance(settings, AdamW) and settings.bits == 4:
        cls = AdamW4bit
        options = {name: options[name] for name in ("lr", "betas", "eps")}
    optimizer = policy.method.optimizer(policy.model, cls, {**options, "weight_decay": train.weight_decay})
    if optimizer is None and cls is AdamW4bit:
        optimizer = cls(parameter_groups(policy.model, decaying, train.weight_decay), **options)
    if optimizer is not None:
        trainer.optimizer = optimizer


def _projected(
    groups: Groups, settings: GaLoreSettings | ApolloSettings | ApolloMini, train: TrainConfig
) -> Optimizer:
    options: dict[str, Any] = {
        "lr": train.learning_rate,
        "betas": (settings.beta1, settings.beta2),
        "eps": settings.epsilon,
        "rank": settings.rank,
        "update_every": settings.update_every,
        "scale": settings.scale,
    }
    if isinstance(settings, GaLoreSettings):
        return GaLore(groups, **options)
    return Apollo(groups, **options, by_tensor=isinstance(settings, ApolloMini), seed=train.seed)


def _muon(groups: Groups, settings: Muon, train: TrainConfig) -> Optimizer:
    # By this the updates of matrices are as large as AdamW's, so that one learning rate suits both.
    matrices = {"momentum": settings.momentum, "nesterov": settings.nesterov, "ns_steps": settings.iterations}
    others = {"betas": (settings.beta1, settings.beta2), "eps": settings.epsilon}
    return MuonWithAdamW(groups, train.learning_rate, {**matrices, "adjust_lr_fn": "match_rms_adamw"}, others)


def _lomo(groups: Groups, settings: LomoSettings | AdaLomo, train: TrainConfig) -> Optimizer:
    return Lomo(groups, train.learning_rate, adaptive=isinstance(settings, AdaLomo))


OWN: dict[type, Callable[[Groups, Any, TrainConfig], Optimizer]] = {
    GaLoreSettings: _projected,
    ApolloSettings: _projected,
    ApolloMini: _projected,
    Muon: _muon,
    LomoSettings: _lomo,
    AdaLomo: _lomo,
}
