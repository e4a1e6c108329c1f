"""Answers for requests that come at any time, generated together in a thread while the event loop listens on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from trainables.inference.continuous_batch import Answer
from trainables.inference.generator import Generator
from trainables.inference.model_pool import LoadedModel
from trainables.inference.sampling import Sampling
from trainables.inference.text_stream import TextStream


@dataclass
class GenerationJob:
    """A request for one answer, and what its asker hears: a word each time its answer went on."""

    loaded: LoadedModel
    prompt: list[int]
    sampling: Sampling
    heard: asyncio.Queue[None] = field(default_factory=asyncio.Queue)
    answer: Answer | None = None
    failure: BaseException | None = None
    abandoned: bool = False

    def hear(self) -> None:
        self.heard.put_nowait(None)


class Engine:
    """For one event loop. ``count`` requests are under way or wait."""

    def __init__(self, most: int) -> None:
        self.generator = Generator(most)
        self._jobs: list[GenerationJob] = []
        self._new: list[GenerationJob] = []
        self._thread = ThreadPoolExecutor(1)  # the models are one thread's
        self._running: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        return len(self._jobs) + len(self._new)

    async def pieces(self, job: GenerationJob) -> AsyncIterator[str]:
        """The text of an answer as it is generated; afterwards ``job.answer`` says why it ended."""
        self._new.append(job)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        spoken, told = TextStream(job.loaded.tokenizer, job.sampling.stop), 0
        try:
            while True:
                await job.heard.get()
                if job.failure is not None:
                    raise job.failure
                answer = job.answer
                assert answer is not None
                count, ended = len(answer.tokens), answer.finish_reason
                piece, told = spoken.add(answer.tokens[told:count]), count
                if spoken.stopped:
                    answer.finish_reason = ended = "stop"
                if piece:
                    yield piece
                if ended is not None:
                    break
            if rest := spoken.end():
                yield rest
        finally:
            job.abandoned = True
            if job.answer is not None and job.answer.finish_reason is None:
                job.answer.finish_reason = "cancelled"

    async def _run(self) -> None:
        """Goes on for as long as there is anything to answer."""
        loop = asyncio.get_running_loop()
        while self._new or self._jobs:
            new, self._new = [job for job in self._new if not job.abandoned], []
            self._jobs += new
            try:
                moved = await loop.run_in_executor(self._thread, self._step, new)
            except BaseException as error:
                self._fail(error)
                raise
            self._jobs, jobs = [job for job in self._jobs if not _over(job)], self._jobs
            for job in jobs:
                if job.answer is not None and id(job.answer) in moved:
                    job.hear()

    def _step(self, new: list[GenerationJob]) -> set[int]:
        for job in new:
            job.answer = self.generator.submit(job.loaded, job.prompt, job.sampling)
        return {id(answer) for answer in self.generator.step()}

    def _fail(self, error: BaseException) -> None:
        """Nobody waits for what will not come; what comes next begins with models that have nothing under way."""
        jobs, self._jobs, self._new = [*self._jobs, *self._new], [], []
        self.generator = Generator(self.generator.most)
        for job in jobs:
            job.failure = error
            job.hear()


def _over(job: GenerationJob) -> bool:
    return job.abandoned or (job.answer is not None and job.answer.finish_reason is not None)


async def generate_all(engine: Engine, jobs: Sequence[GenerationJob]) -> list[str]:
    """The whole texts of several answers; what is cancelled, or fails, takes the others along."""

    async def whole(job: GenerationJob) -> str:
        return "".join([piece async for piece in engine.pieces(job)])

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(whole(job)) for job in jobs]
    return [task.result() for task in tasks]


async def stream_all(engine: Engine, jobs: Sequence[GenerationJob]) -> AsyncIterator[tuple[int, str | None, bool]]:
    """The pieces of several answers as they come: (which, text, whether its first); text ``None`` at its end."""
    queue: asyncio.Queue[tuple[int, str | None, bool] | BaseException] = asyncio.Queue()

    async def follow(index: int, job: GenerationJob) -> None:
        try:
            queue.put_nowait((index, "", True))
            async for piece in engine.pieces(job):
                queue.put_nowait((index, piece, False))
            queue.put_nowait((index, None, False))
        except Exception as error:
            queue.put_nowait(error)

    tasks = [asyncio.create_task(follow(index, job)) for index, job in enumerate(jobs)]
    try:
        going = len(jobs)
        while going:
            found = await queue.get()
            if isinstance(found, BaseException):
                raise found
            going -= found[1] is None
            yield found
    finally:
        for task in tasks:
            task.cancel()
