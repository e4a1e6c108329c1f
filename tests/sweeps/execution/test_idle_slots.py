"""Slots that have no trial: how long they are kept for the next one."""

from __future__ import annotations

import inspect

import pytest
from ray.tune.execution import tune_controller

from sweeps.execution import idle_slots
from sweeps.execution.idle_slots import IdleSlots


@pytest.fixture
def slots() -> IdleSlots:
    """Two slots that wait for trials of their size."""
    made = IdleSlots()
    assert made.cache_object("small", "one")
    assert made.cache_object("small", "two")
    return made


def test_tune_takes_its_cache_of_actors_from_the_name_that_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tune_controller, "_ObjectCache", None)
    idle_slots.keep_idle_slots()
    assert tune_controller._ObjectCache is IdleSlots
    assert "_ObjectCache(" in inspect.getsource(tune_controller.TuneController.__init__)


def test_all_idle_slots_are_kept_while_trials_wait_for_one_another(slots: IdleSlots) -> None:
    assert list(slots.flush_cached_objects()) == []
    slots.increase_max("small")
    assert slots.pop_cached_object("small") == "two"
    slots.decrease_max("small")
    assert list(slots.flush_cached_objects()) == []
    assert slots.pop_cached_object("small") == "one"
    assert slots.num_cached_objects == 0


def test_idle_slots_give_what_they_hold_to_a_waiting_trial_of_another_size(slots: IdleSlots) -> None:
    slots.increase_max("large")
    assert sorted(slots.flush_cached_objects()) == ["one", "two"]
    assert slots.num_cached_objects == 0
    assert not slots.cache_object("small", "three")
    assert slots.cache_object("large", "four")


def test_an_idle_slot_ends_after_some_minutes(slots: IdleSlots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_slots, "KEEP_SECONDS", -1.0)
    assert list(slots.flush_cached_objects()) == ["one", "two"]
    assert slots.num_cached_objects == 0


def test_no_slot_is_kept_when_the_search_is_over(slots: IdleSlots) -> None:
    assert sorted(slots.flush_cached_objects(force_all=True)) == ["one", "two"]
