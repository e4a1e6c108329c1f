"""Chats: models in a process of the chat's own, whose answers are streamed to the page."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.ui.chats import Chats, TooManyChats, chat_process, chats
from sweeps.ui.chats.chat import Chat, TooManyModels
from sweeps.ui.model_choices import ModelChoice
from tests.helpers import chat_program
from tests.helpers.ui_children import is_alive, wait_for

Scenario = Callable[[Chats, Chat, "Follower"], Awaitable[None]]
HELLO = [{"role": "user", "content": "Hello"}]


class Follower:
    """What a page knows of a chat from its events."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, Any]] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self.names: list[str] = []

    async def follow(self, chat: Chat) -> None:
        async for name, data in chat.follow():
            self.names.append(name)
            if "models" in data:
                self.models = {each["id"]: each for each in data["models"]}
            for answer in data.get("answers", [data] if name == "answer" else []):
                self.answers[answer["id"]] = dict(answer)
            if name == "token":
                self.answers[data["id"]]["thoughts" if data["thinking"] else "text"] += data["text"]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.02)

    async def loaded(self, chat: Chat, *names: str) -> None:
        for name in names:
            await chat.load(ModelChoice(name, name, name))
        await self.until(lambda: all(self.models.get(name, {}).get("state") == "ready" for name in names))

    async def ended(self, *answers: str) -> None:
        done = ("done", "stopped", "failed")
        await self.until(lambda: all(self.answers.get(each, {}).get("state") in done for each in answers))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Scenario], None]:
    program = [sys.executable, "-P", chat_program.__file__]
    monkeypatch.setattr(chat_process, "command_line", lambda argv: program)

    async def played(scenario: Scenario) -> None:
        all_chats, follower = Chats(tmp_path), Follower()
        chat = all_chats.new()
        following = asyncio.create_task(follower.follow(chat))
        try:
            await scenario(all_chats, chat, follower)
        finally:
            await all_chats.close()
            await asyncio.wait_for(following, 5)

    return lambda scenario: asyncio.run(played(scenario))


def pid_of(chat: Chat) -> int:
    assert chat._process is not None
    return chat._process.pid


def test_two_models_answer_the_same_prompt_piece_by_piece(run: Callable[[Scenario], None]) -> None:
    async def scenario(_: Chats, chat: Chat, page: Follower) -> None:
        await page.loaded(chat, "one", "two")
        assert page.models["one"]["bytes"] == 123_456_789
        assert await chat.ask("a", "one", HELLO, {"temperature": 0})
        assert await chat.ask("b", "two", HELLO, {})
        await page.ended("a", "b")
        assert page.answers["a"]["text"] == page.answers["b"]["text"]
        assert page.answers["a"]["thoughts"] == "About Hello."
        assert page.answers["a"]["text"].startswith("You said: Hello")
        assert page.answers["a"]["facts"]["new_tokens"] == 6
        assert page.names.count("token") > 4

    run(scenario)


def test_an_answer_is_stopped_and_keeps_what_it_has(run: Callable[[Scenario], None]) -> None:
    async def scenario(_: Chats, chat: Chat, page: Follower) -> None:
        await page.loaded(chat, "slow")
        await chat.ask("a", "slow", HELLO, {})
        await page.until(lambda: page.answers.get("a", {}).get("text"))
        await chat.stop(["a", "unknown"])
        await page.ended("a")
        assert page.answers["a"]["state"] == "stopped"
        assert "That is all" not in page.answers["a"]["text"]

    run(scenario)


def test_a_page_that_connects_again_gets_an_answer_as_far_as_it_is(run: Callable[[Scenario], None]) -> None:
    async def scenario(_: Chats, chat: Chat, page: Follower) -> None:
        await page.loaded(chat, "slow")
        await chat.ask("a", "slow", HELLO, {})
        await page.until(lambda: page.answers.get("a", {}).get("text"))
        name, state = await anext(chat.follow())
        assert name == "state"
        assert state["answers"][0]["text"] == page.answers["a"]["text"]
        assert state["memory"]["available_bytes"] > 0
        assert state["memory"]["process_bytes"] > 0

    run(scenario)


