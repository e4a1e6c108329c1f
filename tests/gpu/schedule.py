"""The checks in the order in which they are made: what matters most comes first, as a run may be cut."""

from __future__ import annotations

from tests.gpu.check import Check

CHECKS = (
    Check("trial_memory", "memory is read in the trial, whose numbers stay the same", 20),
    Check("methods", "each method trains with a loss that is finite and falls, and is scored", 65),
    Check("out_of_memory", "a batch that does not fit is a finding, and the process is usable after it", 20),
    Check(
        "memory",
        "predicted peaks beside measured ones: three methods, two lengths, checkpointing on and off",
        75,
    ),
    Check(
        "precision",
        "fp32, bf16 and fp16 agree; gradients of fp16 are scaled, TF32 is on where it should be",
        15,
    ),
    Check("resume", "an interrupted trial that is resumed, beside one that was not interrupted", 40),
    Check("synchronisation", "no code of Paretune's makes the CPU wait for the GPU in a step", 15),
    Check("stages", "a step of each stage, PPO's and GRPO's rounds of answers among them", 30),
    Check("attention", "FlashAttention 2 and 3, SDPA, eager and Liger: speed, and difference of losses", 30),
    Check("throughput", "tokens per second beside a plain TRL script: full, LoRA, QLoRA", 50),
    Check("resident_base", "a second trial of a model that stays loaded: its set-up, and equal losses", 30),
    Check("export", "merged weights answer as the adapter on its base", 25),
    Check(
        "sharing",
        "two processes on halves of the GPU: one runs out of memory, the numbers of the other stay",
        45,
    ),
    Check("compilation", "torch.compile: speed, and difference of losses", 60),
)
NAMES = tuple(check.name for check in CHECKS)


def chosen(only: list[str]) -> tuple[Check, ...]:
    """The checks of these names in the schedule's order; all of them where there are none."""
    return tuple(check for check in CHECKS if not only or check.name in only)
