"""``paretune chat --json``: answers of several models, stopped, failed and unloaded one by one."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeps.console.chat_protocol.loaded_models import ChatModels
from sweeps.console.chat_protocol.service import ChatService, serve
from sweeps.runs.resolve import resolve
from tests.helpers.small_runs import make_run
from trainables.inference.continuous_batch import Answer
from trainables.inference.result import Result
from trainables.inference.sampling import Sampling
from trainables.models.folder import ModelError

SHORT = Sampling(max_new_tokens=12)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, Result]:
    """A base model and an adapter on it, by the names that they are asked for."""
    run = make_run(tmp_path_factory.mktemp("chat"), tiny_model, ("lora",))
    names = {"tiny": str(tiny_model), "lora": f"{run}:sft-lora"}
    return {name: resolve(text, lambda folder: []) for name, text in names.items()}


class Chat:
    """A service whose events are kept."""

    def __init__(self, models: dict[str, Result], *names: str, sampling: Sampling = SHORT) -> None:
        def find(name: str) -> Result:
            if name not in models:
                raise ModelError(f"there is no {name}")
            return models[name]

        self.events: list[dict[str, Any]] = []
        self.service = ChatService(ChatModels(find), sampling, None, self.events.append)
        self.service.generator.max_concurrent = 8
        for name in names:
            self.service.load(name)

    def send(self, **request: Any) -> None:
        self.service.handle(json.dumps(request))

    def finish(self) -> None:
        while self.service.busy:
            self.service.step()

    def of(self, kind: str, **facts: Any) -> list[dict[str, Any]]:
        return [each for each in self.events if each["event"] == kind and facts.items() <= each.items()]

    def text(self, model: str) -> str:
        return "".join(event["text"] for event in self.of("token", model=model))


def test_two_models_answer_side_by_side_and_share_their_weights(models: dict[str, Result]) -> None:
    chat = Chat(models, "tiny", "lora")
    tiny, lora = chat.of("ready")
    assert 0 < lora["memory_bytes"] < tiny["memory_bytes"]
    assert (tiny["memory_measured_by"], tiny["thinks"], tiny["has_template"]) == ("tensors", False, True)
    chat.send(id=1, message="stop")
    chat.finish()
    assert {event["model"] for event in chat.of("done", id=1)} == {"tiny", "lora"}
    for done in chat.of("done"):
        assert 0 < done["new_tokens"] <= 12
        assert done["seconds"] >= done["first_token_seconds"] >= 0


def test_an_answer_is_the_same_alone_and_beside_others(models: dict[str, Result]) -> None:
    alone, beside = Chat(models, "tiny"), Chat(models, "tiny", "lora")
    alone.send(id=1, message="call mum", temperature=1.0, seed=3)
    beside.send(id=1, message="call mum", temperature=1.0, seed=3)
    alone.finish()
    beside.finish()
    assert alone.text("tiny") == beside.text("tiny")


def test_an_answer_is_stopped_at_the_next_token_and_others_go_on(models: dict[str, Result]) -> None:
    chat = Chat(models, "tiny", sampling=Sampling(max_new_tokens=60, temperature=1.0, seed=1))
    chat.send(id="long", message="stop")
    chat.send(id="other", message="stop")
    chat.service.step()
    chat.send(stop="long")
    (done,) = chat.of("done", id="long")
    assert (done["finish_reason"], done["new_tokens"]) == ("cancelled", 1)
    chat.finish()
    assert len(chat.of("done", id="other")) == 1


def test_an_error_of_one_request_or_model_ends_no_other(
    models: dict[str, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = Chat(models, "tiny", "missing")
    assert chat.of("error", model="missing")[0]["message"] == "there is no missing"
    chat.service.handle("no JSON")
    chat.send(id=1, message="stop", top_p=7)
    chat.send(id=2, message="stop", models=["tiny", "tinny"])
    assert "top_p is 7" in chat.of("error", id=1)[0]["message"]
    assert "Did you mean tiny?" in chat.of("error", id=2, model="tinny")[0]["message"]
    chat.finish()
    assert len(chat.of("done", id=2, model="tiny")) == 1

    def broken(answer: Answer, *args: Any) -> None:
        answer.fail(RuntimeError("out of luck"))

    with monkeypatch.context() as changed:
        changed.setattr(Answer, "add_token", broken)
        chat.send(id=3, message="stop")
        chat.finish()
    assert "out of luck" in chat.of("error", id=3)[0]["message"]
    chat.send(id=4, message="stop")
    chat.finish()
    assert len(chat.of("done", id=4)) == 1


def test_a_model_is_unloaded_while_it_answers_and_loaded_again(models: dict[str, Result]) -> None:
    chat = Chat(models, "lora", "tiny")
    chat.send(id=1, message="stop")
    chat.send(unload="tiny")
    assert chat.of("done", id=1, model="tiny")[0]["finish_reason"] == "cancelled"
    assert chat.of("unloaded", model="tiny")[0]["freed_bytes"] == 0  # the adapter needs the same weights
    chat.send(unload="lora")
    assert chat.of("unloaded", model="lora")[0]["freed_bytes"] > 0
    assert not chat.service.models.pool.base_models
    chat.send(unload="lora")
    assert "lora is not loaded" in chat.of("error", model="lora")[0]["message"]
    chat.send(id=2, message="stop")
    assert chat.of("error", id=2)[0]["message"] == "no model is loaded"
    chat.send(load="lora")
    chat.send(id=3, message="stop")
    chat.finish()
    assert len(chat.of("done", id=3, model="lora")) == 1


def test_answers_are_completed_after_the_end_of_the_input(models: dict[str, Result]) -> None:
    chat = Chat(models)
    lines = io.StringIO('{"id": 1, "message": "stop"}\n\n{"id": 2, "message": "call mum"}')
    assert serve(chat.service, ["tiny"], lines) == 1
    assert [event["id"] for event in chat.of("done")] == [1, 2]
    assert serve(Chat(models).service, ["missing"], io.StringIO("")) == 0


def test_the_command_prints_events_alone_and_ends_with_its_input(tiny_model: Path) -> None:
    command = [sys.executable, "-m", "sweeps.cli", "chat", str(tiny_model), "--json", "--max-new-tokens=4"]
    asked = '{"id": 1, "message": "stop"}\n{"unload": "x"}\n'
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert [event["event"] for event in events][:2] == ["loading", "ready"]
    assert {event["event"] for event in events[2:]} == {"error", "token", "done"}
