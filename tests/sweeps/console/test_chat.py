"""Talking to results: what is generated, how it reaches people, and what can be typed."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from reports.analysis.best_trials import recommended_trials
from sweeps.console.chat import ChatOutput, ChatSession, WrongCommand, messages, run, with_settings
from sweeps.runs.resolve import resolve
from tests.helpers.small_runs import make_run, method_config
from tests.helpers.terminals import END_OF_FILE, INTERRUPT, UP, Terminal, shell
from tests.helpers.trials import write_rows
from trainables.inference.generator import (
    Generator,
    PromptTooLong,
    context_length,
    prompt_tokens,
    stream_answer,
)
from trainables.inference.model_pool import LoadedModel, ModelPool
from trainables.inference.result import Result
from trainables.inference.sampling import Sampling, TokenSampler
from trainables.inference.text_stream import TextStream
from trainables.models.folder import ModelError
from trainables.scoring.generation import continue_greedily

QUESTIONS = ("wake me at 7", "play some jazz in the kitchen, and turn the lights down", "stop", "call mum")
SHORT = Sampling(max_new_tokens=12)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> LoadedModel:
    """The tiny model in float32, so that rounding decides nothing."""
    rows = write_rows(tmp_path_factory.mktemp("chat") / "rows.jsonl")
    config = method_config(tiny_model, rows, None)
    model = config.model.model_copy(update={"dtype": "float32"})
    return ModelPool().load(Result("tiny", config.model_copy(update={"model": model})))


def prompts(loaded: LoadedModel) -> list[list[int]]:
    return [prompt_tokens(loaded, [{"role": "user", "content": question}]) for question in QUESTIONS]


def greedy(loaded: LoadedModel, prompt: list[int], count: int) -> str:
    with loaded.active() as policy:
        tokens = continue_greedily(policy, [prompt], count, 1)[0]
    return str(loaded.tokenizer.decode(tokens, skip_special_tokens=True))


def test_an_answer_that_is_streamed_is_the_one_that_is_generated_at_once(loaded: LoadedModel) -> None:
    for prompt in prompts(loaded):
        pieces = list(stream_answer(loaded, prompt, SHORT))
        assert "".join(pieces) == greedy(loaded, prompt, 12)
        assert len(pieces) > 1


def test_answers_that_join_at_any_step_are_what_they_would_be_alone(loaded: LoadedModel) -> None:
    generator, made = Generator(), []
    lengths = (12, 3, 9, 5)
    for prompt, length in zip(prompts(loaded), lengths, strict=True):
        made.append(generator.submit(loaded, prompt, Sampling(max_new_tokens=length)))
        generator.step()  # the next one comes while this one is under way
    while generator.busy:
        generator.step()
    for answer, prompt, length in zip(made, prompts(loaded), lengths, strict=True):
        with loaded.active() as policy:
            assert answer.tokens == continue_greedily(policy, [prompt], length, 1)[0][: len(answer.tokens)]
        assert answer.finish_reason == ("length" if len(answer.tokens) == length else "stop")


def test_only_so_many_answers_are_generated_at_a_time_and_the_others_follow(loaded: LoadedModel) -> None:
    generator = Generator(max_concurrent=2)
    made = [generator.submit(loaded, prompt, Sampling(max_new_tokens=4)) for prompt in prompts(loaded)]
    assert len(generator.step()) == 2
    while generator.busy:
        assert len(generator.step()) <= 2
    assert all(answer.tokens for answer in made)


def test_a_drawn_answer_is_its_seeds_whatever_is_beside_it(loaded: LoadedModel) -> None:
    def drawn(seed: int, *others: int) -> list[int]:
        generator = Generator()
        for other in others:
            generator.submit(
                loaded, prompts(loaded)[1], Sampling(max_new_tokens=8, temperature=1, seed=other)
            )
        answer = generator.submit(
            loaded, prompts(loaded)[0], Sampling(max_new_tokens=8, temperature=1, seed=seed)
        )
        while generator.busy:
            generator.step()
        return answer.tokens

    assert drawn(1) == drawn(1, 5, 6)
    assert drawn(1) != drawn(2)


def test_a_prompt_that_leaves_no_room_is_refused(loaded: LoadedModel) -> None:
    with pytest.raises(PromptTooLong, match="the prompt has 300 tokens; tiny takes 256"):
        Generator().submit(loaded, [5] * 300, SHORT)
    answer = Generator().submit(loaded, [5] * 250, SHORT)
    assert answer.sampler.sampling.max_new_tokens == context_length(loaded) - 250


def test_chances_are_those_of_the_softmax() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    sampler = TokenSampler(Sampling(temperature=0.5, seed=0))
    counts = (
        torch.bincount(torch.tensor([sampler.next_token(logits) for _ in range(4000)]), minlength=4) / 4000
    )
    assert torch.allclose(counts, (logits / 0.5).softmax(-1), atol=0.03)


@pytest.mark.parametrize(
    ("settings", "kept"), [({"top_k": 2}, {0, 1}), ({"top_p": 0.6}, {0}), ({"top_p": 0.7}, {0, 1})]
)
def test_only_the_likeliest_are_drawn_from(settings: dict[str, float], kept: set[int]) -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])  # 0.64, 0.24, 0.09, 0.03
    sampler = TokenSampler(Sampling(temperature=1, seed=0, **settings))  # type: ignore[arg-type]
    assert {sampler.next_token(logits) for _ in range(200)} == kept


def test_penalties_are_taken_off_what_was_said() -> None:
    sampler = TokenSampler(Sampling(frequency_penalty=0.4, presence_penalty=0.3))
    # 1.0 - 0.7 leaves the first below 0.5; then 0.5 - 0.7 leaves the second below it.
    assert [sampler.next_token(torch.tensor([1.0, 0.5])) for _ in range(3)] == [0, 1, 0]


@pytest.mark.parametrize(
    "settings", [{"temperature": -1}, {"top_p": 0}, {"max_new_tokens": 0}, {"top_k": -1}]
)
def test_settings_out_of_their_range_are_named(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(settings))} is .*; it must be between"):
        Sampling(**settings)  # type: ignore[arg-type]


class Characters:
    """A tokenizer whose tokens are bytes."""

    def decode(self, tokens: list[int], skip_special_tokens: bool) -> str:
        return bytes(tokens).decode(errors="replace")


def spoken(text: str, *stops: str) -> tuple[list[str], bool]:
    stream = TextStream(Characters(), stops)
    pieces = [stream.add([byte]) for byte in text.encode()]
    return [piece for piece in (*pieces, stream.finish()) if piece], stream.stopped


def test_characters_of_several_tokens_come_whole() -> None:
    assert spoken("né 日本")[0] == ["n", "é", " ", "日", "本"]


def test_an_answer_ends_before_a_stop_and_what_may_be_one_is_held_back() -> None:
    assert spoken("one END two", "END") == (["o", "n", "e", " "], True)
    pieces, stopped = spoken("one EN", "END")
    assert ("".join(pieces), stopped) == ("one EN", False)
    assert "".join(spoken("aab aac", "aac")[0]) == "aab "


def test_a_text_cut_within_a_character_is_told_at_the_end() -> None:
    stream = TextStream(Characters())
    assert stream.add("日".encode()[:2]) == ""
    assert stream.finish() == "\N{REPLACEMENT CHARACTER}"


# What users type


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


def test_params_are_shown_and_changed(loaded: LoadedModel) -> None:
    session = new_session(loaded)
    _, notes = printed(session, "/params temperature=0.5 top_k=3 seed=7 stop=a,b\n")
    assert session.sampling == Sampling(12, 0.5, top_k=3, seed=7, stop=("a", "b"))
    assert "temperature=0.5  top_p=1.0  top_k=3" in notes


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("temprature=1", "did you mean temperature"),
        ("temperature", "give NAME=VALUE"),
        ("top_k=many", "'many' is not a number"),
        ("top_p=2", "top_p is 2; it must be between"),
    ],
)
def test_wrong_params_say_why(setting: str, said: str) -> None:
    with pytest.raises(WrongCommand, match=f"(?i){said}"):
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


def test_a_reward_model_cannot_be_chatted_with(tmp_path: Path, tiny_model: Path) -> None:
    from trainables.stages import Reward

    made = make_run(tmp_path, tiny_model, ("lora",))
    result = resolve(str(made), recommended_trials)
    with pytest.raises(ModelError, match="is a reward model"):
        Result("r", result.config.model_copy(update={"stage": Reward()})).require_text_generation()


def test_lines_from_a_pipe_are_answered_without_a_terminal(tmp_path: Path, tiny_model: Path) -> None:
    run = make_run(tmp_path, tiny_model, (None, "lora"))
    said = subprocess.run(
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
        env=shell(),
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.count(f"{run}:sft-base: ") == said.stdout.count(f"{run}:sft-lora: ") == 2
    assert said.stderr.strip().startswith("max_new_tokens=4")  # and no library is heard


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
    ("arguments", "said"),
    [
        (["nothing/here"], "give RUN, RUN:CELL, RUN:TRIAL"),
        (["{model}", "--top-p", "3"], "top_p is 3"),
    ],
)
def test_a_mistake_ends_with_2_and_a_sentence(arguments: list[str], said: str, tiny_model: Path) -> None:
    command = [sys.executable, "-m", "sweeps.cli", "chat", *(a.format(model=tiny_model) for a in arguments)]
    found = subprocess.run(command, input="", capture_output=True, text=True, timeout=120)
    assert found.returncode == 2
    assert said in found.stderr
    assert "Traceback" not in found.stderr
