"""AdaLoRA (Zhang et al., 2023, arXiv:2303.10512): adapters that begin with more rank than they end with, by importance.

Each adapter is B diag(E) A. Numbers of E whose triplets matter least are set to 0, more of them step by step, until
``target_r`` are left per layer on average. PEFT counts and chooses; this calls it at each step, keeps its state in
checkpoints, and adds the gradient of its penalty, which is not part of a stage's loss.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.methods.trained_weights import KeepsTrainedWeights, save_adapter

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from trainables.config.train import TrainConfig

NAME = "adalora"
# Before the number of a trial's steps is known: PEFT wants some.
UNKNOWN_STEPS = 2**31
FIRST_SHARE, LAST_SHARE = 0.1, 0.3  # of a trial's steps, without `tinit` and `tfinal`
# fmt: off
USED = frozenset({
    "target_r", "init_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "lora_alpha",
    "lora_dropout", "init_lora_weights", "modules_to_save", "layers_to_transform", "layers_pattern",
    "exclude_modules", "fan_in_fan_out",
})
# fmt: on
SMALLEST = {"target_r": 1, "tinit": 0, "tfinal": 0, "deltaT": 1}
NUMBERS_PER_WEIGHT = 3  # of its importance, as of the last step, averaged, and how uncertain that is
STATE = {"exp_avg_ipt": "importance", "exp_avg_unc": "uncertainty"}  # PEFT's, by their names in checkpoints


def with_unknown_steps(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of PEFT's config class, of which the steps are known later."""
    return {**options, "tinit": 0, "tfinal": 0, "total_step": UNKNOWN_STEPS}


