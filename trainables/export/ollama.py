"""An Ollama Modelfile for an export: stop texts, and the chat template as a Go template, if that renders the same."""

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
    "# TEMPLATE is left out: this model's chat template can't be converted to Ollama's. Ollama uses the one in the\n"
    "# GGUF file or in tokenizer_config.json / chat_template.jinja, as far as it supports it."
)
GREEDY = "# Greedy decoding, as in the evaluation.\nPARAMETER temperature 0\nPARAMETER repeat_penalty 1"
# Message contents by which the parts of a template are found in what it renders.
SYSTEM, FIRST, ANSWER, SECOND = "PARETUNESYSTEM", "PARETUNEFIRST", "PARETUNEANSWER", "PARETUNESECOND"


@dataclass(frozen=True)
class ChatFormat:
    """A chat template that consists of fixed texts before and after each message, by role.

    ``head`` comes first if there is no system message; ``prompt`` comes last, where the answer begins.
    """

    head: str
    system: tuple[str, str]
    user: tuple[str, str]
    assistant: tuple[str, str]
    prompt: str

    def render(self, messages: Sequence[Message]) -> str:
        """Renders a conversation up to where the assistant's next answer begins."""
        around = {"system": self.system, "user": self.user, "assistant": self.assistant}
        parts = ["" if messages[0]["role"] == "system" else self.head]
        for message in messages:
            before, after = around[message["role"]]
            parts += [before, message["content"], after]
        return "".join([*parts, self.prompt])

    def without(self, bos: str) -> ChatFormat:
        """The format without the token ``bos`` at the beginning, where Ollama adds it itself."""
        head, system = self.head.removeprefix(bos), self.system[0].removeprefix(bos)
        return ChatFormat(head, (system, self.system[1]), self.user, self.assistant, self.prompt)

    def go_template(self) -> str:
        """A template for Go's ``text/template`` with the variables of Ollama: ``.System`` and ``.Messages``."""
        # `{{-` trims the line feed before it. Fixed texts are actions, so that they are not trimmed.
        (system, system_end), (user, user_end), (answer, answer_end) = self.system, self.user, self.assistant
        return (
            f"{{{{- if not .System }}}}{_go_text(self.head)}{{{{- end }}}}\n"
            "{{- range $i, $_ := .Messages }}\n"
            "{{- $last := eq (len (slice $.Messages $i)) 1 }}\n"
            f'{{{{- if eq .Role "system" }}}}{_go_text(system)}{{{{ .Content }}}}{_go_text(system_end)}\n'
            f'{{{{- else if eq .Role "user" }}}}{_go_text(user)}{{{{ .Content }}}}{_go_text(user_end)}\n'
            f'{{{{- else if eq .Role "assistant" }}}}{_go_text(answer)}{{{{ .Content }}}}'
            # An assistant's message at the end stays open, to be continued.
            f"{{{{- if not $last }}}}{_go_text(answer_end)}{{{{- end }}}}\n"
            "{{- end }}\n"
            f'{{{{- if and $last (ne .Role "assistant") }}}}{_go_text(self.prompt)}{{{{- end }}}}\n'
            "{{- end }}"
        )


def _go_text(text: str) -> str:
    """A template action that writes ``text`` literally, so that nothing around it is trimmed."""
    return f"{{{{ {json.dumps(text, ensure_ascii=False)} }}}}" if text else ""


