"""Talking to one result or several in a terminal, each with its own history; or answering lines from a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TextIO

from trainables.inference.generator import PromptTooLong, prompt_tokens, remaining_tokens, stream_answer
from trainables.inference.sampling import Sampling
from trainables.system.suggestions import did_you_mean
from trainables.templates import TemplateError

if TYPE_CHECKING:
    from trainables.inference.model_pool import LoadedModel

HELP = """\
/system TEXT        what the models are told first (alone: nothing); begins anew
/clear              begins anew
/params [NAME=VALUE ...]  how answers are drawn; alone: shows it
/quit               ends this, as Ctrl-D does
A line that ends in \\ goes on in the next."""
Say = Callable[[int, str], None]  # whose answer, and what it brings
GIVEN = {each.name: each for each in fields(Sampling)}


class WrongCommand(ValueError):  # noqa: N818
    """A command that is none, with what there is."""


@dataclass
class Talk:
    """Conversations with several results, who all are asked the same."""

    results: Sequence[LoadedModel]
    sampling: Sampling
    system: str | None = None
    histories: list[list[dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        first = [{"role": "system", "content": self.system}] if self.system else []
        self.histories = [list(first) for _ in self.results]

    def ask(self, text: str, say: Say) -> None:
        """Has each answer ``text``, one after the other, and tells ``say(result, piece)`` while they do.

        What is interrupted counts as said. Raises ``TemplateError`` and ``TooLong``; then nothing was asked.
        """
        asked = [[*history, {"role": "user", "content": text}] for history in self.histories]
        prompts = [prompt_tokens(loaded, each) for loaded, each in zip(self.results, asked, strict=True)]
        for loaded, prompt in zip(self.results, prompts, strict=True):
            remaining_tokens(loaded, prompt)
        for number, (loaded, prompt) in enumerate(zip(self.results, prompts, strict=True)):
            said = ""
            say(number, "")  # an answer may be empty
            try:
                for piece in stream_answer(loaded, prompt, self.sampling):
                    said += piece
                    say(number, piece)
            finally:
                self.histories[number] = [*asked[number], {"role": "assistant", "content": said}]

    def command(self, line: str) -> str | None:
        """What a ``/command`` has to say; ``None`` for the one that ends the talk. Raises :class:`WrongCommand`."""
        name, _, rest = line.partition(" ")
        if name in ("/quit", "/exit"):
            return None
        if name == "/system":
            self.system = rest.strip() or None
        if name in ("/system", "/clear"):
            self.clear()
            return f"begun anew{', with a system message' if self.system else ''}"
        if name == "/params":
            self.sampling = changed(self.sampling, rest.split())
            return shown(self.sampling)
        if name == "/help":
            return HELP
        known = ("/system", "/clear", "/params", "/quit", "/help")
        raise WrongCommand(f"{name} is no command; there are {', '.join(known)}{did_you_mean(name, known)}")


def changed(sampling: Sampling, settings: Sequence[str]) -> Sampling:
    """The sampling with ``NAME=VALUE`` settings. Raises :class:`WrongCommand` that names what is wrong."""
    found: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if name not in GIVEN or not equals:
            raise WrongCommand(f"{setting}: give NAME=VALUE of {', '.join(GIVEN)}{did_you_mean(name, GIVEN)}")
        try:
            found[name] = _value(name, value)
        except ValueError as error:
            raise WrongCommand(f"{setting}: {value!r} is no number") from error
    try:
        return replace(sampling, **found)
    except ValueError as error:
        raise WrongCommand(str(error)) from None


def _value(name: str, value: str) -> Any:
    if name == "stop":
        return tuple(value.split(",")) if value else ()
    if name == "seed" and value in ("", "none"):
        return None
    return int(value) if isinstance(GIVEN[name].default, int) or name == "seed" else float(value)


def shown(sampling: Sampling) -> str:
    return "  ".join(f"{name}={json.dumps(getattr(sampling, name))}" for name in GIVEN)


def typed() -> Iterator[str]:
    """The lines that somebody types, until Ctrl-D; the arrow keys bring earlier ones back."""
    with suppress(ImportError):
        import readline  # noqa: F401  # has `input` know the arrow keys
    with suppress(EOFError):
        while True:
            yield input("> ")


def whole(lines: Iterable[str]) -> Iterator[str]:
    """What is said: a line, or several of which each but the last ends in a backslash."""
    held: list[str] = []
    for line in lines:
        text = line.rstrip("\n")
        held.append(text.removesuffix("\\"))
        if not text.endswith("\\"):
            said, held = "\n".join(held).strip(), []
            if said:
                yield said
    if rest := "\n".join(held).strip():
        yield rest


def run(talk: Talk, source: Iterable[str], page: Page) -> None:
    """Goes on until the source ends, or ``/quit``. Ctrl-C ends an answer, and without one the talk."""
    for text in whole(source):
        try:
            if text.startswith("/"):
                answer = talk.command(text)
                if answer is None:
                    return
                page.note(answer)
                continue
            with page.answers(talk) as say:
                talk.ask(text, say)
        except KeyboardInterrupt:
            page.note("(interrupted)")
        except (WrongCommand, TemplateError, PromptTooLong) as error:
            page.note(str(error))


class Page:
    """Where answers go: for a pipe, one after the other, each with its result's name where there are several."""

    def __init__(self, out: TextIO | None = None, notes: TextIO | None = None) -> None:
        self.out, self.notes = out or sys.stdout, notes or sys.stderr

    def note(self, text: str) -> None:
        print(text, file=self.notes)

    @contextmanager
    def answers(self, talk: Talk) -> Iterator[Say]:
        """What is to be called with each piece of an answer."""
        last = -1

        def say(number: int, piece: str) -> None:
            nonlocal last
            if number != last and len(talk.results) > 1:
                self.out.write(f"{'' if last < 0 else chr(10)}{talk.results[number].result.name}: ")
            last = number
            self.out.write(piece)
            self.out.flush()

        try:
            yield say
        finally:
            self.out.write("\n")
            self.out.flush()


class Columns(Page):
    """A terminal, with several answers side by side."""

    @contextmanager
    def answers(self, talk: Talk) -> Iterator[Say]:
        from rich.live import Live

        said = ["" for _ in talk.results]
        with Live(_table(talk, said), refresh_per_second=8, vertical_overflow="visible") as live:

            def say(number: int, piece: str) -> None:
                said[number] += piece
                live.update(_table(talk, said))

            yield say


def _table(talk: Talk, said: Sequence[str]) -> Any:
    from rich.table import Table
    from rich.text import Text

    found = Table(expand=True)
    for loaded in talk.results:
        found.add_column(Text(loaded.result.name, overflow="fold"), ratio=1)
    found.add_row(*(Text(each, overflow="fold") for each in said))
    return found
