"""Signal handlers that are set for a block only."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from trainables.system.signals import handlers_restored, handling


def test_a_handler_is_called_within_the_block_and_the_previous_one_after_it() -> None:
    inner: list[int] = []
    outer: list[int] = []
    with handling([signal.SIGUSR1], lambda number, frame: outer.append(number)):
        with handling([signal.SIGUSR1, signal.SIGUSR2], lambda number, frame: inner.append(number)):
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGUSR1)
    assert inner == [signal.SIGUSR1, signal.SIGUSR2]
    assert outer == [signal.SIGUSR1]


def test_the_previous_handler_is_back_after_an_error_in_the_block() -> None:
    previous = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(ValueError, match="in the block"), handling([signal.SIGUSR1], lambda *_: None):
        raise ValueError("in the block")
    assert signal.getsignal(signal.SIGUSR1) is previous


def test_a_handler_that_somebody_else_sets_within_the_block_is_replaced_by_the_previous_one() -> None:
    previous = signal.getsignal(signal.SIGUSR1)
    with handlers_restored([signal.SIGUSR1]):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGUSR1) is previous


def test_outside_of_the_main_thread_handlers_are_left_alone() -> None:
    errors: list[BaseException] = []

    def enter() -> None:
        try:
            with handlers_restored([signal.SIGUSR1]):
                pass
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert errors == []
