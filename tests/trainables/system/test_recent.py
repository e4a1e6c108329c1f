"""A cache of the most recently used values."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from trainables.system.recent import Recent


def test_a_value_is_computed_once_for_each_key():
    recent, computed = Recent[str, object](size=2), []

    def compute():
        computed.append(object())
        return computed[-1]

    assert recent.get("a", compute) is recent.get("a", compute)
    assert recent.get("b", compute) is not recent.get("a", compute)
    assert len(computed) == 2


def test_the_value_that_was_used_least_recently_is_dropped():
    recent = Recent[str, int](size=2)
    for key in ("a", "b", "a", "c"):
        recent.get(key, lambda: 1)
    assert [recent.get(key, lambda: 2) for key in ("a", "c")] == [1, 1]
    assert recent.get("b", lambda: 2) == 2


def test_none_is_a_value_like_others():
    recent = Recent[str, None](size=1)
    recent.get("a", lambda: None)
    assert recent.get("a", lambda: pytest.fail("computed again")) is None


def test_an_error_is_raised_and_the_value_computed_next_time():
    recent = Recent[str, float](size=2)
    with pytest.raises(ZeroDivisionError):
        recent.get("a", lambda: 1 / 0)
    assert recent.get("a", lambda: 1.0) == 1.0


def test_a_cleared_cache_computes_anew():
    recent = Recent[str, int](size=2)
    recent.get("a", lambda: 1)
    recent.clear()
    assert recent.get("a", lambda: 2) == 2


def test_a_computation_may_use_the_same_cache():
    recent = Recent[int, int](size=4)

    def factorial(n):
        return recent.get(n, lambda: n * factorial(n - 1) if n else 1)

    assert factorial(6) == 720


def test_threads_that_compute_one_value_at_the_same_time_get_the_same_object():
    recent, together = Recent[str, object](size=2), Barrier(2, timeout=5)

    def compute():
        together.wait()
        return object()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: recent.get("a", compute), range(2))
    assert first is second
