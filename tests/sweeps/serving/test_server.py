"""`paretune serve`: what OpenAI's own client gets, and the errors of wrong requests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI, RateLimitError

from reports.analysis.best_trials import recommended_trials
from sweeps.runs.resolve import resolve
from sweeps.serving.engine import Engine, GenerationJob, generate_all
from sweeps.serving.openai_api import ChatRequest, CompletionRequest
from sweeps.serving.options import ServeError, ServeOptions, model_names, portable_name, read_key
from tests.helpers.clusters import free_port
from tests.helpers.small_runs import make_run, trial_id_of
from trainables.inference.generator import prompt_tokens, stream_answer
from trainables.inference.model_pool import LoadedModel, ModelPool
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
            with pytest.raises(ExceptionGroup):
                await generate_all(engine, [job])
        again = GenerationJob(loaded[0], job.prompt, job.sampling)
        return (await generate_all(engine, [again]))[0]

    expected = "".join(stream_answer(loaded[0], prompt_tokens(loaded[0], HELLO), Sampling(max_new_tokens=4)))
    assert asyncio.run(ask()) == expected


# With one


@dataclass
class Server:
    process: subprocess.Popen[str]
    base: str

    def client(self, key: str = KEY) -> OpenAI:
        return OpenAI(base_url=f"{self.base}/v1", api_key=key, max_retries=0)

    def post(self, path: str, content: Any, key: str | None = KEY) -> httpx.Response:
        text = content if isinstance(content, str) else json.dumps(content)
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        return httpx.post(f"{self.base}{path}", content=text, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def server(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port, home = free_port(), tmp_path_factory.mktemp("home")
    arguments = [f"base={run}:sft-base", f"lora={run}:sft-lora", f"full={run}:sft-full"]
    options = ["--port", str(port), "--most", "4", "--waiting", "4", "--max-new-tokens", "64"]
    process = subprocess.Popen(
        [sys.executable, "-m", "sweeps.cli", "serve", *arguments, *options],
        env={**os.environ, "PARETUNE_API_KEY": KEY, "PARETUNE_HOME": str(home)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    output = ""
    while "serving " not in output:
        line = process.stderr.readline()
        assert line, output
        output += line
    yield Server(process, f"http://127.0.0.1:{port}")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


@pytest.mark.sweep
class TestServed:
    def test_openais_client_lists_the_models(self, server: Server) -> None:
        assert [model.id for model in server.client().models.list()] == ["base", "lora", "full"]

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
        assert httpx.get(f"{server.base}/v1/models").status_code == 401
        assert httpx.get(f"{server.base}/health").json() == {"status": "ok"}

    @pytest.mark.parametrize(
        ("change", "status", "param", "message"),
        [
            ({"model": "gpt"}, 404, "model", "there is no model 'gpt'; there is base, lora, full"),
            ({"messages": []}, 400, "messages", "at least 1 item"),
            ({"temperature": 9}, 400, "temperature", "less than or equal to 2"),
            ({"tools": [{}]}, 400, "tools", "not supported"),
            ({"max_tokens": 0}, 400, "max_tokens", "greater than or equal to 1"),
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
        assert server.post("/v1/embeddings", {}).json()["error"]["type"] == "invalid_request_error"
        assert server.post("/v1/completions", "x" * (5 * 2**20)).status_code == 413

    def test_requests_beyond_the_queue_are_refused_and_the_others_answered(self, server: Server) -> None:
        request: dict[str, Any] = {"model": "base", "messages": HELLO, "max_tokens": 4}
        with pytest.raises(RateLimitError, match="too many requests wait"):
            server.client().completions.create(model="base", prompt=["a"] * 9)
        assert server.client().chat.completions.create(**request).choices

    def test_nobody_else_can_read_the_key_or_reach_the_server(self, server: Server) -> None:
        import psutil

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
