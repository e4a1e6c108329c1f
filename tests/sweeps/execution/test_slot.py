"""A slot that can't take its next trial."""

from __future__ import annotations

from typing import Any

import pytest

from sweeps.execution.slot import Slot


@pytest.mark.parametrize("part", ["_check_nodes", "_hand_over"])
def test_a_slot_that_cannot_take_a_trial_fails_in_its_step_so_that_another_slot_gets_the_trial(
    monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Tune gives up a trial whose slot fails while it is reset, however many failures it may have."""

    def fails(*arguments: Any) -> None:
        raise RuntimeError("leaves its node")

    monkeypatch.setattr(Slot, "_check_nodes", lambda slot: None)
    monkeypatch.setattr(Slot, "_hand_over", lambda slot, config: None)
    monkeypatch.setattr(Slot, part, fails)
    slot = object.__new__(Slot)  # as Tune would have made it, without its worker group
    assert slot.reset_config({})
    with pytest.raises(RuntimeError, match="leaves its node"):
        slot.step()
