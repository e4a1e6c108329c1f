"""How ms-swift's settings of PPO and GRPO are carried over: rewards, losses, and GRPO's batches of answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sweeps.drafting.foreign.carry_over import (
    Dropped,
    Kept,
    Outcome,
    Rule,
    Values,
    as_list,
    finite_number,
    flag,
    no_counterpart,
    number,
    one_of,
)
from sweeps.drafting.foreign.trainer_rules import COMMON

GROUP = 8  # answers to a prompt, by default there and here
LOSSES = {"grpo": None, "bnpo": "bnpo", "dr_grpo": "dr_grpo", "dapo": "dapo"}
SCALES = {"group": "group", "true": "group", "batch": "batch", "none": "none", "false": "none"}
# Its checks of an answer that a regular expression makes, too.
REWARDS: Mapping[str, dict[str, str]] = {
    "format": {"kind": "regex", "pattern": r"(?s)^<think>.*?</think>\s*<answer>.*?</answer>\Z"},
}
# What the others do, which a function of one's own has to do here.
WITHOUT_COUNTERPART = {
    "accuracy": "it compares the answer with the column solution by math_verify",
    "cosine": "it goes by the answer's length and by whether it is right",
    "repetition": "it counts repeated word sequences",
    "soft_overlong": "it goes by the answer's length",
}
SAMPLED = "answers are sampled from the whole distribution, which is the one that is trained"
WHOLE = f"{SAMPLED}; top_p (0.9 there) and top_k (50) have no counterpart"


def defaults(values: Values, stage: str) -> dict[str, Any]:
    """What counts there where a file doesn't say it, and is otherwise here."""
    if stage not in ("ppo", "grpo"):
        return {}
    found: dict[str, Any] = {"max_completion_length": 512, "temperature": 0.9}
    if stage == "grpo":
        found |= {"beta": 0.04, "gradient_accumulation_steps": 1}
        if values.get("loss_type") == "dr_grpo":
            found["scale_rewards"] = "group"  # here rewards aren't scaled with that loss
    return found


def is_grpo(values: Values) -> bool:
    return values.get("rlhf_type") == "grpo"


def reward_names(values: Values) -> list[str]:
    """The names in ``reward_funcs``, which command lines write one after the other."""
    return [name for item in as_list(values.get("reward_funcs") or []) for name in item.split()]


def own_names(values: Values) -> list[str]:
    """The rewards of a configuration that have to be written as functions of one's own."""
    return [name for name in reward_names(values) if name not in REWARDS]


def reward_terms(values: Values) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each reward's name there, and its entry of ``rewards`` here; a function of one's own where there is no other."""
    weights: Sequence[float] = ()
    with suppress(TypeError, ValueError, OverflowError):  # `_reward_weights` has those left out
        weights = _weights(values)
    for place, name in enumerate(reward_names(values)):
        weight = weights[place] if place < len(weights) else 1.0
        function = {"kind": "function", "function": f"my_rewards:{name.rpartition(':')[2]}"}
        yield name, REWARDS.get(name, function) | ({"weight": weight} if weight != 1.0 else {})


def _rewards(value: Any, values: Values) -> Iterator[Outcome]:
    own = own_names(values)
    for name in own:
        what = f" ({WITHOUT_COUNTERPART[name]})" if name in WITHOUT_COUNTERPART else ""
        yield Dropped(f"{name}{what} has to be a function of your own here, see rewards")
    kept = [term for name, term in reward_terms(values) if name not in own]
    if kept:
        yield Kept("stage", "rewards", kept)


def _weights(values: Values) -> Sequence[float]:
    given = values.get("reward_weights")
    listed = given if isinstance(given, list) else str(given).replace(",", " ").split() if given else []
    return [finite_number(each) for each in listed]


def _reward_weights(value: Any, values: Values) -> Iterator[Outcome]:
    """Those of functions stand at the functions; a reward model's comes after them."""
    weights, functions = _weights(values), reward_names(values)
    if values.get("reward_model") and len(weights) > len(functions):
        yield Kept("stage", "reward_weight", weights[len(functions)], "of the reward model")
    elif not functions:
        yield Dropped("there are no reward_funcs that it could weigh")


def loss(value: Any, values: Values) -> Iterator[Outcome]:
    """GSPO is a loss here, and there GRPO's with ratios of whole answers."""
    if values.get("importance_sampling_level") == "sequence":
        if str(value) != "grpo":
            yield Dropped("with importance_sampling_level: sequence there is gspo, which averages as grpo")
        return
    yield from one_of("stage", "loss", LOSSES)(value, values)


def _ratios(value: Any, values: Values) -> Iterator[Outcome]:
    if value == "sequence":
        yield Kept("stage", "loss", "gspo")
    elif value != "token":
        yield Dropped("here a ratio is of a token, or of a whole answer (loss: gspo)")


