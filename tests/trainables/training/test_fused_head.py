"""TRL's fused head as trainers on a CPU have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainables.stages.test_objectives import Case
from trainables.training import fused_head


@pytest.mark.parametrize("kind", ["sft", "dpo", "kto"])
def test_the_size_of_tiles_changes_neither_loss_nor_gradients(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    whole = Case(tiny_model, kind)
    loss, gradients = whole.loss(), whole.gradients()
    monkeypatch.setitem(fused_head.TILES, "cpu", (7, 50))
    tiled = Case(tiny_model, kind)
    assert tiled.loss() == pytest.approx(loss, rel=1e-6)
    for name, gradient in tiled.gradients().items():
        torch.testing.assert_close(gradient, gradients[name], rtol=1e-4, atol=1e-7)


def test_a_cpu_computes_no_logits_where_there_is_no_label(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl.trainer import utils

    scored: list[int] = []
    case = Case(tiny_model, "sft")
    own = utils._ChunkedLogProbFunction

    class Counting:
        @staticmethod
        def apply(hidden: torch.Tensor, *args: Any) -> Any:
            scored.append(len(hidden))
            return own.apply(hidden, *args)

    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", Counting)
    case.loss()
    assert scored == [sum(label != -100 for one in case.answers() for label in one.labels[1:])]


def test_what_is_changed_in_trl_is_as_it_was_after_the_constructor(tiny_model: Path) -> None:
    from trl.trainer import dpo_trainer

    before = dict(vars(dpo_trainer))
    Case(tiny_model, "dpo", {"kind": "lora", "rank": 4, "targets": ["lm_head"]})
    assert {name for name, value in before.items() if vars(dpo_trainer)[name] is not value} == set()
