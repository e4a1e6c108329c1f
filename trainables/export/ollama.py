"""An Ollama Modelfile for an export: its chat template as Go's, where that writes the same, and where answers end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables import templates
from trainables.data.rows import Message

NAME = "Modelfile"
NOT_CONVERTED = (
    "# TEMPLATE is left out: this model's chat template does more than Ollama's can be shown to. Ollama reads the one\n"
    "# that is in the GGUF file or in tokenizer_config.json / chat_template.jinja, as far as it knows it."
)
GREEDY = "# The most likely token each time, as it was scored.\nPARAMETER temperature 0\nPARAMETER repeat_penalty 1"
SYSTEM, FIRST, ANSWER, SECOND = "PARETUNESYSTEM", "PARETUNEFIRST", "PARETUNEANSWER", "PARETUNESECOND"


@dataclass(frozen=True)
class ChatFormat:
    """A chat template that is nothing but texts around each message: ``head`` comes first where there is no system
    message, ``prompt`` last, where the answer begins.
    """

    head: str
    system: tuple[str, str]
    user: tuple[str, str]
    assistant: tuple[str, str]
    prompt: str

    def render(self, messages: Sequence[Message]) -> str:
        """The messages up to where the assistant's next answer begins."""
        around = {"system": self.system, "user": self.user, "assistant": self.assistant}
        parts = ["" if messages[0]["role"] == "system" else self.head]
        for message in messages:
            before, after = around[message["role"]]
            parts += [before, message["content"], after]
        return "".join([*parts, self.prompt])

    def without(self, begin: str) -> ChatFormat:
        """Without a token that Ollama writes itself before all else."""
        head, system = self.head.removeprefix(begin), self.system[0].removeprefix(begin)
        return ChatFormat(head, (system, self.system[1]), self.user, self.assistant, self.prompt)

    def go(self) -> str:
        """As a template of Go's ``text/template``, with what Ollama gives it: ``.System`` and ``.Messages``."""
        (system, system_end), (user, user_end), (answer, answer_end) = self.system, self.user, self.assistant
        return (
            f"{{{{- if not .System }}}}{_go(self.head)}{{{{- end }}}}\n"
            "{{- range $i, $_ := .Messages }}\n"
            "{{- $last := eq (len (slice $.Messages $i)) 1 }}\n"
            f'{{{{- if eq .Role "system" }}}}{_go(system)}{{{{ .Content }}}}{_go(system_end)}\n'
            f'{{{{- else if eq .Role "user" }}}}{_go(user)}{{{{ .Content }}}}{_go(user_end)}\n'
            f'{{{{- else if eq .Role "assistant" }}}}{_go(answer)}{{{{ .Content }}}}'
            f"{{{{- if not $last }}}}{_go(answer_end)}{{{{- end }}}}\n"
            "{{- end }}\n"
            f'{{{{- if and $last (ne .Role "assistant") }}}}{_go(self.prompt)}{{{{- end }}}}\n'
            "{{- end }}"
        )


def _go(text: str) -> str:
    """A text as a template's action that writes it: nothing around it is trimmed, nothing in it is read."""
    return f"{{{{ {json.dumps(text, ensure_ascii=False)} }}}}" if text else ""


def _conversations() -> list[list[Message]]:
    """What a form has to write as the tokenizer's template does."""

    def of(*contents: str, system: str | None = None) -> list[Message]:
        said = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(contents)]
        return [*([{"role": "system", "content": system}] if system else []), *said]

    odd = 'Say "a|b" {{ x }}\nand {% y %}, <b>é</b> \\n'
    return [
        of("Hello"),
        of("Hello", system="Be short."),
        of("Hello", "Hi.", "2 + 2?"),
        of(odd, odd, odd, system=odd),
        of("a", "b", "c", "d", "e"),
        of("a", "<think>\nhm\n</think>\n\nb", "c"),
    ]


def chat_format(tokenizer: Any) -> ChatFormat | None:
    """The form of a tokenizer's template, found by what it writes; ``None`` where it is no such, or writes more."""

    def write(*messages: Message, prompt: bool = False) -> str:
        return templates.render(tokenizer, list(messages), add_generation_prompt=prompt)

    try:
        found = _probed(write)
        same = all(found.render(chat) == write(*chat, prompt=True) for chat in _conversations())
    except (ValueError, KeyError, TypeError):  # TemplateError is a ValueError; so is a part that isn't found
        return None
    return found if same else None


def _probed(write: Any) -> ChatFormat:
    system, user = {"role": "system", "content": SYSTEM}, {"role": "user", "content": FIRST}
    answer, again = {"role": "assistant", "content": ANSWER}, {"role": "user", "content": SECOND}
    one, two, three = write(user), write(user, answer), write(user, answer, again)
    head_and_user, user_end = _split(one, FIRST)
    assistant = _split(_after(two, one), ANSWER)
    user_begin, _ = _split(_after(three, two), SECOND)
    system_begin, rest = _split(write(system, user), SYSTEM)
    return ChatFormat(
        head=_before(head_and_user, user_begin),
        system=(system_begin, _before(_split(rest, FIRST)[0], user_begin)),
        user=(user_begin, user_end),
        assistant=assistant,
        prompt=_after(write(user, prompt=True), one),
    )


def _split(text: str, middle: str) -> tuple[str, str]:
    before, after = text.split(middle)
    return before, after


def _after(text: str, start: str) -> str:
    if not text.startswith(start):
        raise ValueError("earlier messages read differently once others follow")
    return text[len(start) :]


def _before(text: str, end: str) -> str:
    if not text.endswith(end):
        raise ValueError("the first message is written differently")
    return text.removesuffix(end)


def _begins_itself(tokenizer: Any) -> str:
    """The token that is put before every text, by the tokenizer and hence by Ollama; empty where none is."""
    ids = tokenizer("a")["input_ids"]
    return str(tokenizer.bos_token) if ids and ids[0] == tokenizer.bos_token_id else ""


def modelfile(tokenizer: Any, ends: Sequence[str], weights: str) -> str:
    """The Modelfile's text. ``weights`` is what ``FROM`` names: a GGUF file beside it, or ``.``, its own folder."""
    found = chat_format(tokenizer)
    template = f'TEMPLATE """{found.without(_begins_itself(tokenizer)).go()}"""' if found else NOT_CONVERTED
    stops = [f"PARAMETER stop {json.dumps(end, ensure_ascii=False)}" for end in ends]
    return "\n".join(
        [
            "# ollama create NAME -f Modelfile",
            f"FROM {weights}",
            template,
            *stops,
            GREEDY,
            "",
        ]
    )


def write(folder: Path, tokenizer: Any, ends: Sequence[int]) -> None:
    """Writes a Modelfile for the model, or the GGUF file, that ``folder`` holds. ``ends``: ids that end an answer."""
    gguf = next((path.name for path in sorted(folder.glob("*.gguf"))), None)
    said = [tokenizer.convert_ids_to_tokens(end) for end in ends]
    (folder / NAME).write_text(modelfile(tokenizer, said, f"./{gguf}" if gguf else "."), encoding="utf-8")
