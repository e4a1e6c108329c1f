"""Claims about measured memory alone: the ratio of two peaks, and what a smaller base saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reports.claims.wording import claim_sentences
from reports.text import translated
from tests.helpers.claimed_runs import found
from tests.helpers.run_folders import MIB, record, write_run

PEAK = {"kind": "memory_ratio", "a": "lora", "b": "full", "added": False}
SAVED = {"kind": "memory_ratio", "a": "qlora-4bit", "b": "lora", "of": "saved", "added": False}
# Measured peaks and weights, in MiB.
COSTS = {"full": (1000, 500), "lora": (400, 250), "qlora-4bit": (260, 110)}


def run(folder: Path, *claims: dict[str, Any], **changes: Any) -> Path:
    trials = [
        record(name, name, peak_train_bytes=peak * MIB, weight_bytes=weights * MIB, **changes)
        for name, (peak, weights) in COSTS.items()
    ]
    return write_run(folder, trials, claims=list(claims))


@pytest.mark.parametrize(
    ("bounds", "outcome"),
    [
        ({"at_most": 0.5}, "supported"),
        ({"at_most": 0.4}, "not settled"),  # measured peaks repeat within 2 %
        ({"at_most": 0.3}, "contradicted"),
        ({"at_least": 0.5}, "contradicted"),
        ({"at_least": 0.3, "at_most": 0.5}, "supported"),
    ],
)
def test_a_ratio_of_peaks_is_decided_where_repeated_measuring_leaves_no_doubt(
    tmp_path: Path, bounds: dict[str, float], outcome: str
) -> None:
    (claim,) = found(run(tmp_path / "run", PEAK | bounds))
    assert claim.outcome == outcome
    (figure,) = claim.figures
    assert figure.value == pytest.approx(0.4)
    assert figure.interval == pytest.approx((0.392, 0.408))
    assert claim.p is None


def test_one_seed_is_enough_for_memory(tmp_path: Path) -> None:
    (claim,) = found(run(tmp_path / "run", PEAK | {"at_most": 0.5}))
    assert claim.reason is None
    assert claim.statement == "lora needs at most 50 % of full's memory"


def test_what_is_saved_is_compared_with_what_the_weights_are_smaller_by(tmp_path: Path) -> None:
    # 140 MiB less at the peak, 140 MiB less of weights; 2 % of 400 MiB is 6 % of that.
    near, far = SAVED | {"at_least": 0.8, "at_most": 1.2}, SAVED | {"at_least": 1.2}
    supported, contradicted = found(run(tmp_path / "run", near, far))
    assert (supported.outcome, contradicted.outcome) == ("supported", "contradicted")
    (figure,) = supported.figures
    assert figure.value == pytest.approx(1.0)
    assert figure.interval == pytest.approx((1 - 8 / 140, 1 + 8 / 140))


def test_memory_that_was_not_measured_settles_nothing(tmp_path: Path) -> None:
    (claim,) = found(run(tmp_path / "run", PEAK | {"at_most": 0.5}, memory_source="predicted"))
    assert claim.outcome == "not settled"
    assert claim.reason == "the memory of lora was not measured, only predicted"


def test_larger_weights_save_nothing_to_compare_with(tmp_path: Path) -> None:
    turned = SAVED | {"a": "full", "b": "lora", "at_most": 1.2}
    (claim,) = found(run(tmp_path / "run", turned))
    assert claim.reason == "the weights of full are not smaller than those of lora"


def test_bounds_and_ranges_are_said_in_chinese(tmp_path: Path) -> None:
    (claim,) = found(run(tmp_path / "run", SAVED | {"at_least": 0.8, "at_most": 1.2}))
    said = translated(claim_sentences([claim])[0], "zh")
    assert "与 lora 相比，qlora-4bit 节省的内存为其权重缩小量的至少 80 % 且至多 120 %" in said
    assert "在峰值的可重复范围内为" in said
