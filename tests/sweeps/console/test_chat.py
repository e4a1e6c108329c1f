"""`paretune chat`: commands, histories, and how answers are printed."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reports.analysis.recommendation.best_trials import recommended_trials
from sweeps.cli import app
from sweeps.console.chat import ChatOutput, ChatSession, WrongCommand, messages, run, with_settings
from sweeps.runs.resolve import resolve
from tests.helpers.model_families import make_family
from tests.helpers.small_runs import load_untrained, make_run
from tests.helpers.terminals import END_OF_FILE, INTERRUPT, UP, Terminal, user_environment
from trainables.inference.model_pool import LoadedModel
from trainables.inference.result import Result
from trainables.inference.sampling import Sampling, TokenSampler
from trainables.models.folder import ModelError

SHORT = Sampling(max_new_tokens=12)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> LoadedModel:
    return load_untrained(tmp_path_factory.mktemp("chat"), tiny_model)


def new_session(loaded: LoadedModel, count: int = 1) -> ChatSession:
    return ChatSession([loaded] * count, SHORT)


def printed(session: ChatSession, *lines: str) -> tuple[str, str]:
    output = ChatOutput(io.StringIO(), io.StringIO())
    run(session, lines, output)
    return output.out.getvalue(), output.notes.getvalue()  # type: ignore[attr-defined]


def test_history_is_kept_until_it_is_cleared(loaded: LoadedModel) -> None:
    session = new_session(loaded)
    first, _ = printed(session, "stop\n")
    (history,) = session.histories
    assert history == [
        {"role": "user", "content": "stop"},
        {"role": "assistant", "content": first.removesuffix("\n")},
    ]
    printed(session, "call mum\n")
    assert [message["role"] for message in session.histories[0]] == ["user", "assistant"] * 2
    printed(session, "/clear\n")
    assert session.histories == [[]]


def test_a_system_message_comes_first_and_starts_a_new_conversation(loaded: LoadedModel) -> None:
    session = new_session(loaded)
    printed(session, "stop\n", "/system answer in French\n", "stop\n")
    assert session.histories[0][0] == {"role": "system", "content": "answer in French"}
    assert len(session.histories[0]) == 3
    printed(session, "/system\n")
    assert session.histories == [[]]


def test_several_results_answer_the_same_each_with_its_own_history(loaded: LoadedModel) -> None:
    session = new_session(loaded, 2)
    out, _ = printed(session, "stop\n")
    assert out.count("tiny: ") == 2
    assert [history[0]["content"] for history in session.histories] == ["stop", "stop"]
    assert session.histories[0] is not session.histories[1]


def test_a_model_without_a_cache_of_use_chats_and_says_that_it_is_slow(tmp_path: Path) -> None:
    slow = load_untrained(tmp_path, make_family(tmp_path / "model", "xlstm"))
    answers, notes = printed(new_session(slow), "stop\n", "call mum\n")
    assert notes.splitlines() == [f"tiny {slow.shared.policy.generates.limits}"]
    assert "expect it to be slow" in notes
    assert len(answers.splitlines()) >= 2


def test_params_are_shown_and_changed(loaded: LoadedModel) -> None:
    session = new_session(loaded)
    _, notes = printed(session, "/params temperature=0.5 top_k=3 seed=7 stop=a,b\n")
    assert session.sampling == Sampling(12, 0.5, top_k=3, seed=7, stop=("a", "b"))
    assert "temperature=0.5  top_p=1.0  top_k=3" in notes


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("temprature=1", "did you mean temperature"),
        ("temperature", "give NAME=VALUE"),
        ("top_k=many", "'many' is not a number"),
        ("top_p=2", "top_p is 2; it must be between"),
    ],
)
def test_wrong_params_say_why(setting: str, expected: str) -> None:
    with pytest.raises(WrongCommand, match=f"(?i){expected}"):
        with_settings(SHORT, [setting])


def test_an_unknown_command_lists_the_commands_and_quit_ends_the_chat(loaded: LoadedModel) -> None:
    out, notes = printed(new_session(loaded), "/sistem x\n", "/quit\n", "stop\n")
    assert "there are /system, /clear, /params, /quit" in notes
    assert out == ""


def test_a_line_that_ends_in_a_backslash_continues_on_the_next() -> None:
    assert list(messages(["one \\\n", "two\n", "\n", "three"])) == ["one \ntwo", "three"]


def test_a_prompt_that_is_too_long_is_noted_and_not_kept(loaded: LoadedModel) -> None:
    session = new_session(loaded)
    _, notes = printed(session, "word " * 300)
    assert "tiny takes 256" in notes
    assert session.histories == [[]]


def test_an_answer_that_fails_is_noted_and_not_kept_and_the_chat_goes_on(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, choose = new_session(loaded), TokenSampler.next_token
    failures = iter([RuntimeError("the device is lost")])

    def fail_first(self: TokenSampler, logits: Any) -> int:
        if error := next(failures, None):
            raise error
        return choose(self, logits)

    monkeypatch.setattr(TokenSampler, "next_token", fail_first)
    _, notes = printed(session, "stop\n", "wake me\n")
    assert "tiny failed: RuntimeError: the device is lost" in notes
    assert "Traceback" not in notes
    assert [message["content"] for message in session.histories[0]][:1] == ["wake me"]


def test_a_reward_model_cannot_be_chatted_with(tmp_path: Path, tiny_model: Path) -> None:
    from trainables.stages import Reward

    made = make_run(tmp_path, tiny_model, ("lora",))
    result = resolve(str(made), recommended_trials)
    with pytest.raises(ModelError, match="is a reward model"):
        Result("r", result.config.model_copy(update={"stage": Reward()})).require_text_generation()


def test_each_line_of_a_pipe_is_a_conversation_of_its_own_unless_they_are_joined(loaded: LoadedModel) -> None:
    def asked(*lines: str, history: bool = False) -> list[list[dict[str, str]]]:
        """The conversations that were answered."""
        session, conversations = new_session(loaded), list[list[dict[str, str]]]()
        session.system = "be brief"
        session.clear()
        output = ChatOutput(io.StringIO(), io.StringIO())
        for line in lines:
            run(session, [line], output, piped=True, history=history)
            conversations.append([*session.histories[0][:-1]])
        notes.append(output.notes.getvalue())  # type: ignore[attr-defined]
        return conversations

    notes: list[str] = []
    system = {"role": "system", "content": "be brief"}
    ask = [{"role": "user", "content": text} for text in ("stop", "go\non", '{"a": 1}', "why")]
    assert asked("stop\n", '{"prompt": "go\\non"}\n', '{"a": 1}\n', '"stop"\n') == [
        [system, ask[0]], [system, ask[1]], [system, ask[2]], [system, ask[0]],
    ]  # fmt: skip
    given = [ask[0], {"role": "assistant", "content": "stopped"}, ask[3]]
    assert asked(json.dumps({"messages": given})) == [given]
    joined = asked("stop\n", "why\n", history=True)[-1]
    assert [message["content"] for message in joined if message["role"] == "user"] == ["stop", "why"]
    asked('{"messages": [{"role": "assistant", "content": "yes"}]}\n', '{"prompt": 3}\n')
    assert "messages is no conversation that ends with a question" in notes[-1]
    assert "prompt is no text" in notes[-1]


def test_lines_from_a_pipe_are_answered_without_a_terminal(tmp_path: Path, tiny_model: Path) -> None:
    run = make_run(tmp_path, tiny_model, (None, "lora"))
    completed = subprocess.run(
        [
            sys.executable,
            "-m",
            "sweeps.cli",
            "chat",
            f"{run}:sft-base",
            f"{run}:sft-lora",
            "--max-new-tokens",
            "4",
        ],
        input="wake me at 7\n/params top_k=2\nstop\n",
        capture_output=True,
        text=True,
        timeout=120,
        env=user_environment(),
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.count(f"{run}:sft-base: ") == completed.stdout.count(f"{run}:sft-lora: ") == 2
    assert completed.stderr.strip().startswith("max_new_tokens=4")  # and no library is heard


def test_in_a_terminal_several_answer_side_by_side_and_the_keys_do_what_they_do_in_a_shell(
    tmp_path: Path, tiny_model: Path
) -> None:
    make_run(tmp_path, tiny_model, (None, "lora"))
    names = ("run:sft-base", "run:sft-lora")
    command = [sys.executable, "-m", "sweeps.cli", "chat", *names, "--max-new-tokens", "3"]
    with Terminal(command, tmp_path) as terminal:
        terminal.until("> ")
        terminal.type("wake me at 7\n")
        answer = terminal.until("\n> ")
        assert any(all(name in line for name in names) for line in answer.splitlines())
        assert "└" in answer
        terminal.type(f"{UP}\n")
        assert "wake me at 7" in (again := terminal.until("\n> "))
        assert "└" in again
        terminal.type("/params\n")
        assert "max_new_tokens=3" in terminal.until("\n> ")
        terminal.type(END_OF_FILE)
        assert terminal.end() == 0


def test_ctrl_c_ends_an_answer_and_then_the_chat(tmp_path: Path, tiny_model: Path) -> None:
    command = [sys.executable, "-m", "sweeps.cli", "chat", str(tiny_model), "--max-new-tokens", "240"]
    with Terminal(command, tmp_path) as terminal:
        terminal.until("> ")
        terminal.type("wake me at 7\n")
        terminal.until("wake me at 7\n")
        terminal.more(4)  # the end of the line that was typed, and it has begun to answer
        terminal.type(INTERRUPT)
        terminal.until("(interrupted)")
        terminal.until("> ")
        assert terminal.interrupt() == 130
        assert "Traceback" not in terminal.shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nothing/here"], "give RUN, RUN:CELL, RUN:TRIAL"),
        (["{model}", "--top-p", "3"], "top_p is 3"),
    ],
)
def test_a_mistake_ends_with_2_and_a_sentence(arguments: list[str], expected: str, tiny_model: Path) -> None:
    found = CliRunner().invoke(app, ["chat", *(a.format(model=tiny_model) for a in arguments)], input="")
    assert found.exit_code == 2
    assert expected in found.stderr
    assert "Traceback" not in found.stderr