def _conversations() -> list[list[Message]]:
    """Conversations that a format has to render as the tokenizer's template does."""

    def conversation(*contents: str, system: str | None = None) -> list[Message]:
        messages = [
            {"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(contents)
        ]
        return [*([{"role": "system", "content": system}] if system else []), *messages]

    # Characters that mean something in Jinja, Go templates, JSON or HTML.
    odd = 'Say "a|b" {{ x }}\nand {% y %}, <b>é</b> \\n'
    return [
        conversation("Hello"),
        conversation("Hello", system="Be short."),
        conversation("Hello", "Hi.", "2 + 2?"),
        conversation(odd, odd, odd, system=odd),
        conversation("a", "b", "c", "d", "e"),
        conversation("a", "<think>\nhm\n</think>\n\nb", "c"),
    ]


def chat_format(tokenizer: Any) -> ChatFormat | None:
    """The format of a tokenizer's chat template, derived from what it renders.

    ``None`` for a template that is not of this form, or that does more.
    """

    def render(*messages: Message, prompt: bool = False) -> str:
        return templates.render(tokenizer, list(messages), add_generation_prompt=prompt)

    try:
        candidate = _probe(render)
        same = all(candidate.render(chat) == render(*chat, prompt=True) for chat in _conversations())
    except (ValueError, KeyError, TypeError):  # ValueError: a TemplateError, or a part that was not found
        return None
    return candidate if same else None


def _probe(render: Any) -> ChatFormat:
    """Finds the parts of a template in what it renders for marked messages. Raises ``ValueError`` if one is missing."""
    system, user = {"role": "system", "content": SYSTEM}, {"role": "user", "content": FIRST}
    answer, again = {"role": "assistant", "content": ANSWER}, {"role": "user", "content": SECOND}
    # Each is the beginning of the next one, so what is added between them are the parts.
    one, two, three = render(user), render(user, answer), render(user, answer, again)
    head_and_user, user_end = _split(one, FIRST)
    assistant = _split(_after(two, one), ANSWER)
    user_begin, _ = _split(_after(three, two), SECOND)
    system_begin, rest = _split(render(system, user), SYSTEM)
    return ChatFormat(
        head=_before(head_and_user, user_begin),
        system=(system_begin, _before(_split(rest, FIRST)[0], user_begin)),
        user=(user_begin, user_end),
        assistant=assistant,
        prompt=_after(render(user, prompt=True), one),
    )


def _split(text: str, middle: str) -> tuple[str, str]:
    # Anything but exactly one occurrence doesn't unpack, and raises ValueError.
    before, after = text.split(middle)
    return before, after


def _after(text: str, start: str) -> str:
    if not text.startswith(start):
        raise ValueError("earlier messages are rendered differently when others follow")
    return text[len(start) :]


def _before(text: str, end: str) -> str:
    if not text.endswith(end):
        raise ValueError("the first message is rendered differently")
    return text.removesuffix(end)


def _automatic_bos(tokenizer: Any) -> str:
    """The token that the tokenizer, and hence Ollama, puts before every text; empty if there is none."""
    ids = tokenizer("a")["input_ids"]
    return str(tokenizer.bos_token) if ids and ids[0] == tokenizer.bos_token_id else ""


def modelfile(tokenizer: Any, ends: Sequence[str], weights: str) -> str:
    """The content of a Modelfile. ``ends``: texts that end an answer. ``weights``: what ``FROM`` names, a GGUF file or
    a folder, relative to the Modelfile.
    """
    template, chat = NOT_CONVERTED, chat_format(tokenizer)
    if chat is not None:
        template = f'TEMPLATE """{chat.without(_automatic_bos(tokenizer)).go_template()}"""'
    stops = [f"PARAMETER stop {json.dumps(end, ensure_ascii=False)}" for end in ends]
    return "\n".join(["# ollama create NAME -f Modelfile", f"FROM {weights}", template, *stops, GREEDY, ""])


def write(folder: Path, tokenizer: Any, ends: Sequence[int]) -> None:
    """Writes a Modelfile for the GGUF file in ``folder``, else for its safetensors. ``ends``: token ids that end an
    answer.
    """
    gguf = next((path.name for path in sorted(folder.glob("*.gguf"))), None)
    tokens = [tokenizer.convert_ids_to_tokens(end) for end in ends]
    (folder / NAME).write_text(modelfile(tokenizer, tokens, f"./{gguf}" if gguf else "."), encoding="utf-8")
