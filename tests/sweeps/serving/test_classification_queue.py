"""How many texts a replica takes for classification, and when their places are free again."""

from __future__ import annotations

import asyncio
import threading

import pytest

from sweeps.serving.classification_queue import ClassificationQueue


def test_texts_are_counted_and_no_requests_and_one_request_alone_is_always_taken() -> None:
    async def scenario() -> None:
        queue, go_on = ClassificationQueue(4), threading.Event()
        assert queue.has_room(1000)
        task = asyncio.create_task(queue.run(3, go_on.wait))
        await asyncio.sleep(0)
        assert (queue.has_room(1), queue.has_room(2)) == (True, False)
        go_on.set()
        assert await task
        await asyncio.sleep(0)
        assert queue.count == 0

    asyncio.run(scenario())


def test_texts_whose_client_is_gone_count_until_their_work_ends() -> None:
    async def scenario() -> None:
        queue, begun, go_on = ClassificationQueue(4), threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            go_on.wait()

        task = asyncio.create_task(queue.run(3, work))
        await asyncio.to_thread(begun.wait)
        waiting = asyncio.create_task(queue.run(1, work))
        await asyncio.sleep(0)
        waiting.cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.01)
        assert queue.count == 3  # of those that had not begun, the place is free at once
        go_on.set()
        while queue.count:
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_an_error_reaches_the_caller_and_frees_the_places() -> None:
    async def scenario() -> None:
        queue = ClassificationQueue(4)
        with pytest.raises(ZeroDivisionError):
            await queue.run(2, lambda: 1 // 0)
        await asyncio.sleep(0.01)
        assert queue.count == 0

    asyncio.run(scenario())