def test_what_a_process_still_says_changes_no_answer_that_has_ended(run: Callable[[Scenario], None]) -> None:
    async def scenario(_: Chats, chat: Chat, page: Follower) -> None:
        await page.loaded(chat, "slow", "one")
        await chat.ask("a", "one", HELLO, {})
        await page.ended("a")
        answer = dict(page.answers["a"])
        for event in (
            {"event": "token", "text": "more"},
            {"event": "done"},
            {"event": "error", "message": "late"},
        ):
            chat._take({"id": "a", **event})
        assert chat._answers["a"].to_json() == answer
        await chat.ask("b", "slow", HELLO, {})
        await page.until(lambda: page.answers.get("b", {}).get("text"))
        await chat.end()
        await asyncio.sleep(0.2)
        assert page.answers["b"]["state"] == "failed"
        assert not chat.busy

    run(scenario)


def test_errors_of_one_model_leave_the_others_alone(run: Callable[[Scenario], None]) -> None:
    async def scenario(_: Chats, chat: Chat, page: Follower) -> None:
        await page.loaded(chat, "one", "fails")
        await chat.load(ModelChoice("bad", "bad", "bad"))
        await page.until(lambda: page.models.get("bad", {}).get("state") == "failed")
        assert page.models["bad"]["message"] == "bad has no weights"
        assert not await chat.ask("x", "bad", HELLO, {})
        await chat.ask("a", "one", HELLO, {})
        await chat.ask("b", "fails", HELLO, {})
        await page.ended("a", "b")
        assert (page.answers["a"]["state"], page.answers["b"]["state"]) == ("done", "failed")
        assert page.answers["b"]["message"] == "the prompt is too long"

    run(scenario)


def test_a_process_that_dies_is_said_and_started_anew(run: Callable[[Scenario], None]) -> None:
    async def scenario(_: Chats, chat: Chat, page: Follower) -> None:
        await page.loaded(chat, "dies")
        await chat.ask("a", "dies", HELLO, {})
        await page.ended("a")
        assert "killed, perhaps because memory ran out" in page.answers["a"]["message"]
        assert page.models["dies"]["state"] == "failed"
        await page.loaded(chat, "dies", "one")

    run(scenario)


def test_the_process_ends_with_its_last_model(run: Callable[[Scenario], None]) -> None:
    async def scenario(_: Chats, chat: Chat, page: Follower) -> None:
        await page.loaded(chat, "one", "two")
        pid = pid_of(chat)
        await chat.unload("one")
        assert is_alive(pid)
        await chat.unload("two")
        wait_for(lambda: not is_alive(pid))
        assert page.models == {}

    run(scenario)


def test_an_abandoned_chat_ends_and_one_that_answers_does_not(
    run: Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chats, "LOOK_SECONDS", 0.05)

    async def scenario(all_chats: Chats, chat: Chat, page: Follower) -> None:
        await page.loaded(chat, "slow")
        pid = pid_of(chat)
        await chat.ask("a", "slow", HELLO, {})
        monkeypatch.setattr(chats, "IDLE_SECONDS", 0.0)
        await asyncio.sleep(0.3)
        assert is_alive(pid)
        await chat.stop(["a"])
        await page.until(lambda: page.names[-1] == "ended")
        assert all_chats.get(chat.id) is None
        assert not is_alive(pid)

    run(scenario)


def test_a_chats_process_ends_with_the_ui(run: Callable[[Scenario], None]) -> None:
    pids = []

    async def scenario(_: Chats, chat: Chat, page: Follower) -> None:
        await page.loaded(chat, "one")
        pids.append(pid_of(chat))

    run(scenario)
    assert not is_alive(pids[0])


def test_chats_and_models_have_a_limit(run: Callable[[Scenario], None]) -> None:
    async def scenario(all_chats: Chats, chat: Chat, page: Follower) -> None:
        await page.loaded(chat, "1", "2", "3", "4")
        with pytest.raises(TooManyModels):
            await chat.load(ModelChoice("5", "5", "5"))
        for _ in range(chats.MAX_CHATS - 1):
            all_chats.new()
        with pytest.raises(TooManyChats):
            all_chats.new()

    run(scenario)
