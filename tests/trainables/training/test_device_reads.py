"""No code of ours reads a number of the device in a step of training, for which a GPU would be waited for.

The script for GPUs asks torch itself (``tests/gpu/checks/synchronisation.py``); here a CPU shows it for more methods,
optimizers and stages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.device_reads import Reads
from tests.helpers.tiny_encoders import make_encoder
from tests.helpers.trials import make_config, run
from trainables.data.embedded.command_kinds import KINDS
from trainables.training import phases
from trainables.training.training_callback import NoControl

LORA, FULL = {"kind": "lora", "rank": 4}, {"kind": "full"}
LABELS = sorted(set(KINDS.values()))
WEIGHED = {
    "kind": "classification",
    "labels": LABELS,
    "multi_label": False,
    "class_weights": dict.fromkeys(LABELS, 2.0),
}
MASKED = {"kind": "pretrain", "objective": "mlm"}
# Method, stage, and other settings.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "lora": (LORA, {"kind": "sft"}, {"precision": "bf16", "gradient_accumulation": 2}),
    "dora": (LORA | {"dora": True}, {"kind": "sft"}, {}),
    "adalora": ({"kind": "peft", "type": "adalora", "tinit": 0, "tfinal": 2}, {"kind": "sft"}, {}),
    "lisa": ({"kind": "lisa", "layers": 1, "every": 20}, {"kind": "sft"}, {}),
    "badam": ({"kind": "badam", "every": 20}, {"kind": "sft"}, {}),
    "adamw in 4 bits": (FULL, {"kind": "sft"}, {"optimizer": {"kind": "adamw", "bits": 4}}),
    **{
        optimizer: (FULL, {"kind": "sft"}, {"optimizer": optimizer, "weight_decay": 0.1})
        for optimizer in ("galore", "apollo", "muon", "schedule_free")
    },
    **{
        optimizer: (
            FULL,
            {"kind": "sft"},
            {"optimizer": optimizer, "weight_decay": 0.1, "max_grad_norm": None},
        )
        for optimizer in ("lomo", "adalomo")
    },
    "pretrain": (LORA, {"kind": "pretrain"}, {}),
    "masked tokens": (LORA, MASKED, {}),
    "classification": (LORA, WEIGHED, {}),
    "orpo": (LORA, {"kind": "orpo"}, {}),
}
QUICK = ("lora", "adalora", "adalomo", "adamw in 4 bits", "masked tokens", "classification")
ENCODERS = ("masked tokens",)
FIRST, LAST, STEPS = 3, 4, 5  # the steps that are watched, and all
# What is on the CPU with a GPU, too: logits by this code are of CPUs alone, and batches are collated there.
ON_CPU = ("trainables/training/label_head/", "trainables/tokenization/")


class WatchedSteps(NoControl):
    """Has ``reads`` count from the beginning of the first watched step to the end of the last; asked after each."""

    def __init__(self, reads: Reads) -> None:
        self.reads, self.step = reads, 0

    def interrupted(self) -> bool:
        self.step += 1
        self.reads.counts = FIRST - 1 <= self.step < LAST
        return False


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder") / "bert", "bert")


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case in QUICK else pytest.mark.slow) for case in CASES]
)
def test_a_step_reads_nothing_but_what_libraries_do(
    tiny_model: Path, encoder: Path, tmp_path: Path, case: str
) -> None:
    method, stage, settings = CASES[case]
    settings = {"precision": "fp32", "dtype": "float32", "max_samples": 60, **settings}
    config = make_config(
        encoder if case in ENCODERS else tiny_model,
        "commands",
        method,
        stage=stage,
        steps=STEPS,
        eval_fraction=0,
        cutoff=64,
        **settings,
    )
    with Reads(counts=False) as reads:
        assert run(config, tmp_path, control=WatchedSteps(reads)).steps == STEPS
    # transformers reads the loss and the gradient's norm, which the curve has for every step.
    assert reads.count >= LAST - FIRST
    ours = {place for place in reads.causes if place.startswith("trainables/")}
    assert {place for place in ours if not place.startswith(ON_CPU)} == set()


def test_a_number_that_is_read_counts_for_the_code_that_asked_and_so_does_a_mask() -> None:
    values = torch.ones(4)
    with Reads() as reads:
        for line in ("float(values.sum())", "values[values > 0]", "values[[0, 1]]", "values * 2"):
            exec(compile(line, phases.__file__, "exec"), {"values": values})
    assert dict(reads.causes) == {"trainables/training/phases.py:1": 2}