def temperature(value: Any, values: Values) -> Iterator[Outcome]:
    cut = "top_p" not in values and "top_k" not in values
    yield from number("stage", "temperature", WHOLE if is_grpo(values) and cut else "")(value, values)


def _cuts(neutral: float) -> Rule:
    """A cut of the distribution that answers are sampled from; at ``neutral`` there is none."""
    return lambda value, _: [] if finite_number(value) == neutral else [Dropped(SAMPLED)]


def batch(value: Any, values: Values) -> Iterator[Outcome]:
    """Rows of a batch; of GRPO prompts, where it counts answers."""
    if not is_grpo(values):
        yield from COMMON["per_device_train_batch_size"](value, values)
        return
    prompts, _ = _prompts(values)
    group = _group(values)
    what = f"{value} answers of one device there; here prompts of all workers, with {group} answers each"
    yield Kept("train", "batch_size", prompts, what)


def passes(value: Any, values: Values) -> Iterator[Outcome]:
    """Passes of a step; of GRPO as many as give its number of prompts."""
    if not is_grpo(values):
        yield from COMMON["gradient_accumulation_steps"](value, values)
    elif (count := _prompts(values)[1]) > 1:
        yield Kept("train", "gradient_accumulation", count)


def _group(values: Values) -> int:
    return max(1, int(values.get("num_generations", GROUP)))


def _prompts(values: Values) -> tuple[int, int]:
    """The prompts of a pass and the passes of a step, whose answers are as many as there on one device, or those to one
    prompt.
    """
    answers = int(values.get("per_device_train_batch_size", 1))
    steps, group = int(values.get("gradient_accumulation_steps", 1)), _group(values)
    if answers % group == 0:
        return answers // group, steps
    return 1, max(1, round(answers * steps / group))


def _answers_of_a_step(in_batches: bool) -> Rule:
    """How many answers are sampled at a time, as batches or as answers; those of one step are what is done here."""

    def rule(value: Any, values: Values) -> Iterator[Outcome]:
        batch = 1 if in_batches else int(values.get("per_device_train_batch_size", 1))
        if finite_number(value) != batch * int(values.get("gradient_accumulation_steps", 1)):
            yield Dropped("each step samples its own answers (iterations: several updates on them)")

    return rule


RULES: Mapping[str, Rule] = {
    "reward_model": no_counterpart(
        "a reward model of ms-swift can't be read: train one here with a stage reward, and give it as reward: "
        "{from: reward} or {from: RUN:CELL}"
    ),
    "max_completion_length": number("stage", "max_new_tokens"),
    "temperature": temperature,
    "num_ppo_epochs": number("stage", "epochs"),
    "num_mini_batches": number("stage", "mini_batches"),
    "whiten_rewards": flag("stage", "whiten_rewards"),
    "kl_coef": number("stage", "kl_coefficient"),
    "cliprange": number("stage", "clip_range"),
    "vf_coef": number("stage", "value_coefficient"),
    "cliprange_value": number("stage", "value_clip_range"),
    "gamma": number("stage", "gamma"),
    "lam": number("stage", "lam"),
    "missing_eos_penalty": number("stage", "missing_eos_penalty"),
    "per_device_train_batch_size": batch,
    "gradient_accumulation_steps": passes,
    "num_generations": number("stage", "num_generations"),
    "reward_funcs": _rewards,
    "reward_weights": _reward_weights,
    "epsilon": number("stage", "epsilon"),
    "epsilon_high": number("stage", "epsilon_high"),
    "num_iterations": number("stage", "iterations"),
    "scale_rewards": one_of("stage", "scale_rewards", SCALES),
    "importance_sampling_level": _ratios,
    "steps_per_generation": _answers_of_a_step(in_batches=True),
    "generation_batch_size": _answers_of_a_step(in_batches=False),
    "top_k": _cuts(-1),
    "top_p": _cuts(1),
    "repetition_penalty": _cuts(1),
    "external_plugins": no_counterpart(
        "a function of your own is rewards: [{kind: function, function: module:name}], in a module beside the spec"
    ),
    "delta": no_counterpart("ratios are clipped by epsilon and epsilon_high alone"),
    "sync_ref_model": no_counterpart("the reference is the policy before training"),
    "dynamic_sample": no_counterpart("prompts whose answers are rewarded alike stay, and teach nothing"),
    "overlong_filter": no_counterpart("answers that were cut off count as they are"),
    "multi_turn_scheduler": no_counterpart("an answer is one turn"),
    "log_completions": no_counterpart("the answers to test rows are in the report"),
    **dict.fromkeys(
        ("use_vllm", "vllm_mode", "sleep_level", "vllm_gpu_memory_utilization"),
        no_counterpart("the model that trains samples by itself"),
    ),
}
