"""Chat with one model or several, each with a history of its own: in a terminal, or with lines from a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TextIO

from sweeps.console.piped_prompts import PipedPrompt, WrongPrompt, parse_line
from trainables.inference.generator import AnswerFailed, stream_answer
from trainables.inference.prompts import PromptError, prompt_tokens, remaining_tokens
from trainables.inference.sampling import Sampling
from trainables.system.suggestions import did_you_mean
from trainables.templates import TemplateError

if TYPE_CHECKING:
    from trainables.inference.model_pool import LoadedModel

COMMANDS = ("/system", "/clear", "/params", "/quit", "/help")
HELP = """\
/system [TEXT]            Set the system message, or remove it; starts a new conversation.
/clear                    Start a new conversation.
/params [NAME=VALUE ...]  Show or change the sampling settings.
/quit                     End the chat, as Ctrl-D does.
A message continues on the next line if its line ends in \\."""
OnText = Callable[[int, str], None]  # called with the index of a model and the next piece of its answer
SAMPLING_FIELDS = {each.name: each for each in fields(Sampling)}


class WrongCommand(ValueError):  # noqa: N818
    """A command that doesn't exist or has a wrong value; the message names what is possible."""


@dataclass
class ChatSession:
    """Conversations with several models, all of which get the same messages."""

    models: Sequence[LoadedModel]
    sampling: Sampling
    system: str | None = None
    histories: list[list[dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        first = [{"role": "system", "content": self.system}] if self.system else []
        self.histories = [list(first) for _ in self.models]

    @property
    def limits(self) -> list[str]:
        """Which models answer slowly, and why: a sentence for each."""
        ways = ((model.result.name, model.shared.policy.generates) for model in self.models)
        return [f"{name} {way.limits}" for name, way in ways if way.recomputes]

    def ask(self, text: str, on_text: OnText) -> None:
        """Has each model answer ``text``, one after the other, and passes the pieces of their answers to ``on_text``.

        An answer that is interrupted is kept as far as it came. Raises ``TemplateError`` and ``PromptError``; then no
        history has changed. Raises ``AnswerFailed``; then that model's history has not.
        """
        messages = [[*history, {"role": "user", "content": text}] for history in self.histories]
        # All prompts are made and checked first, so that no model answers a message that another one refuses.
        prompts = [prompt_tokens(model, each) for model, each in zip(self.models, messages, strict=True)]
        for model, prompt in zip(self.models, prompts, strict=True):
            remaining_tokens(model, prompt)  # refuse before the first model answers
        for number, (model, prompt) in enumerate(zip(self.models, prompts, strict=True)):
            answer, failed = "", False
            on_text(number, "")  # an answer may be empty
            try:
                for piece in stream_answer(model, prompt, self.sampling):
                    answer += piece
                    on_text(number, piece)
            except AnswerFailed:
                failed = True
                raise
            finally:
                if not failed:
                    self.histories[number] = [*messages[number], {"role": "assistant", "content": answer}]

    def command(self, text: str) -> str | None:
        """Executes a ``/command``; returns its reply, ``None`` to end the chat. Raises :class:`WrongCommand`."""
        name, _, rest = text.partition(" ")
        if name in ("/quit", "/exit"):
            return None
        if name == "/system":
            self.system = rest.strip() or None
        if name in ("/system", "/clear"):
            self.clear()
            return f"new conversation{', with a system message' if self.system else ''}"
        if name == "/params":
            self.sampling = with_settings(self.sampling, rest.split())
            return format_sampling(self.sampling)
        if name == "/help":
            return HELP
        raise WrongCommand(
            f"{name} is not a command; there are {', '.join(COMMANDS)}{did_you_mean(name, COMMANDS)}"
        )


def with_settings(sampling: Sampling, settings: Sequence[str]) -> Sampling:
    """The sampling with ``NAME=VALUE`` settings applied. Raises :class:`WrongCommand`."""
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if name not in SAMPLING_FIELDS or not equals:
            raise WrongCommand(
                f"{setting}: give NAME=VALUE of {', '.join(SAMPLING_FIELDS)}{did_you_mean(name, SAMPLING_FIELDS)}"
            )
        try:
            values[name] = _parse_value(name, value)
        except ValueError as error:
            raise WrongCommand(f"{setting}: {value!r} is not a number") from error
    try:
        return replace(sampling, **values)
    except ValueError as error:
        raise WrongCommand(str(error)) from None


def _parse_value(name: str, value: str) -> Any:
    if name == "stop":
        return tuple(value.split(",")) if value else ()
    if name == "seed" and value in ("", "none"):
        return None
    # The default tells a field's type, except for the seed, whose default is `None`.
    return int(value) if isinstance(SAMPLING_FIELDS[name].default, int) or name == "seed" else float(value)


def format_sampling(sampling: Sampling) -> str:
    return "  ".join(f"{name}={json.dumps(getattr(sampling, name))}" for name in SAMPLING_FIELDS)


def typed_lines() -> Iterator[str]:
    """The lines that a user types, until Ctrl-D; the arrow keys bring back earlier ones."""
    with suppress(ImportError):
        import readline  # noqa: F401  # makes `input` handle the arrow keys
    with suppress(EOFError):
        while True:
            yield input("> ")


def messages(lines: Iterable[str]) -> Iterator[str]:
    """Joins each line that ends in a backslash with the next one; leaves out empty messages."""
    parts: list[str] = []
    for line in lines:
        text = line.rstrip("\n")
        parts.append(text.removesuffix("\\"))
        if not text.endswith("\\"):
            message, parts = "\n".join(parts).strip(), []
            if message:
                yield message
    if rest := "\n".join(parts).strip():
        yield rest


def run(
    session: ChatSession, lines: Iterable[str], output: ChatOutput, piped: bool = False, history: bool = True
) -> None:
    """Chats until the lines end, or ``/quit``. Ctrl-C ends an answer, and between answers the chat.

    ``piped``: a line may be JSON. Without ``history`` each message begins a conversation.
    """
    for limit in session.limits:
        output.note(limit)
    for text in messages(lines):
        try:
            if text.startswith("/"):
                reply = session.command(text)
                if reply is None:
                    return
                output.note(reply)
                continue
            if not history:
                session.clear()
            prompt = parse_line(text) if piped else PipedPrompt(text)
            if prompt.before is not None:
                session.histories = [list(prompt.before) for _ in session.models]
            with output.answers(session) as on_text:
                session.ask(prompt.text, on_text)
        except KeyboardInterrupt:
            output.note("(interrupted)")
        except (WrongCommand, WrongPrompt, TemplateError, PromptError, AnswerFailed) as error:
            output.note(str(error))


class ChatOutput:
    """Writes answers one after the other, each with its model's name if there are several."""

    def __init__(self, out: TextIO | None = None, notes: TextIO | None = None) -> None:
        self.out, self.notes = out or sys.stdout, notes or sys.stderr

    def note(self, text: str) -> None:
        print(text, file=self.notes)

    @contextmanager
    def answers(self, session: ChatSession) -> Iterator[OnText]:
        """Gives the function that takes the pieces of the answers to one message."""
        last = -1

        def on_text(number: int, piece: str) -> None:
            nonlocal last
            if number != last and len(session.models) > 1:
                # chr(10), because an f-string has no backslash in an expression before Python 3.12.
                self.out.write(f"{'' if last < 0 else chr(10)}{session.models[number].result.name}: ")
            last = number
            self.out.write(piece)
            self.out.flush()

        try:
            yield on_text
        finally:
            self.out.write("\n")
            self.out.flush()


class ColumnOutput(ChatOutput):
    """Shows the answers of several models side by side in a terminal."""

    @contextmanager
    def answers(self, session: ChatSession) -> Iterator[OnText]:
        from rich.live import Live

        from sweeps.console.guarded_console import GuardedConsole

        texts = ["" for _ in session.models]
        console = GuardedConsole()
        with Live(
            _table(session, texts), console=console, refresh_per_second=8, vertical_overflow="visible"
        ) as live:

            def on_text(number: int, piece: str) -> None:
                texts[number] += piece
                live.update(_table(session, texts))

            yield on_text


def _table(session: ChatSession, texts: Sequence[str]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(expand=True)
    for model in session.models:
        table.add_column(Text(model.result.name, overflow="fold"), ratio=1)
    table.add_row(*(Text(text, overflow="fold") for text in texts))
    return table
