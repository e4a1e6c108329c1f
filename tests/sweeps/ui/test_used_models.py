"""A chat of the UI with `paretune chat` itself, and two models."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sweeps.ui.chats import Chats
from sweeps.ui.model_choices import ModelChoice
from tests.helpers.small_runs import make_run
from tests.sweeps.ui.chats.test_chat import Follower

pytestmark = pytest.mark.slow  # the command loads torch and a model in a process of its own
SECONDS = 300


def test_two_models_answer_in_a_chat(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path, tiny_model, ("lora",))
    asyncio.run(_chat(tmp_path, f"{run}:sft-lora", str(tiny_model)))


async def _chat(cwd: Path, *models: str) -> None:
    chats, page = Chats(cwd), Follower()
    chat = chats.new()
    following = asyncio.create_task(page.follow(chat))
    for model in models:
        await chat.load(ModelChoice(model, model, model))
    async with asyncio.timeout(SECONDS):
        while not all(page.models.get(model, {}).get("state") == "ready" for model in models):
            await asyncio.sleep(0.1)
        for model in models:
            messages = [{"role": "user", "content": "wake me at 7"}]
            assert await chat.ask(
                model[-4:], model, messages, {"max_new_tokens": 12, "temperature": 1.0, "seed": 1}
            )
        while not all(page.answers.get(model[-4:], {}).get("state") == "done" for model in models):
            await asyncio.sleep(0.1)
    assert all(page.answers[model[-4:]]["text"] for model in models)
    # The second is the base model of the first, which is in memory already.
    assert page.models[models[0]]["bytes"] > 0
    assert page.models[models[1]]["bytes"] == 0
    await chats.close()
    await following
