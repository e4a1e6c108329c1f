"""The page of chats: what it asks of the server, and what is refused."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from sweeps.ui.chats import chat_process
from sweeps.ui.chats.requests import WrongRequest, answer_request, sampling_of
from tests.helpers import chat_program
from tests.helpers.ui_children import wait_for
from tests.sweeps.ui.conftest import UiUnderTest

ANSWER = {"id": "a", "model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def test_a_tab_has_a_chat_of_its_own_until_it_ends(ui: UiUnderTest) -> None:
    first, second = ui.post("/chats").json()["chat"], ui.post("/chats").json()["chat"]
    assert first != second
    assert ui.client.get(f"/chats/{first}").status_code == 200
    assert ui.client.delete(f"/chats/{first}", headers={"X-Paretune": "1"}).status_code == 200
    assert ui.client.get(f"/chats/{first}").status_code == 404
    assert ui.client.get(f"/chats/{second}").status_code == 200


def test_a_model_is_loaded_and_asked(ui: UiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    program = [sys.executable, "-P", chat_program.__file__]
    monkeypatch.setattr(chat_process, "command_line", lambda argv: program)
    (ui.data / "model").mkdir()
    (ui.data / "model" / "config.json").write_text("{}")
    chat = ui.post("/chats").json()["chat"]
    assert ui.post(f"/chats/{chat}/models", {"model": "folder:model"}).status_code == 200
    known = ui.state.chats.get(chat)
    wait_for(lambda: known._models["folder:model"].state == "ready")
    body = {"answers": [{**ANSWER, "model": "folder:model"}], "sampling": {"temperature": 0.5}}
    assert ui.post(f"/chats/{chat}/answers", body).json() == {"ok": True, "refused": []}
    wait_for(lambda: known._answers["a"].state == "done")
    assert ui.post(f"/chats/{chat}/answers", body).json()["refused"] == ["a"]  # an id is used once


@pytest.mark.parametrize(
    "model", ["folder:../x", "folder:/etc", "base:nothing", "", None, "run:0123456789ab"]
)
def test_a_model_that_is_not_offered_is_not_loaded(ui: UiUnderTest, model: object) -> None:
    chat = ui.post("/chats").json()["chat"]
    answer = ui.post(f"/chats/{chat}/models", {"model": model})
    assert (answer.status_code, answer.json()["error"]["key"]) == (400, "model")
    assert ui.state.chats.get(chat)._process is None


@pytest.mark.parametrize(
    "answers",
    [
        None, [], [ANSWER] * 5, [{**ANSWER, "id": "../x"}], [{**ANSWER, "messages": []}], [{**ANSWER, "model": 1}],
        [{**ANSWER, "messages": [{"role": "tool", "content": "x"}]}],
        [{**ANSWER, "messages": [{"role": "user"}]}], ["x"],
    ],
)  # fmt: skip
def test_a_request_that_is_none_is_refused(answers: Any) -> None:
    with pytest.raises(WrongRequest):
        answer_request({"answers": answers})


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": -1}, {"temperature": "1"}, {"temperature": float("nan")}, {"top_p": 0}, {"top_k": 1.5},
        {"max_new_tokens": 0}, {"max_new_tokens": True}, {"seed": -1}, {"stop": "x"},
        {"stop": [""]}, {"unknown": 1}, [1],
    ],
)  # fmt: skip
def test_a_setting_out_of_its_range_is_refused(sampling: Any) -> None:
    with pytest.raises(WrongRequest):
        sampling_of({"sampling": sampling})


def test_settings_in_their_ranges_are_taken() -> None:
    sampling = {"temperature": 0, "top_p": 0.9, "top_k": 40, "max_new_tokens": 10, "seed": 3, "stop": ["\n"]}
    assert sampling_of({"sampling": sampling}) == sampling
