"""Answers to requests that come at any time: generated together in a thread while the event loop takes new ones."""

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
    """A request for one answer. ``progress`` has an entry each time the ``answer`` got a token or the job failed.

    ``abandoned``: nobody waits for the answer any more.
    """

    loaded: LoadedModel
    prompt: list[int]
    sampling: Sampling
    progress: asyncio.Queue[None] = field(default_factory=asyncio.Queue)
    answer: Answer | None = None
    failure: BaseException | None = None
    abandoned: bool = False

    @property
    def over(self) -> bool:
        ended = self.answer is not None and self.answer.finish_reason is not None
        return self.abandoned or self.failure is not None or ended


class Engine:
    """Generates answers for the requests of one event loop."""

    def __init__(self, max_concurrent: int) -> None:
        self.generator = Generator(max_concurrent)
        self._jobs: list[GenerationJob] = []
        self._new: list[GenerationJob] = []
        self._thread = ThreadPoolExecutor(1)  # one thread, as the generator isn't safe for several
        self._running: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """The number of answers that are being generated or wait."""
        return len(self._jobs) + len(self._new)

    async def stream(self, job: GenerationJob) -> AsyncIterator[str]:
        """Yields the answer's text as it is generated; afterwards ``job.answer`` says why it ended."""
        self._new.append(job)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        stream, streamed = TextStream(job.loaded.tokenizer, job.sampling.stop), 0
        try:
            while True:
                await job.progress.get()
                answer = job.answer
                if failure := job.failure or (answer and answer.failure):
                    raise failure
                assert answer is not None
                # Read once: the thread may add a token meanwhile.
                count, finish_reason = len(answer.tokens), answer.finish_reason
                text, streamed = stream.add(answer.tokens[streamed:count]), count
                if stream.stopped:
                    # The generator drops the answer at its next step.
                    answer.finish_reason = finish_reason = "stop"
                if text:
                    yield text
                if finish_reason is not None:
                    break
            if rest := stream.finish():
                yield rest
        finally:
            # Reached too when a client has gone, for which nothing more is to be generated.
            job.abandoned = True
            if job.answer is not None and job.answer.finish_reason is None:
                job.answer.finish_reason = "cancelled"

    async def _run(self) -> None:
        """Generates for as long as there are jobs."""
        loop = asyncio.get_running_loop()
        while self._new or self._jobs:
            new, self._new = [job for job in self._new if not job.abandoned], []
            self._jobs += new
            try:
                advanced = await loop.run_in_executor(self._thread, self._step, new)
            except BaseException as error:
                self._fail(error)
                raise
            # Jobs that this step has ended leave the list, but still get word of their last token.
            jobs, self._jobs = self._jobs, [job for job in self._jobs if not job.over]
            for job in jobs:
                if job.failure is not None or id(job.answer) in advanced:
                    job.progress.put_nowait(None)

    def _step(self, new: list[GenerationJob]) -> set[int]:
        """Submits the new jobs and takes a step, in the thread. Returns the ids of the answers that got a token, or
        failed; a job that can't be submitted fails alone.
        """
        for job in new:
            try:
                job.answer = self.generator.submit(job.loaded, job.prompt, job.sampling)
            except Exception as error:
                job.failure = error
        return {id(answer) for answer in self.generator.step()}

    def _fail(self, error: BaseException) -> None:
        """Fails all jobs, so that nobody waits for ever; later jobs get a generator without unfinished answers.

        The errors of single answers don't come here, only those of the generator itself.
        """
        jobs, self._jobs, self._new = [*self._jobs, *self._new], [], []
        self.generator = Generator(self.generator.max_concurrent)
        for job in jobs:
            job.failure = error
            job.progress.put_nowait(None)


async def generate_all(engine: Engine, jobs: Sequence[GenerationJob]) -> list[str]:
    """The texts of several answers; if one fails, or the caller is cancelled, all of them are given up.

    Raises what the first of them failed with.
    """

    async def whole(job: GenerationJob) -> str:
        return "".join([text async for text in engine.stream(job)])

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(whole(job)) for job in jobs]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def stream_all(
    engine: Engine, jobs: Sequence[GenerationJob]
) -> AsyncIterator[tuple[int, str | None, bool]]:
    """Yields the texts of several answers as they are generated: (answer's index, text, whether it is the answer's
    first). A text of ``None`` ends an answer.
    """
    queue: asyncio.Queue[tuple[int, str | None, bool] | BaseException] = asyncio.Queue()

    async def follow(index: int, job: GenerationJob) -> None:
        try:
            queue.put_nowait((index, "", True))
            async for text in engine.stream(job):
                queue.put_nowait((index, text, False))
            queue.put_nowait((index, None, False))
        except Exception as error:
            # Raised in its own task it would only be logged; through the queue it ends the stream.
            queue.put_nowait(error)

    tasks = [asyncio.create_task(follow(index, job)) for index, job in enumerate(jobs)]
    try:
        unfinished = len(jobs)
        while unfinished:
            event = await queue.get()
            if isinstance(event, BaseException):
                raise event
            unfinished -= event[1] is None
            yield event
    finally:
        for task in tasks:
            task.cancel()
