"""`paretune serve`: what OpenAI's own client gets, and the errors of wrong requests."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from openai import OpenAI, RateLimitError
from openai.types import completion_create_params as completion_params
from openai.types.chat import completion_create_params as chat_params
from pydantic import ValidationError
from ray.exceptions import RayActorError
from starlette.requests import Request
from transformers import AutoModelForCausalLM

from reports.analysis.recommendation.best_trials import recommended_trials
from sweeps.runs.resolve import resolve
from sweeps.serving.access import Access, is_loopback
from sweeps.serving.api_error import ApiError
from sweeps.serving.engine import Engine, GenerationJob, generate_all
from sweeps.serving.openai_api import ChatRequest, CompletionRequest
from sweeps.serving.options import ServeError, ServeOptions, model_names, portable_name, read_key
from sweeps.serving.request_body import MAX_VALUES, read_body
from sweeps.serving.server import LOG_NAME, _log, _start_errors
from tests.helpers.clusters import free_port
from tests.helpers.small_runs import make_run, trial_id_of
from tests.helpers.tiny_model import make_model
from trainables.inference.generator import stream_answer
from trainables.inference.model_pool import LoadedModel, ModelPool
from trainables.inference.prompts import UnknownToken, prompt_tokens
from trainables.inference.sampling import Sampling

KEY = "a-key-of-the-test"
HELLO = [{"role": "user", "content": "wake me at 7"}]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    return make_run(tmp_path_factory.mktemp("serve"), tiny_model, (None, "lora", "full"))


# Without a server


def test_models_are_named_after_their_results_or_as_given() -> None:
    assert model_names(["best=runs/a", "runs/a:sft-full", "hf:org/a=b"]) == [
        ("best", "runs/a"),
        ("runs/a:sft-full", "runs/a:sft-full"),
        ("hf:org/a=b", "hf:org/a=b"),
    ]
    with pytest.raises(ServeError, match="two results are called best"):
        model_names(["best=runs/a", "best=runs/b"])


def test_a_portable_name_means_the_same_result_on_every_machine(run: Path) -> None:
    trial = trial_id_of(run, "sft-lora")
    for text, expected in (
        (f"{run}:sft-lora", run / "trials" / trial / "model"),
        (f"{run}:{trial}@2", run / "trials" / trial / "checkpoint-2"),
        (f"{run}:sft-base", f"{run}:sft-base"),
        ("smollm2-135m", "smollm2-135m"),
    ):
        name = portable_name(text, resolve(text, recommended_trials))
        assert name == str(expected)
        assert (
            resolve(name, lambda run: []).trained_folder == resolve(text, recommended_trials).trained_folder
        )


def test_an_address_that_others_can_reach_needs_a_key(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "10.0.0.7", "::"):
        with pytest.raises(ServeError, match="set PARETUNE_API_KEY, or give --api-key-file"):
            ServeOptions(host=host).require_key(None)
        ServeOptions(host=host).require_key(KEY)
    ServeOptions().require_key(None)
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert read_key(tmp_path / "key", "another") == KEY
    assert read_key(None, "another") == "another"
    (tmp_path / "empty").write_text("\n")
    for path, message in ((tmp_path / "empty", "is empty"), (tmp_path / "none", "No such file")):
        with pytest.raises(ServeError, match=message):
            read_key(path, None)


def request_with(**headers: str) -> Request:
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": encoded})


@pytest.mark.parametrize("given", [f"Bearer {KEY}é", f"bearer {KEY}é", f"BEARER   {KEY}é "])
def test_a_key_is_accepted_whatever_the_case_of_its_scheme(given: str) -> None:
    Access(f"{KEY}é").check(request_with(authorization=given))


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer ", KEY, f"Basic {KEY}", f"Bearer {KEY}x", "Bearer é"]
)
def test_a_request_without_the_key_is_refused_in_words(given: str) -> None:
    with pytest.raises(ApiError, match="API key") as error:
        Access(KEY).check(request_with(authorization=given))
    assert error.value.status == 401


def test_without_a_key_only_requests_that_name_this_machine_are_answered() -> None:
    """A web page whose name was made to mean 127.0.0.1 is of the same origin as the server (DNS rebinding)."""
    assert ServeOptions().needs_loopback_names(None)
    assert not ServeOptions().needs_loopback_names(KEY)
    assert not ServeOptions(host="10.0.0.7").needs_loopback_names(KEY)
    access = Access(None, loopback_names_only=True)
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.8.0.1", "[::1]:8000", "localhost."):
        access.check(request_with(host=host))
    for host in (
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.7",
        "[::2]",
        "",
    ):
        with pytest.raises(ApiError, match=r"localhost or 127\.0\.0\.1"):
            access.check(request_with(host=host))
        assert not is_loopback(host)


def test_a_request_sets_how_its_answer_is_sampled() -> None:
    request = ChatRequest.model_validate(
        {
            "model": "m",
            "messages": HELLO,
            "max_completion_tokens": 7,
            "temperature": 0,
            "stop": "x",
            "seed": 3,
        }
    )
    assert request.sampling(100) == Sampling(7, 0.0, seed=3, stop=("x",))
    assert request.sampling(5, 1) == Sampling(5, 0.0, seed=4, stop=("x",))
    assert CompletionRequest.model_validate({"model": "m", "prompt": "a"}).sampling(100).max_new_tokens == 16


def test_a_developer_message_is_a_system_message_and_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    request = ChatRequest.model_validate(
        {"model": "m", "messages": [{"role": "developer", "content": parts}, *HELLO]}
    )
    assert request.messages[0].message() == {"role": "system", "content": "ab"}


@pytest.fixture(scope="module")
def loaded(run: Path) -> list[LoadedModel]:
    pool = ModelPool()
    return [
        pool.load(resolve(f"{run}:{cell}", recommended_trials))
        for cell in ("sft-base", "sft-lora", "sft-full")
    ]


def test_concurrent_requests_are_answered_each_by_its_own_result(loaded: list[LoadedModel]) -> None:
    sampling = Sampling(max_new_tokens=6)
    prompts = {id(each): prompt_tokens(each, HELLO) for each in loaded}
    alone = ["".join(stream_answer(each, prompts[id(each)], sampling)) for each in loaded]

    async def ask() -> list[str]:
        return await generate_all(
            Engine(8), [GenerationJob(each, prompts[id(each)], sampling) for each in loaded]
        )

    assert asyncio.run(ask()) == alone


def test_an_abandoned_answer_is_cancelled(loaded: list[LoadedModel]) -> None:
    async def ask() -> Engine:
        engine = Engine(8)
        job = GenerationJob(
            loaded[0], prompt_tokens(loaded[0], HELLO), Sampling(max_new_tokens=200, temperature=1, seed=0)
        )
        async for _ in engine.stream(job):
            break
        job.abandoned = True
        for _ in range(100):
            if engine.count == 0:
                break
            await asyncio.sleep(0.05)
        return engine

    engine = asyncio.run(ask())
    assert (engine.count, engine.generator.count) == (0, 0)


def test_a_failure_ends_only_the_answers_in_progress(
    loaded: list[LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> str:
        engine = Engine(8)
        job = GenerationJob(loaded[0], prompt_tokens(loaded[0], HELLO), Sampling(max_new_tokens=4))
        with monkeypatch.context() as broken:
            broken.setattr(engine.generator, "step", lambda: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await generate_all(engine, [job])
        again = GenerationJob(loaded[0], job.prompt, job.sampling)
        return (await generate_all(engine, [again]))[0]

    expected = "".join(stream_answer(loaded[0], prompt_tokens(loaded[0], HELLO), Sampling(max_new_tokens=4)))
    assert asyncio.run(ask()) == expected


def test_a_request_that_cannot_be_prepared_fails_alone(loaded: list[LoadedModel]) -> None:
    prompt, sampling = prompt_tokens(loaded[0], HELLO), Sampling(max_new_tokens=4)

    async def ask() -> list[Any]:
        engine = Engine(8)
        wrong = [5, 10**6]  # checked before a request comes here, unless the check itself is wrong
        jobs = [GenerationJob(loaded[0], each, sampling) for each in (prompt, wrong, prompt)]
        answers = [generate_all(engine, [job]) for job in jobs]
        return await asyncio.gather(*answers, return_exceptions=True)

    first, wrong, last = asyncio.run(ask())
    assert first == last == ["".join(stream_answer(loaded[0], prompt, sampling))]
    assert isinstance(wrong, UnknownToken)


NEUTRAL_CHAT: dict[str, Any] = {
    "audio": None, "function_call": "none", "functions": [], "logit_bias": {}, "logprobs": False, "top_logprobs": 0,
    "metadata": {"a": "b"}, "modalities": ["text"], "n": 1, "parallel_tool_calls": True, "prediction": None,
    "presence_penalty": 0, "frequency_penalty": 0.0, "reasoning_effort": None, "response_format": {"type": "text"},
    "seed": -1, "service_tier": "auto", "stop": [], "store": False, "stream": False, "stream_options": {},
    "tool_choice": "none", "tools": [], "top_p": 1, "user": "ada", "verbosity": "medium", "web_search_options": None,
    "max_tokens": -1, "best_of": 1, "top_k": -1, "min_p": 0, "repetition_penalty": 1.0, "length_penalty": 1,
    "stop_token_ids": [], "ignore_eos": False, "min_tokens": 0, "skip_special_tokens": True, "bad_words": [],
    "use_beam_search": False, "chat_template_kwargs": {}, "chat_template": "", "documents": [], "echo": False,
    "add_generation_prompt": True, "continue_final_message": False, "add_special_tokens": False,
    "include_reasoning": True, "guided_json": None, "structured_outputs": {}, "prompt_logprobs": None, "priority": 0,
    "allowed_token_ids": None, "mm_processor_kwargs": {}, "logits_processors": [], "return_token_ids": False,
    "typical_p": 1.0, "watermark": False, "top_n_tokens": 0, "tool_prompt": "", "repeat_penalty": 1,
}  # fmt: skip
NEUTRAL_COMPLETION: dict[str, Any] = {
    "best_of": 1, "echo": False, "suffix": "", "logprobs": None, "logit_bias": {"50256": 0}, "n": 1, "stop": "",
    "top_k": 0, "user": "ada", "add_special_tokens": True, "stream_options": None, "max_tokens": None,
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), NEUTRAL_CHAT.items(), ids=str)
def test_a_chat_setting_at_its_neutral_value_changes_nothing(name: str, value: Any) -> None:
    request = {"model": "m", "messages": HELLO}
    plain, neutral = (ChatRequest.model_validate(body) for body in (request, {**request, name: value}))
    assert neutral.sampling(100) == plain.sampling(100)


@pytest.mark.parametrize(("name", "value"), NEUTRAL_COMPLETION.items(), ids=str)
def test_a_completion_setting_at_its_neutral_value_changes_nothing(name: str, value: Any) -> None:
    request = {"model": "m", "prompt": "a"}
    plain, neutral = (CompletionRequest.model_validate(body) for body in (request, {**request, name: value}))
    assert (neutral.prompt, neutral.sampling(100)) == (["a"], plain.sampling(100))


@pytest.mark.parametrize("kind", ["chat", "completion"])
def test_null_is_accepted_for_every_optional_field_of_openais_client(kind: str) -> None:
    if kind == "chat":
        names, needed = chat_params.CompletionCreateParamsBase.__annotations__, {"messages": HELLO}
    else:
        names, needed = completion_params.CompletionCreateParamsBase.__annotations__, {"prompt": "a"}
    request = {**dict.fromkeys(names), "model": "m", **needed}
    (ChatRequest if kind == "chat" else CompletionRequest).model_validate(request)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", [{"type": "function"}]), ("tool_choice", "required"), ("response_format", {"type": "json_object"}),
        ("logprobs", True), ("top_logprobs", 3), ("logit_bias", {"5": 1}), ("best_of", 2), ("min_p", 0.1),
        ("repetition_penalty", 1.1), ("echo", True), ("store", True), ("reasoning_effort", "high"),
        ("chat_template_kwargs", {"enable_thinking": False}), ("skip_special_tokens", False), ("functions", [{}]),
        ("stop_token_ids", [5]), ("web_search_options", {}), ("modalities", ["text", "audio"]), ("think", False),
        ("guided_json", {"type": "object"}), ("ignore_eos", True), ("add_generation_prompt", False),
    ],
)  # fmt: skip
def test_a_setting_that_is_not_supported_is_refused_at_any_other_value(name: str, value: Any) -> None:
    with pytest.raises(ValidationError) as error:
        ChatRequest.model_validate({"model": "m", "messages": HELLO, name: value})
    (problem,) = error.value.errors()
    assert (problem["type"], problem["loc"]) == ("extra_forbidden", (name,))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([], "it is empty; give a text or token ids"),
        (None, "Field required"),
        ([1, "a"], "it is no text, no token ids"),
        ([True], "it is no text, no token ids"),
        ({"a": 1}, "it is no text, no token ids"),
        (["a"] * 1025, "there are 1025 prompts; a request has at most 1024"),
        ([[]] * 1_000_000, "there are 1000000 prompts"),
    ],
)
def test_a_prompt_that_is_none_is_refused_in_words(prompt: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CompletionRequest.model_validate({"model": "m", "prompt": prompt})


def test_nobody_else_reads_the_log_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path))
    (tmp_path / LOG_NAME).touch(mode=0o644)  # of an earlier version
    with _log() as log:
        log.write("a prompt\n")
    assert (tmp_path / LOG_NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("error", [RayActorError(), TimeoutError("HTTP proxies not available after 60s.")])
def test_a_proxy_that_does_not_start_is_said_in_a_sentence(error: Exception) -> None:
    with pytest.raises(ServeError, match="Ray Serve could not start its proxy") as refused, _start_errors():
        raise error
    assert str(error).partition("\n")[0] in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_client_that_leaves_within_its_request_is_no_failure_of_the_server() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "headers": [(b"content-type", b"application/json")]}
    with pytest.raises(ApiError, match="the client left"):
        asyncio.run(read_body(Request(scope, receive), ChatRequest))


def request_of(body: bytes) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "headers": [(b"content-type", b"application/json")]}
    return Request(scope, receive)


@pytest.mark.parametrize(
    "prompt",
    [
        b"[" + b",".join([b'""'] * (MAX_VALUES + 1)) + b"]",
        b"[[" + b",".join([b"1"] * (MAX_VALUES + 1)) + b"]]",
        b"[" * MAX_VALUES,
        b'[{"a":"' + b'b","a":"' * (MAX_VALUES // 2) + b'"}]',
        b'"\\\\"' + b",1" * MAX_VALUES + b'"',  # a text that is no longer one after its first quote
    ],
    ids=["texts", "tokens", "lists", "fields", "behind a text"],
)
def test_a_request_of_more_values_than_a_parser_reads_in_a_moment_is_refused(prompt: bytes) -> None:
    body = b'{"model": "m", "prompt": ' + prompt + b"}"
    with pytest.raises(ApiError, match=f"at most {MAX_VALUES} values"):
        asyncio.run(read_body(request_of(body), CompletionRequest))


@pytest.mark.parametrize(
    "text",
    [",[{:" * MAX_VALUES, "\\" * MAX_VALUES + ",:" * MAX_VALUES, '",' * MAX_VALUES, '\\",:' * MAX_VALUES],
    ids=["marks", "backslashes", "quotes", "both"],
)
def test_marks_within_a_text_are_no_values(text: str) -> None:
    body = json.dumps({"model": "m", "prompt": text}).encode()
    assert asyncio.run(read_body(request_of(body), CompletionRequest)).prompt == [text]


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": [1] * 5_000},
        {"messages": [{"role": "user"}] * 5_000},
        {"messages": [{"role": "user", "content": [1] * 5_000}]},
        {"messages": [{"role": "user", "content": [1] * 1_000}] * 4},
        {"stop": [1] * 5_000},
        {f"field{number}": 1 for number in range(5_000)},
    ],
)
def test_a_request_with_many_errors_is_refused_for_the_first_of_them(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        ChatRequest.model_validate({"model": "m", "messages": HELLO, **changes})
    assert refused.value.error_count() < 2_000


def test_a_message_is_refused_whose_calls_would_be_left_out() -> None:
    calls = [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]
    answer = {"role": "assistant", "content": None, "tool_calls": calls}
    with pytest.raises(ValidationError, match="tool_calls of a message is not supported"):
        ChatRequest.model_validate({"model": "m", "messages": [*HELLO, answer, *HELLO]})
    empty = {"role": "assistant", "content": "yes", "tool_calls": None, "refusal": None, "annotations": []}
    ChatRequest.model_validate({"model": "m", "messages": [*HELLO, empty, *HELLO]})


# With one


@dataclass
class Server:
    process: subprocess.Popen[str]
    base: str
    log: Path

    def client(self, key: str = KEY) -> OpenAI:
        return OpenAI(base_url=f"{self.base}/v1", api_key=key, max_retries=0)

    def post(self, path: str, content: Any, key: str | None = KEY) -> httpx.Response:
        text = content if isinstance(content, str) else json.dumps(content)
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        return httpx.post(f"{self.base}{path}", content=text, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose logits are no numbers, so that no token can be drawn."""
    folder = make_model(tmp_path_factory.mktemp("broken"))
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.model.norm.weight.data.fill_(float("nan"))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(run: Path, broken: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port, home = free_port(), tmp_path_factory.mktemp("home")
    temporary = Path(tempfile.mkdtemp(prefix="pt-", dir="/tmp"))  # a short path, for Ray's sockets
    arguments = [f"base={run}:sft-base", f"lora={run}:sft-lora", f"full={run}:sft-full", f"broken={broken}"]
    options = ["--port", str(port), "--most", "4", "--waiting", "4", "--max-new-tokens", "64"]
    process = subprocess.Popen(
        [sys.executable, "-m", "sweeps.cli", "serve", *arguments, *options],
        env={**os.environ, "PARETUNE_API_KEY": KEY, "PARETUNE_HOME": str(home), "TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    output = ""
    while "serving " not in output:
        line = process.stderr.readline()
        assert line, output
        output += line
    yield Server(process, f"http://127.0.0.1:{port}", home / "serve.log")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert list(temporary.iterdir()) == []  # nothing stays behind
    temporary.rmdir()


def until(condition: Callable[[], Any], seconds: float = 10) -> None:
    """Waits until the condition holds: Ray passes a replica's output on in its own time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def healthy(server: Server) -> bool:
    """Whether the server answers within half a second; a machine that is busy otherwise may miss that once."""
    for _ in range(3):
        started = time.monotonic()
        assert httpx.get(f"{server.base}/health", timeout=10).json() == {"status": "ok"}
        if time.monotonic() - started < 0.5:
            return True
    return False


@pytest.mark.sweep
class TestServed:
    def test_openais_client_lists_the_models(self, server: Server) -> None:
        assert [model.id for model in server.client().models.list()] == ["base", "lora", "full", "broken"]

    @pytest.mark.parametrize("name", ["base", "lora", "full"])
    def test_a_chat_is_answered_as_in_the_terminal(
        self, server: Server, loaded: list[LoadedModel], name: str
    ) -> None:
        each = loaded[["base", "lora", "full"].index(name)]
        prompt = prompt_tokens(each, HELLO)
        expected = "".join(stream_answer(each, prompt, Sampling(max_new_tokens=8)))
        response = server.client().chat.completions.create(
            model=name,
            messages=HELLO,  # type: ignore[arg-type]
            max_tokens=8,
            temperature=0,
        )
        (choice,) = response.choices
        assert choice.message.content == expected
        assert response.usage is not None
        assert (response.usage.prompt_tokens, response.usage.completion_tokens <= 8) == (len(prompt), True)

    def test_a_streamed_answer_is_the_same_text_with_its_token_counts_last(self, server: Server) -> None:
        request: dict[str, Any] = {"model": "lora", "messages": HELLO, "max_tokens": 8, "temperature": 0}
        client = server.client().chat.completions
        whole = client.create(**request).choices[0]
        parts = list(client.create(**request, stream=True, stream_options={"include_usage": True}))
        assert "".join(p.choices[0].delta.content or "" for p in parts if p.choices) == whole.message.content
        assert [p.choices[0].finish_reason for p in parts if p.choices][-1] == whole.finish_reason
        assert parts[0].choices[0].delta.role == "assistant"
        assert parts[-1].usage is not None
        assert not parts[-1].choices

    def test_the_token_counts_of_a_streamed_answer_are_those_of_all_prompts(self, server: Server) -> None:
        request: dict[str, Any] = {
            "model": "base",
            "prompt": ["wake me", "stop it now"],
            "max_tokens": 4,
            "n": 2,
        }
        client = server.client().completions
        whole = client.create(**request, temperature=0).usage
        options = {"include_usage": True}
        parts = list(client.create(**request, temperature=0, stream=True, stream_options=options))
        assert parts[-1].usage == whole

    def test_settings_at_their_neutral_values_are_accepted_all_together(self, server: Server) -> None:
        plain = {"model": "lora", "messages": HELLO, "max_completion_tokens": 6, "temperature": 0}
        texts = [
            server.post("/v1/chat/completions", body).json()["choices"][0]["message"]["content"]
            for body in (plain, {**plain, **NEUTRAL_CHAT})
        ]
        assert texts[0] == texts[1]
        completion = {"model": "lora", "prompt": "wake me", "max_tokens": 4, **NEUTRAL_COMPLETION}
        assert server.post("/v1/completions", completion).status_code == 200

    def test_requests_that_never_end_hold_up_no_other(self, server: Server) -> None:
        with ExitStack() as stack:
            address = ("127.0.0.1", int(server.base.rpartition(":")[2]))
            for _ in range(300):
                connection = stack.enter_context(socket.create_connection(address))
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0")
            assert healthy(server)

    @pytest.mark.parametrize("stream", [False, True])
    def test_an_error_belongs_to_its_own_request_and_the_log_says_where(
        self, server: Server, loaded: list[LoadedModel], stream: bool
    ) -> None:
        answers: list[str | None] = []

        def ask() -> None:
            response = server.client().chat.completions.create(
                model="base", messages=HELLO, max_tokens=48, temperature=0
            )
            answers.append(response.choices[0].message.content)

        thread = threading.Thread(target=ask)
        thread.start()
        request = {"model": "broken", "messages": HELLO, "temperature": 1, "stream": stream}
        failed = server.post("/v1/chat/completions", request)
        thread.join()
        assert failed.status_code == (200 if stream else 500)
        (name,) = re.findall(r"its log says how under (chatcmpl-\w+)", failed.text)
        prompt = prompt_tokens(loaded[0], HELLO)
        assert answers == ["".join(stream_answer(loaded[0], prompt, Sampling(max_new_tokens=48)))]
        expected = re.compile(
            rf"{name} \(model broken\) failed: RuntimeError: .* \(sampling.py:\d+ in _drawn\)"
        )
        until(lambda: expected.search(server.log.read_text()))

    def test_completions_continue_texts_and_token_ids(
        self, server: Server, loaded: list[LoadedModel]
    ) -> None:
        client = server.client().completions
        tokens = loaded[0].tokenizer("wake me")["input_ids"]
        response = client.create(model="base", prompt=["wake me", "stop"], max_tokens=4, temperature=0)
        same = client.create(model="base", prompt=tokens, max_tokens=4, temperature=0)
        assert len(response.choices) == 2
        assert response.choices[0].text == same.choices[0].text

    def test_a_seed_repeats_its_answers_and_several_answers_differ(self, server: Server) -> None:
        def drawn(**more: Any) -> list[str | None]:
            response = server.client().chat.completions.create(
                model="base", messages=HELLO, max_tokens=8, seed=5, n=3, **more
            )
            return [choice.message.content for choice in response.choices]

        assert drawn() == drawn()
        assert len(set(drawn())) > 1

    def test_concurrent_requests_get_the_answers_they_would_get_alone(self, server: Server) -> None:
        def ask(number: int) -> None:
            responses[number] = server.client().chat.completions.create(
                model=("base", "lora")[number % 2], messages=HELLO, max_tokens=12, temperature=0
            )

        responses: dict[int, Any] = {}
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        texts = [responses[number].choices[0].message.content for number in range(6)]
        assert len(set(texts[::2])) == len(set(texts[1::2])) == 1

    @pytest.mark.parametrize("key", ["wrong", None])
    def test_a_request_without_the_right_key_is_refused(self, server: Server, key: str | None) -> None:
        response = server.post("/v1/chat/completions", {"model": "base", "messages": HELLO}, key)
        assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
        assert server.post("/v1/chat/completions", "{no", key).status_code == 401  # the key comes first
        assert httpx.get(f"{server.base}/v1/models").status_code == 401
        assert httpx.get(f"{server.base}/health").json() == {"status": "ok"}

    @pytest.mark.parametrize(
        ("change", "status", "param", "message"),
        [
            ({"model": "gpt"}, 404, "model", "there is no model 'gpt'; there is base, lora, full, broken"),
            ({"messages": []}, 400, "messages", "at least 1 item"),
            ({"temperature": 9}, 400, "temperature", "less than or equal to 2"),
            ({"tools": [{}]}, 400, "tools", "not supported"),
            ({"logprobs": True}, 400, "logprobs", "logprobs: this is not supported here, only false is"),
            ({"stream_options": {"chunks": 1}}, 400, "stream_options", "this is not supported here"),
            ({"max_tokens": 0}, 400, "max_tokens", "greater than or equal to 1"),
            ({"top_k": 10**30}, 400, "top_k", "less than or equal to"),
            ({"top_p": 1e-300}, 400, "top_p", "greater than or equal to"),
            ({"temperature": float("nan")}, 400, "temperature", "less than or equal to 2"),
            ({"model": "\ud800"}, 400, None, "hex escape"),
            ({"messages": [{"role": "user", "content": "a\udc00"}]}, 400, None, "hex escape"),
            ({"user": ["\ud800"]}, 400, None, "hex escape"),
            (
                {"messages": [{"role": "user", "content": "x" * 10**6}]},
                400,
                None,
                "prompt has 1000000 characters",
            ),
            ({"messages": [{"role": "user", "content": "word " * 400}]}, 400, None, "takes 256"),
            ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages", "text"),
        ],
    )
    def test_the_error_of_a_wrong_request_says_what_is_wrong_without_a_stack_trace(
        self, server: Server, change: dict[str, Any], status: int, param: str | None, message: str
    ) -> None:
        response = server.post("/v1/chat/completions", {"model": "base", "messages": HELLO, **change})
        error = response.json()["error"]
        assert response.status_code == status
        assert message in error["message"]
        assert (error["param"] or "").startswith(param or "")
        assert "Traceback" not in response.text

    def test_invalid_json_unknown_paths_and_huge_requests_are_refused(self, server: Server) -> None:
        assert server.post("/v1/chat/completions", "{no").status_code == 400
        assert server.post("/v1/chat/completions", "[" * 100_000).status_code == 400
        headers = {"authorization": f"Bearer {KEY}", "content-type": "text/plain"}
        assert httpx.post(f"{server.base}/v1/completions", content="{}", headers=headers).status_code == 415
        assert server.post("/v1/embeddings", {}).json()["error"]["type"] == "invalid_request_error"
        assert server.post("/v1/completions", "x" * (5 * 2**20)).status_code == 413

    def test_a_huge_request_in_chunks_is_refused_by_what_arrives(self, server: Server) -> None:
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        url, chunks = f"{server.base}/v1/completions", (b" " * 2**17 for _ in range(48))
        assert httpx.post(url, content=chunks, headers=headers).status_code == 413
        small = iter([b'{"model": "base", ', b'"prompt": "wake", "max_tokens": 2}'])
        assert httpx.post(url, content=small, headers=headers).json()["choices"]

    @pytest.mark.parametrize(
        ("prompt", "message"),
        [
            ([], "prompt: it is empty"),
            ("", "prompt 0 is empty"),
            (["a", []], "prompt: it is no text"),
            ([[5], []], "prompt 1 is empty"),
            ([5, 10**6], "the prompt has the token 1000000; "),
            ([-1], "the prompt has the token -1; "),
        ],
    )
    def test_a_prompt_without_tokens_or_with_unknown_ones_is_refused(
        self, server: Server, prompt: Any, message: str
    ) -> None:
        response = server.post("/v1/completions", {"model": "base", "prompt": prompt})
        assert response.status_code == 400
        assert message in response.json()["error"]["message"]
        assert response.json()["error"]["param"] == "prompt"

    @pytest.mark.parametrize("key", [KEY, None])
    def test_endless_bodies_take_no_memory_and_health_is_answered_meanwhile(
        self, server: Server, key: str | None
    ) -> None:
        me = psutil.Process(server.process.pid)

        def memory() -> int:
            return sum(process.memory_info().rss for process in me.children(recursive=True))

        def attack() -> None:
            with socket.create_connection(("127.0.0.1", int(server.base.rpartition(":")[2]))) as connection:
                authorization = f"authorization: Bearer {key}\r\n" if key else ""
                head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n"
                connection.sendall(f"{head}{authorization}content-type: application/json\r\n\r\n".encode())
                with suppress(OSError):
                    for _ in range(100):
                        connection.sendall(b"100000\r\n" + b" " * 2**20 + b"\r\n")
                        sent.append(2**20)

        before, sent = memory(), list[int]()
        threads = [threading.Thread(target=attack) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert healthy(server)
        while any(thread.is_alive() for thread in threads):
            assert healthy(server)
        assert sum(sent) < 4 * 30 * 2**20  # what the sockets' buffers take beside the 4 MiB
        assert memory() - before < 100 * 2**20

    def test_health_is_answered_while_long_prompts_are_read(self, server: Server) -> None:
        bodies = [
            {"model": "base", "prompt": "wake me " * 480_000},
            {"model": "base", "prompt": ["wake me at seven " * 25_000] * 8},
            {"model": "base", "prompt": [[5] * 250_000]},
            {"model": "base", "messages": [{"role": "user", "content": "wake me at seven " * 3_500}] * 64},
        ]
        statuses: list[int] = []

        def ask(body: dict[str, Any]) -> None:
            path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
            statuses.append(server.post(path, body).status_code)

        threads = [threading.Thread(target=ask, args=(body,)) for body in bodies]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert healthy(server)
        assert statuses == [400] * 4

    def test_health_is_answered_during_requests_that_are_refused_or_almost_are(self, server: Server) -> None:
        chat: dict[str, Any] = {"model": "base", "messages": HELLO, "max_tokens": 12}
        surrogates = [{"role": "user", "content": "a\udc00" * 500_000}]
        bodies: list[tuple[str, Any, int]] = [
            ("/v1/completions", '{"model": "base", "prompt": ' + "[" * 100_000, 400),
            ("/v1/completions", {"model": "base", "prompt": [""] * (MAX_VALUES + 1)}, 413),
            ("/v1/completions", {"model": "base", "prompt": [[1] * (MAX_VALUES - 9)]}, 400),
            ("/v1/completions", {"model": "base", "prompt": ["a"] * (MAX_VALUES - 9)}, 400),
            ("/v1/chat/completions", {**chat, "messages": [{"role": "user"}] * 80_000}, 400),
            ("/v1/chat/completions", {**chat, **{f"field{number}": 1 for number in range(80_000)}}, 400),
            ("/v1/chat/completions", {**chat, "messages": surrogates}, 400),
            ("/v1/chat/completions", {**chat, "top_k": 10**30}, 400),
            ("/v1/chat/completions", {**chat, "top_p": 1e-300}, 400),
            ("/v1/chat/completions", {**chat, "temperature": 1e-40}, 200),
        ]

        def ask(path: str, body: Any, statuses: list[int]) -> None:
            statuses.append(server.post(path, body).status_code)

        for path, body, status in bodies:
            statuses: list[int] = []
            threads = [threading.Thread(target=ask, args=(path, body, statuses)) for _ in range(2)]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                assert healthy(server), (path, body)
            assert statuses == [status] * 2, (path, body)

    def test_a_request_of_almost_no_temperature_is_answered_as_the_others_beside_it(
        self, server: Server
    ) -> None:
        def ask(temperature: float) -> None:
            request = {"model": "base", "messages": HELLO, "max_tokens": 12, "temperature": temperature}
            response = server.post("/v1/chat/completions", request)
            texts.append(response.json()["choices"][0]["message"]["content"])

        texts: list[str] = []
        threads = [threading.Thread(target=ask, args=(each,)) for each in (0, 1e-40, 0, 1e-5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(texts) == 4
        assert len(set(texts)) == 1

    def test_requests_beyond_the_queue_are_refused_and_the_others_answered(self, server: Server) -> None:
        request: dict[str, Any] = {"model": "base", "messages": HELLO, "max_tokens": 4}
        with pytest.raises(RateLimitError, match="too many requests wait"):
            server.client().completions.create(model="base", prompt=["a"] * 9)
        assert server.client().chat.completions.create(**request).choices

    def test_nobody_else_can_read_the_key_or_reach_the_server(self, server: Server) -> None:
        me = psutil.Process(server.process.pid)
        family = [me, *me.children(recursive=True)]
        assert not [p for p in family if KEY in " ".join(p.cmdline())]
        heard = {c.laddr.ip for p in family for c in p.net_connections("inet") if c.status == "LISTEN"}
        assert heard <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}, heard

    def test_answers_in_progress_are_finished_before_the_server_ends(self, server: Server) -> None:
        responses: list[Any] = []

        def ask() -> None:
            responses.append(
                server.client().chat.completions.create(
                    model="base", messages=HELLO, max_tokens=64, temperature=1, seed=1
                )
            )

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        thread.join(60)
        assert responses
        assert server.process.wait(60) == 0
