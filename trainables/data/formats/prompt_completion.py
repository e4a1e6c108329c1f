"""A request and its answer in separate columns: Alpaca's, and the plainer prompt and completion."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainables.data.formats.base import choose_columns
from trainables.data.formats.messages import OPENAI, answer_text, read_messages, read_tools
from trainables.data.parsed_row import (
    InvalidRow,
    Layout,
    ParsedRow,
    Remarks,
    SkippedRow,
    abbreviated,
    parse_label,
)
from trainables.data.rows import Message

SHARED: dict[str, tuple[str, ...]] = {
    "system": ("system", "system_prompt"),
    "history": ("history",),
    "chosen": ("chosen",),
    "rejected": ("rejected", "rejected_response"),
    "kto_tag": ("kto_tag", "label"),
    "tools": ("tools",),
}


@dataclass(frozen=True)
class PromptCompletionFormat:
    """Rows with a request and an answer. LLaMA-Factory's parts: ``prompt``, ``query`` (its input), ``response``."""

    name: str
    expected: str
    usual: Mapping[str, tuple[str, ...]]
    tags: Mapping[str, str] = field(default_factory=dict)

    def fits(self, columns: Mapping[str, str]) -> bool:
        return "prompt" in columns and bool(columns.keys() & {"response", "chosen"})

    def columns(self, existing: Collection[str], given: Mapping[str, str]) -> dict[str, str]:
        return choose_columns(self.usual, existing, given)

    def convert(self, row: Mapping[str, Any], layout: Layout, remarks: Remarks) -> ParsedRow:
        prompt = self._prompt(row, layout)
        chosen, rejected = _preferred(row, layout)
        # The response of a pair is its chosen answer, and no turn of the prompt.
        answer = () if chosen is not None else _answer(row, layout)
        return ParsedRow(
            messages=(*prompt, *answer),
            chosen=chosen,
            rejected=rejected,
            label=parse_label(layout.get(row, "kto_tag")),
            tools=read_tools(layout.get(row, "tools")),
        )

    def _prompt(self, row: Mapping[str, Any], layout: Layout) -> tuple[Message, ...]:
        given = layout.get(row, "prompt")
        if isinstance(given, list):  # TRL's conversational form
            return read_messages(given, OPENAI)
        system = layout.text(row, "system")
        first: list[Message] = [{"role": "system", "content": system}] if system else []
        # The user's turn is the instruction, a newline, the input; what is empty is left out.
        parts = [text for part in ("prompt", "query") if (text := layout.text(row, part))]
        if not parts:
            raise SkippedRow("its prompt is empty")
        request: Message = {"role": "user", "content": "\n".join(parts)}
        return (*first, *_history(layout.get(row, "history")), request)


def _answer(row: Mapping[str, Any], layout: Layout) -> tuple[Message, ...]:
    value = layout.get(row, "response")
    # TRL's conversational form has messages here as well.
    text = answer_text(value, OPENAI) if isinstance(value, list | dict) else layout.text(row, "response")
    # An empty cell is a row without its answer; a file without the column has no answers to miss.
    if "response" in layout.columns and not text.strip():
        raise SkippedRow("its answer is empty")
    return ({"role": "assistant", "content": text},) if text else ()


def _preferred(row: Mapping[str, Any], layout: Layout) -> tuple[str | None, str | None]:
    both = layout.get(row, "response")
    if isinstance(both, list) and len(both) == 2 and all(isinstance(answer, str) for answer in both):
        return both[0], both[1]  # LLaMA-Factory's older form, output: [chosen, rejected]
    rejected = layout.get(row, "rejected")
    if rejected is None:
        return None, None
    # ms-swift writes the chosen answer as the response.
    chosen = layout.get(row, "chosen" if "chosen" in layout.columns else "response")
    return answer_text(chosen, OPENAI), answer_text(rejected, OPENAI)


def _history(value: Any) -> list[Message]:
    if value in (None, "", []):
        return []
    if not isinstance(value, list) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
        for pair in value
    ):
        raise InvalidRow(f"history must be a list of [request, answer], got {abbreviated(value)}")
    return [
        {"role": role, "content": text}
        for pair in value
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]


ALPACA = PromptCompletionFormat(
    "alpaca",
    "instruction, input, output",
    {"prompt": ("instruction",), "query": ("input",), "response": ("output",), **SHARED},
)
COMPLETION = PromptCompletionFormat(
    "completion",
    "prompt and completion",
    {
        "prompt": ("prompt", "query", "question"),
        "response": ("completion", "response", "answer", "reference"),
        **SHARED,
    },
)
