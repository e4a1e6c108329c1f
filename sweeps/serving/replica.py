"""One replica of the API: the models in memory, and what it answers to whom.

Annotations are not put off here: FastAPI reads them.
"""

import atexit
import hmac
import json
import logging
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from ray import serve
from starlette.exceptions import HTTPException

from sweeps.serving.engine import Engine, GenerationJob, generate_all, stream_all
from sweeps.serving.openai_api import ApiError, ChatRequest, CompletionRequest, ResponseBuilder, usage
from trainables.inference.generator import PromptTooLong, prompt_tokens, remaining_tokens
from trainables.inference.model_pool import LoadedModel
from trainables.templates import TemplateError

MOST_BYTES = 4 * 2**20  # of a request
app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)


@dataclass(frozen=True)
class ReplicaConfig:
    """What a replica serves: ``models`` (its name in requests, and the result, as ``named.resolve`` takes it).

    ``most`` answers are generated at a time, ``waiting`` more may wait; ``most_tokens`` is the longest answer. Without
    ``key`` whoever reaches it may ask.
    """

    models: tuple[tuple[str, str], ...]
    key: str | None = None
    most: int = 32
    waiting: int = 128
    most_tokens: int = 1024
    cpus: int = 1
    template: str | None = None
    trust: tuple[str, ...] = ()


@app.middleware("http")
async def _guarded(request: Request, call_next: Any) -> Any:
    if int(request.headers.get("content-length") or 0) > MOST_BYTES:
        return _shown(ApiError(f"a request has at most {MOST_BYTES} bytes", 413))
    return await call_next(request)


@app.exception_handler(ApiError)
async def _refused(request: Request, error: ApiError) -> JSONResponse:
    return _shown(error)


