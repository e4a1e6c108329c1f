"""What bitsandbytes' paged optimizers leave behind, on a stand-in for the memory that only a GPU's driver gives."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import bitsandbytes.functional as functional
import pytest
import torch

from trainables.training.paged_memory import free_paged_memory
from trainables.training.trainer_setup import clean_process


@pytest.fixture
def freed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    addresses: list[int] = []

    def free(address: Any) -> None:
        addresses.append(address.value)

    monkeypatch.setattr(functional, "lib", SimpleNamespace(_lib=SimpleNamespace(cudaFree=free)))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(functional.GlobalPageManager.get_instance(), "paged_tensors", [])
    return addresses


def test_the_paged_state_of_an_optimizer_that_is_gone_is_freed_between_trials(freed: list[int]) -> None:
    manager = functional.GlobalPageManager.get_instance()
    manager.paged_tensors = [torch.zeros(1000), torch.zeros(500)]
    addresses = [tensor.data_ptr() for tensor in manager.paged_tensors]
    clean_process()
    assert freed == addresses
    assert manager.paged_tensors == []
    assert free_paged_memory() == 0


def test_paged_state_that_an_optimizer_still_holds_is_kept(freed: list[int]) -> None:
    manager = functional.GlobalPageManager.get_instance()
    held, gone = torch.zeros(1000), torch.zeros(500)
    state = {"state1": held}
    manager.paged_tensors = [held, gone]
    del held, gone
    assert free_paged_memory() == 4 * 500
    assert len(freed) == 1
    assert [tensor is state["state1"] for tensor in manager.paged_tensors] == [True]


def test_without_bitsandbytes_there_is_nothing_to_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "bitsandbytes.functional")
    assert free_paged_memory() == 0
