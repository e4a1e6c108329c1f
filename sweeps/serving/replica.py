"""One replica of the API: it holds the models in memory and answers requests.

Without ``from __future__ import annotations``: FastAPI reads the annotations.
"""

import asyncio
import atexit
import json
import logging
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from ray import serve
from starlette.exceptions import HTTPException

from sweeps.serving.access import Access
from sweeps.serving.api_error import ApiError
from sweeps.serving.classification import ClassifyRequest, classify_response
from sweeps.serving.classification_queue import ClassificationQueue
from sweeps.serving.engine import Engine, GenerationJob, generate_all, stream_all
from sweeps.serving.openai_api import ChatRequest, CompletionRequest, ResponseBuilder, usage
from sweeps.serving.request_body import read_body
from trainables.inference.classify import classify
from trainables.inference.model_pool import LoadedModel
from trainables.inference.prompts import (
    PromptError,
    PromptTooLong,
    completion_tokens,
    prompt_tokens,
    remaining_tokens,
)
from trainables.models.folder import ModelError
from trainables.system.error_place import describe
from trainables.templates import TemplateError

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)


@dataclass(frozen=True)
class ReplicaConfig:
    """What a replica serves: ``models``, each its name in requests and the result, as ``resolve`` takes it.

    At most ``max_concurrent`` answers of at most ``max_new_tokens`` tokens are generated at a time, and ``max_waiting``
    more may wait; together, that many texts may be classified or wait for it.
    """

    models: tuple[tuple[str, str], ...]
    access: Access
    max_concurrent: int = 32
    max_waiting: int = 128
    max_new_tokens: int = 1024
    cpus: int = 1
    template: str | None = None
    trust: tuple[str, ...] = ()


@app.exception_handler(ApiError)
async def _on_api_error(request: Request, error: ApiError) -> JSONResponse:
    return _response(error)


@app.exception_handler(HTTPException)
async def _on_http_error(request: Request, error: HTTPException) -> JSONResponse:
    return _response(ApiError(f"{request.method} {request.url.path}: {error.detail}", error.status_code))


@app.exception_handler(Exception)
async def _on_failure(request: Request, error: Exception) -> JSONResponse:
    return _response(_server_error(error, f"{request.method} {request.url.path}"))


def _server_error(error: BaseException, request: str) -> ApiError:
    """An error without stack trace or message, which might hold private data; the server's log has both, and the place,
    under the name of the ``request``.
    """
    logging.getLogger("ray.serve").error("%s failed: %s", request, describe(error), exc_info=error)
    message = f"the server failed ({type(error).__name__}); its log says how under {request}"
    return ApiError(message, 500, "server_error")


def _too_many() -> ApiError:
    what = "too many requests wait; ask again later"
    return ApiError(what, 429, "rate_limit_error", code="rate_limit_exceeded")


def _response(error: ApiError) -> JSONResponse:
    return JSONResponse(error.body, error.status)


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def _finish_reason(job: GenerationJob) -> str:
    return (job.answer and job.answer.finish_reason) or "stop"


def _usage(prompts: Sequence[Sequence[int]], jobs: Sequence[GenerationJob]) -> dict[str, int]:
    return usage(sum(map(len, prompts)), sum(len(job.answer.tokens) for job in jobs if job.answer))


def _close_grpc_port() -> None:
    """Binds the replica's own gRPC server to a socket file that only this user can open.

    Ray Serve binds it to all interfaces when a replica is created, and it accepts calls without a token. Requests reach
    the replica through Ray, so that nothing needs the port.
    """
    from ray.serve._private import replica

    # mkdtemp: only the owner may enter the folder.
    folder, add = tempfile.mkdtemp(prefix="paretune-"), replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: add(server, f"unix:{folder}/grpc")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _load_models(config: ReplicaConfig) -> dict[str, LoadedModel]:
    from sweeps.runs.resolve import resolve
    from trainables.inference.model_pool import ModelPool

    pool = ModelPool()
    return {
        # No best trials: the names that a replica gets mean a single model each. Errors name a model as clients do,
        # who need not know the folders of this machine.
        name: pool.load(replace(resolve(text, lambda run: [], config.trust, config.template), name=name))
        for name, text in config.models
    }