@app.exception_handler(RequestValidationError)
async def _misread(request: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    param = ".".join(str(part) for part in first["loc"] if part != "body") or None
    said = {"extra_forbidden": "this is not supported here"}.get(first["type"], first["msg"])
    return _shown(ApiError(f"{param}: {said}" if param else said, param=param))


@app.exception_handler(HTTPException)
async def _elsewhere(request: Request, error: HTTPException) -> JSONResponse:
    return _shown(ApiError(f"{request.method} {request.url.path}: {error.detail}", error.status_code))


@app.exception_handler(Exception)
async def _failed(request: Request, error: Exception) -> JSONResponse:
    logging.getLogger("ray.serve").exception("a request failed", exc_info=error)
    return _shown(_unexpected(error))


def _unexpected(error: BaseException) -> ApiError:
    """No trace, and no text of an error that may hold anything: both are in the server's log."""
    return ApiError(f"the server failed ({type(error).__name__}); its log says how", 500, "server_error")


def _shown(error: ApiError) -> JSONResponse:
    return JSONResponse(error.body, error.status)


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def _tokens(loaded: LoadedModel, prompt: str | list[int]) -> list[int]:
    vocabulary = len(loaded.tokenizer)
    tokens = loaded.tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else prompt
    if not tokens or not all(0 <= token < vocabulary for token in tokens):
        raise ApiError(f"a prompt has tokens from 0 to {vocabulary - 1}, one or more", param="prompt")
    return list(tokens)


def _reason(job: GenerationJob) -> str:
    return (job.answer and job.answer.finish_reason) or "stop"


def _usage(prompts: Sequence[Sequence[int]], jobs: Sequence[GenerationJob]) -> dict[str, int]:
    return usage(sum(map(len, prompts)), sum(len(job.answer.tokens) for job in jobs if job.answer))


def _listen_to_nobody_else() -> None:
    """Keeps a replica's own gRPC server to a socket that only its owner can open.

    Ray Serve opens it on all interfaces, once a replica is made, and it asks nobody for a token; requests come by Ray.
    """
    from ray.serve._private import replica

    folder, add = tempfile.mkdtemp(prefix="paretune-"), replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: add(server, f"unix:{folder}/grpc")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _loaded(served: ReplicaConfig) -> dict[str, LoadedModel]:
    from sweeps.runs.resolve import resolve
    from trainables.inference.model_pool import ModelPool

    pool = ModelPool()
    return {
        name: pool.load(resolve(text, lambda run: [], served.trust, served.template))
        for name, text in served.models
    }


# Last of all here: Ray Serve pickles the application while this class is made, with what there is by then.
@serve.deployment
@serve.ingress(app)
class Api:
    """Loads the models, then answers."""

    def __init__(self, served: ReplicaConfig) -> None:
        import torch

        from trainables.system import quiet

        quiet.silence()
        _listen_to_nobody_else()
        if not torch.cuda.is_available():
            torch.set_num_threads(served.cpus)
        self.served, self.engine, self.began = served, Engine(served.most), int(time.time())
        self.loaded = _loaded(served)

    @app.get("/health")
    async def health(self) -> dict[str, Any]:
        """Whether it answers; asks for no key."""
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models(self, request: Request) -> dict[str, Any]:
        self._let_in(request)
        data = [
            {"id": name, "object": "model", "created": self.began, "owned_by": "paretune"}
            for name in self.loaded
        ]
        return {"object": "list", "data": data}

    @app.post("/v1/chat/completions")
    async def chat(self, request: Request, asked: ChatRequest) -> Any:
        self._let_in(request)
        loaded = self._model(asked.model)
        try:
            prompt = prompt_tokens(loaded, [each.message() for each in asked.messages])
        except TemplateError as error:
            raise ApiError(str(error), param="messages") from None
        return await self._answer(asked, loaded, [prompt], ResponseBuilder(asked.model, chat=True))

    @app.post("/v1/completions")
    async def complete(self, request: Request, asked: CompletionRequest) -> Any:
        self._let_in(request)
        loaded = self._model(asked.model)
        prompts = [_tokens(loaded, prompt) for prompt in asked.prompts()]
        return await self._answer(asked, loaded, prompts, ResponseBuilder(asked.model, chat=False))

    def _let_in(self, request: Request) -> None:
        if self.served.key is None:
            return
        given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not hmac.compare_digest(given.encode(), self.served.key.encode()):
            wrong = "the API key is wrong" if given else "give the API key: Authorization: Bearer KEY"
            raise ApiError(wrong, 401, "authentication_error", code="invalid_api_key")

    def _model(self, name: str) -> LoadedModel:
        if name not in self.loaded:
            there = ", ".join(self.loaded)
            raise ApiError(
                f"there is no model {name!r}; there is {there}", 404, param="model", code="model_not_found"
            )
        return self.loaded[name]

    async def _answer(
        self, asked: ChatRequest | CompletionRequest, loaded: LoadedModel, prompts: list[list[int]], head: ResponseBuilder
    ) -> Any:
        jobs = [
            GenerationJob(loaded, prompt, asked.sampling(self.served.most_tokens, number))
            for prompt in prompts
            for number in range(asked.n)
        ]
        self._refuse(jobs)
        if asked.stream:
            events = self._events(jobs, head, asked.counts_at_the_end)
            return StreamingResponse(events, media_type="text/event-stream")
        texts = await generate_all(self.engine, jobs)
        return head.whole(texts, [_reason(job) for job in jobs], _usage(prompts, jobs))

    def _refuse(self, jobs: Sequence[GenerationJob]) -> None:
        if self.engine.count + len(jobs) > self.served.most + self.served.waiting:
            raise ApiError(
                "too many requests wait; ask again later", 429, "rate_limit_error", code="rate_limit_exceeded"
            )
        for job in jobs:
            try:
                remaining_tokens(job.loaded, job.prompt)
            except PromptTooLong as error:
                raise ApiError(str(error), code="context_length_exceeded") from None

    async def _events(self, jobs: list[GenerationJob], head: ResponseBuilder, counted: bool) -> AsyncIterator[str]:
        try:
            async for index, text, first in stream_all(self.engine, jobs):
                if text is None:
                    yield _event(head.piece(index, "", _reason(jobs[index])))
                else:
                    yield _event(head.piece(index, text, first=first))
            if counted:
                yield _event(head.counted(_usage([job.prompt for job in jobs[:1]], jobs)))
        except Exception as error:  # the head is sent, so this is the only way to say it
            logging.getLogger("ray.serve").exception("an answer failed")
            yield _event(_unexpected(error).body)
        yield "data: [DONE]\n\n"
