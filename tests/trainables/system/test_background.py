"""Periodic calls in the background, and calls at most every so often."""

import threading

import pytest

from trainables.system import background
from trainables.system.background import Throttle, call_periodically


@pytest.fixture
def clock(monkeypatch):
    """Sets the time that a throttle reads: ``clock(30.0)``."""
    now = [1000.0]
    monkeypatch.setattr(background, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, 1000.0 + seconds)


def test_a_throttle_is_due_at_once_and_then_once_in_every_interval(clock):
    throttle = Throttle(2.0)
    due = []
    for seconds in (0.0, 0.0, 1.9, 2.0, 3.0, 3.9, 4.5, 6.4, 6.5):
        clock(seconds)
        due.append(throttle.due())
    assert due == [True, False, False, True, False, False, True, False, True]


def test_a_throttle_that_waits_first_is_due_only_after_an_interval(clock):
    throttle = Throttle(2.0, wait_first=True)
    assert not throttle.due()
    clock(1.9)
    assert not throttle.due()
    clock(2.0)
    assert throttle.due()
    assert not throttle.due()


def test_a_limited_function_is_called_with_its_arguments_only_when_it_is_due(clock):
    messages = []
    say = Throttle(60.0).limit(lambda text, mark="": messages.append(text + mark))
    say("first", mark="!")
    clock(59.0)
    say("second")
    clock(60.0)
    say("third")
    assert messages == ["first!", "third"]


def test_a_function_is_called_periodically_until_the_block_ends():
    calls, twice = [], threading.Event()

    def call():
        calls.append(threading.current_thread())
        if len(calls) == 2:
            twice.set()

    with call_periodically(call, 0.01):
        assert twice.wait(5)
    count = len(calls)
    assert threading.current_thread() not in calls
    assert not threading.Event().wait(0.05)
    assert len(calls) == count


def test_a_function_that_returns_false_is_not_called_again():
    calls = []

    def call():
        calls.append(None)
        return False

    with call_periodically(call, 0.01):
        threading.Event().wait(0.1)
    assert len(calls) == 1


def test_a_call_that_is_under_way_ends_before_the_block_does():
    began, ended = threading.Event(), threading.Event()

    def call():
        began.set()
        threading.Event().wait(0.1)
        ended.set()

    with call_periodically(call, 0.01):
        assert began.wait(5)
    assert ended.is_set()


def test_an_error_is_printed_once_and_does_not_end_the_calls(capsys: pytest.CaptureFixture[str]) -> None:
    calls, enough = [], threading.Event()

    def fail() -> None:
        calls.append(1)
        if len(calls) > 3:
            enough.set()
        raise ValueError("odd")

    with call_periodically(fail, 0.01):
        assert enough.wait(30)
    assert capsys.readouterr().err.count("ValueError: odd") == 1