# Last in this file: when this class is created, Ray Serve pickles the application with what is defined by then.
@serve.deployment
@serve.ingress(app)
class Api:
    """Loads the models, then answers requests."""

    def __init__(self, config: ReplicaConfig) -> None:
        import torch

        from trainables.system import quiet

        quiet.silence()
        _close_grpc_port()
        if not torch.cuda.is_available():
            torch.set_num_threads(config.cpus)
        self.config, self.engine = config, Engine(config.max_concurrent)
        self.encoding = ThreadPoolExecutor(1)  # one thread, as tokenizers aren't safe for several
        self.classifying = ClassificationQueue(config.max_concurrent + config.max_waiting)
        self.started_at = int(time.time())
        self.loaded = _load_models(config)

    async def limits(self) -> list[str]:
        """What makes models slower than others, a sentence for each that has something to say."""
        found = {
            name: loaded.shared.policy.generates.limits
            for name, loaded in self.loaded.items()
            if loaded.result.generates_text
        }
        return [f"{name} {what}" for name, what in found.items() if what]

    @app.get("/health")
    async def health(self) -> dict[str, Any]:
        """Whether the replica answers; needs no key."""
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models(self, request: Request) -> dict[str, Any]:
        self.config.access.check(request)
        data = [
            {"id": name, "object": "model", "created": self.started_at, "owned_by": "paretune"}
            for name in self.loaded
        ]
        return {"object": "list", "data": data}

    @app.post("/v1/chat/completions")
    async def chat(self, request: Request) -> Any:
        self.config.access.check(request)
        body = await read_body(request, ChatRequest)
        messages = [each.message() for each in body.messages]
        encode = [partial(prompt_tokens, self._generator(body.model), messages)]
        return await self._answer(body, encode, "messages", ResponseBuilder(body.model, chat=True))

    @app.post("/v1/completions")
    async def complete(self, request: Request) -> Any:
        self.config.access.check(request)
        body = await read_body(request, CompletionRequest)
        loaded = self._generator(body.model)
        self._check_capacity(len(body.prompt) * body.n)
        encode = [
            partial(completion_tokens, loaded, prompt, number) for number, prompt in enumerate(body.prompt)
        ]
        return await self._answer(body, encode, "prompt", ResponseBuilder(body.model, chat=False))

    @app.post("/classify")
    @app.post("/v1/classify")
    async def classify(self, request: Request) -> Any:
        self.config.access.check(request)
        body = await read_body(request, ClassifyRequest)
        loaded = self._model(body.model)
        if not loaded.result.classifies:
            what = f"{body.model} is no classifier; ask it for chat completions or completions"
            raise ApiError(what, param="model")
        conversations = body.conversations()
        if not self.classifying.has_room(len(conversations)):
            raise _too_many()
        try:
            found = await self.classifying.run(len(conversations), partial(classify, loaded, conversations))
        except TemplateError as error:
            raise ApiError(str(error), param="messages" if body.messages else "input") from None
        several = bool(getattr(loaded.result.config.stage, "multi_label", False))
        return classify_response(body.model, found, several)

    def _generator(self, name: str) -> LoadedModel:
        loaded = self._model(name)
        try:
            loaded.result.require_text_generation()
        except ModelError as error:
            raise ApiError(str(error), param="model") from None
        return loaded

    def _model(self, name: str) -> LoadedModel:
        if name not in self.loaded:
            names = ", ".join(self.loaded)
            raise ApiError(
                f"there is no model {name!r}; there is {names}", 404, param="model", code="model_not_found"
            )
        return self.loaded[name]

    async def _answer(
        self,
        body: ChatRequest | CompletionRequest,
        encode: Sequence[Callable[[], list[int]]],
        param: str,
        builder: ResponseBuilder,
    ) -> Any:
        """Answers the prompts whose tokens ``encode`` gives, from the request's field ``param``."""
        loaded = self._model(body.model)
        self._check_capacity(len(encode) * body.n)
        try:
            # Not in the event loop: rendering and tokenizing a long text takes seconds.
            loop = asyncio.get_running_loop()
            prompts = await loop.run_in_executor(self.encoding, lambda: [each() for each in encode])
            for prompt in prompts:
                remaining_tokens(loaded, prompt)
        except PromptTooLong as error:
            raise ApiError(str(error), code="context_length_exceeded") from None
        except (PromptError, TemplateError) as error:
            raise ApiError(str(error), param=param) from None
        # The answers to the first prompt come first, which gives the index of each choice its meaning.
        jobs = [
            GenerationJob(loaded, prompt, body.sampling(self.config.max_new_tokens, number))
            for prompt in prompts
            for number in range(body.n)
        ]
        # Again, because others may have come meanwhile; a stream's status can't be changed once it has begun.
        self._check_capacity(len(jobs))
        if body.stream:
            usage_of = prompts if body.streams_usage else None
            events = self._events(jobs, builder, usage_of)
            return StreamingResponse(events, media_type="text/event-stream")
        try:
            texts = await generate_all(self.engine, jobs)
        except Exception as error:
            raise _server_error(error, builder.name) from None
        return builder.response(texts, [_finish_reason(job) for job in jobs], _usage(prompts, jobs))

    def _check_capacity(self, count: int) -> None:
        if self.engine.count + count > self.config.max_concurrent + self.config.max_waiting:
            raise _too_many()

    async def _events(
        self, jobs: list[GenerationJob], builder: ResponseBuilder, usage_of: list[list[int]] | None
    ) -> AsyncIterator[str]:
        """The events of a streamed response; the last one has the numbers of tokens in the prompts ``usage_of``."""
        try:
            async for index, text, first in stream_all(self.engine, jobs):
                if text is None:
                    yield _event(builder.chunk(index, "", _finish_reason(jobs[index])))
                else:
                    yield _event(builder.chunk(index, text, first=first))
            if usage_of is not None:
                yield _event(builder.usage_chunk(_usage(usage_of, jobs)))
        except Exception as error:  # the status is sent already, so the stream has to tell
            yield _event(_server_error(error, builder.name).body)
        yield "data: [DONE]\n\n"