def problems(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(option, what is wrong with it), beside what PEFT's config class says."""
    for name, smallest in SMALLEST.items():
        if (value := options.get(name, smallest)) < smallest:
            yield name, f"got {value}; the minimum is {smallest}"
    first, last = options.get("init_r", 12), options.get("target_r", 8)
    if last >= first:
        yield "target_r", f"ranks fall from init_r ({first}) to target_r ({last}), which has to be smaller"


def obstacles(options: Mapping[str, Any], train: TrainConfig) -> Iterator[tuple[str, str]]:
    """(setting of ``train``, what is wrong) with training it."""
    given = [f"{name}: {options[name]}" for name in ("tinit", "tfinal") if options.get(name)]
    if given and train.steps is None:
        yield "epochs", f"{' and '.join(given)} count steps; give steps, or leave them out for shares of them"
    elif train.steps is not None and (problem := _steps_problem(options, train.steps)) is not None:
        yield "steps", problem
    if train.precision == "fp16":
        yield (
            "precision",
            "steps that fp16's loss scaling leaves out would spoil adalora's importances; use bf16",
        )
    if train.sharding != "none":
        yield "sharding", "adalora compares the importances of whole weights; leave it out"
    optimizer = train.optimizer_settings
    if optimizer.updates_in_backward:
        yield (
            "optimizer",
            f"{train.optimizer_label} leaves no gradients, by which adalora chooses ranks; use adamw",
        )
    elif not optimizer.has_schedule:
        yield (
            "optimizer",
            f"{train.optimizer_label} averages weights, of which adalora sets some to 0; use adamw",
        )


def enter(model: Any, dtype: torch.dtype) -> Any:
    """A ``PeftModel`` whose checkpoints hold the importances, too. The number that each layer divides by is held in the
    ``dtype`` of what is scored.
    """
    _cast_divisors(model, dtype)
    cls: Any = type(model)
    model.__class__ = _kept_whole(cls)
    return model


def _cast_divisors(model: Any, dtype: torch.dtype) -> None:
    for name, parameter in model.named_parameters():
        if ".ranknum." in name:
            parameter.data = parameter.data.to(dtype)


@functools.cache
def _kept_whole(cls: type) -> type:
    """PEFT's class of a model with checkpoints of all triplets and of their importances."""
    import torch

    class KeptWhole(KeepsTrainedWeights, cls):  # PEFT chooses it by the task
        def training_state(self) -> dict[str, Tensor]:
            allocator = self.base_model.rankallocator
            state = {
                f"{ours}/{n}": v for theirs, ours in STATE.items() for n, v in vars(allocator)[theirs].items()
            }
            pattern = self.peft_config[self.active_adapter].rank_pattern or {}
            return state | {f"kept/{name}": torch.tensor(kept) for name, kept in pattern.items()}

        def take_training_state(self, state: dict[str, Tensor]) -> None:
            held: dict[str, dict[str, Tensor]] = {name: {} for name in ("kept", *STATE.values())}
            weights = dict(self.base_model.model.named_parameters())
            for path, value in state.items():
                part, _, name = path.partition("/")
                held[part][name] = value if part == "kept" else value.to(weights[name])
            allocator = self.base_model.rankallocator
            for theirs, ours in STATE.items():
                setattr(allocator, theirs, held[ours])
            allocator.ipt = {name: torch.zeros_like(value) for name, value in held["importance"].items()}
            pattern = {name: kept.tolist() for name, kept in held["kept"].items()}
            self.peft_config[self.active_adapter].rank_pattern = pattern or None

    KeptWhole.__name__ = cls.__name__
    return KeptWhole


def schedule(model: Any, options: Mapping[str, Any], measured: bool = False) -> Any:
    """A callback that gives up ranks after each optimizer step. What an earlier training of the model left goes.

    ``measured``: memory is measured, in fewer steps than the trial has, in all of which importances are kept. Else
    training begins with ``ValueError`` where ranks can't fall in so many steps.
    """
    from transformers import TrainerCallback

    config = model.peft_config[model.active_adapter]
    config.rank_pattern = None
    model.base_model.rankallocator.reset_ipt()

    class RankSchedule(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            config.total_step = state.max_steps
            if not measured and (problem := _steps_problem(options, state.max_steps)) is not None:
                raise ValueError(problem)
            config.tinit, config.tfinal = (0, 0) if measured else end_steps(options, state.max_steps)

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            # Before the gradients are cleared; transformers counts the step afterwards.
            model.base_model.update_and_allocate(state.global_step + 1)

    return RankSchedule()


def end_steps(options: Mapping[str, Any], steps: int) -> tuple[int, int]:
    """How many of the first and of the last of so many steps keep the ranks as they are: those that the options give,
    else shares of the steps, or less where what is given leaves less.

    >>> end_steps({}, 100), end_steps({"tinit": 75}, 100), end_steps({"tfinal": 95}, 100)
    ((10, 30), (75, 24), (4, 95))
    """
    first, last = int(FIRST_SHARE * steps), int(LAST_SHARE * steps)
    last = options.get("tfinal", max(0, min(last, steps - options.get("tinit", first) - 1, steps - 2)))
    first = options.get("tinit", max(0, min(first, steps - last - 1)))
    return first, last


def _steps_problem(options: Mapping[str, Any], steps: int) -> str | None:
    """Why ranks can't fall in so many steps; ``None`` where they can."""
    if steps < 2:
        return f"got {steps}; adalora chooses ranks by the importances of earlier steps: the minimum is 2"
    first, last = end_steps(options, steps)
    given = " and ".join(f"{name}: {options[name]}" for name in ("tinit", "tfinal") if options.get(name))
    if first + last >= steps:
        return f"{given} leave none of {steps} steps in which ranks fall"
    if steps - last < 2:
        return f"{given} leaves {steps - last} of {steps} steps before the last ranks are chosen: the minimum is 2"
    return None


def add_penalty_gradients(model: Any) -> None:
    """Adds to the gradients those of the penalty w / n sum ||P P^T - I||, P being A or B^T of each of n / 2 layers: its
    rows shall be orthogonal (equation 5). ``w`` is ``orth_reg_weight``.
    """
    import torch

    adapter = model.active_adapter
    parts = [
        (parameter, f"lora_B.{adapter}" in name)
        for name, parameter in model.named_parameters()
        if f"lora_A.{adapter}" in name or f"lora_B.{adapter}" in name
    ]
    weight = model.peft_config[adapter].orth_reg_weight / len(parts)
    for parameter, transposed in parts:
        if parameter.grad is None or not weight:
            continue
        with torch.enable_grad():
            rows = parameter.T if transposed else parameter
            # Made where it is used: a GPU would be waited for while it is copied.
            unit = torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
            distance = torch.linalg.matrix_norm(rows @ rows.T - unit)
            (gradient,) = torch.autograd.grad(weight * distance, parameter)
        parameter.grad.add_(gradient)


def save(model: Any, folder: Path, dtype: torch.dtype) -> None:
    """Saves the adapter with the ranks that are left; the model itself then has no others, for it is scored so."""
    config = model.peft_config[model.active_adapter]
    layers = {
        name: parameter for name, parameter in model.base_model.model.named_parameters() if "lora_E." in name
    }
    kept = {name.replace(f".{model.active_adapter}", ""): (e != 0).view(-1) for name, e in layers.items()}
    # Ranks come back between two choices, so what is 0 counts, and not what was chosen last. Before the first choice,
    # in a trial that was stopped, all may be 0.
    config.rank_pattern = None
    if any(mask.any() for mask in kept.values()) and not all(mask.all() for mask in kept.values()):
        config.rank_pattern = {name: mask.tolist() for name, mask in kept.items()}
        model.base_model.resize_modules_by_rank_pattern(config.rank_pattern, model.active_adapter)
        _cast_divisors(model, dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*invalid shape")  # layers of which no rank is left
        save_adapter(model, folder)
