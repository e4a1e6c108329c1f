"""A request and its answer in separate columns: Alpaca's, and the plainer prompt and completion."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trainables.data.formats.base import choose_columns
from trainables.data.formats.class_labels import USUAL, with_classes
from trainables.data.formats.messages import (
    OPENAI,
    is_message,
    read_answer,
    read_messages,
    remark_on_text,
)
from trainables.data.formats.pairs import divide_answer, divide_pair
from trainables.data.formats.tool_calls import parse_json, with_tools
from trainables.data.formats.turns import arranged
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
    "chosen": ("chosen", "chosen_messages"),
    "rejected": ("rejected", "rejected_response", "rejected_messages"),
    "kto_tag": ("kto_tag", "label"),
    "tools": ("tools",),
    **USUAL,
}


@dataclass(frozen=True)
class PromptCompletionFormat:
    """Rows with a request and an answer. LLaMA-Factory's parts: ``prompt``, ``query`` (its input), ``response``."""

    name: str
    expected: str
    usual: Mapping[str, tuple[str, ...]]
    tags: Mapping[str, str] = field(default_factory=dict)
    reads_pairs_alone: bool = False

    def fits(self, columns: Mapping[str, str]) -> bool:
        # The prompt of a pair may be the beginning that both share.
        is_pair = self.reads_pairs_alone and {"chosen", "rejected"} <= columns.keys()
        return is_pair or ("prompt" in columns and bool(columns.keys() & {"response", "chosen"}))

    def columns(self, existing: Collection[str], given: Mapping[str, str | None]) -> dict[str, str]:
        return choose_columns(self.usual, existing, given)

    def convert(self, row: Mapping[str, Any], layout: Layout, remarks: Remarks) -> ParsedRow:
        prompt = _prompt(row, layout, remarks)
        # Without a prompt, texts that hold conversations as JSON are these conversations, as in a CSV file.
        answers = _answers(row, layout, remarks, as_json=not prompt)
        parsed = _with_answers(prompt, answers, layout, remarks)
        label = parse_label(layout.get(row, "kto_tag"), layout.columns.get("kto_tag", "label"))
        parsed = with_classes(replace(parsed, label=label), row, layout)
        return with_tools(parsed, _tools(row, layout), remarks)


def _tools(row: Mapping[str, Any], layout: Layout) -> Any:
    """The value of the tools' column, or of the tools that a prompt in OpenAI's form holds."""
    prompt = layout.get(row, "prompt")
    within = prompt.get("tools") if isinstance(prompt, dict) and "messages" in prompt else None
    return layout.get(row, "tools") or within


def _answers(row: Mapping[str, Any], layout: Layout, remarks: Remarks, as_json: bool) -> list[list[Message]]:
    """The chosen and the rejected answer, or the only one; none if the row has none."""
    response = layout.get(row, "response")
    if isinstance(response, list) and len(response) == 2 and all(isinstance(each, str) for each in response):
        parts = [
            ("response", answer) for answer in response
        ]  # LLaMA-Factory's older form: [chosen, rejected]
    else:
        # ms-swift writes the chosen answer as the response.
        first = "chosen" if "chosen" in layout.columns else "response"
        pair = [(part, layout.get(row, part)) for part in (first, "rejected")]
        parts = pair if not any(value in (None, []) for _, value in pair) else [("response", response)]
    return [
        read_answer(value, layout.columns[part], OPENAI, remarks, as_json)
        for part, value in parts
        if value not in (None, [])
    ]


def _with_answers(
    prompt: tuple[Message, ...], answers: list[list[Message]], layout: Layout, remarks: Remarks
) -> ParsedRow:
    if len(answers) == 2:
        messages, chosen, rejected = divide_pair(prompt, answers[0], answers[1], remarks)
        return ParsedRow(messages=messages, chosen=chosen, rejected=rejected)
    if not prompt:
        raise SkippedRow("its prompt is empty")
    if not answers:
        # An empty cell is a row without its answer; a file without the column has no answers to miss.
        if "response" in layout.columns and "chosen" not in layout.columns:
            raise SkippedRow("its answer is empty")
        return ParsedRow(messages=prompt)
    whole, start = divide_answer(prompt, answers[0], remarks)
    return ParsedRow(messages=whole, answer_start=start)


def _prompt(row: Mapping[str, Any], layout: Layout, remarks: Remarks) -> tuple[Message, ...]:
    """The messages before the answer; none if the row has no prompt."""
    given = layout.get(row, "prompt")
    if isinstance(given, dict) and isinstance(given.get("messages"), list):
        given = given["messages"]  # OpenAI's input of a pair
    if is_message(given, OPENAI):
        given = [given]
    if isinstance(given, list) and given and not all(isinstance(item, dict) for item in given):
        raise InvalidRow(
            f"{layout.columns['prompt']} must be a text or a list of messages, got {abbreviated(given)}; write one text"
        )
    if isinstance(given, list) and given:  # TRL's conversational form
        request = read_messages(given, OPENAI, remarks)
    else:
        for part in ("prompt", "query", "system"):
            remark_on_text(layout.get(row, part), layout.columns.get(part, part), OPENAI, remarks)
        # The user's turn is the instruction, a newline, the input; what is empty is left out.
        filled = [part for part in ("prompt", "query") if layout.get(row, part) not in ([], {})]
        parts = [text for part in filled if (text := layout.text(row, part, remarks))]
        request = [{"role": "user", "content": "\n".join(parts)}] if parts else []
    if not request:
        return ()
    history = _history(layout.get(row, "history"), layout, remarks)
    return arranged([*history, *request], remarks, layout.text(row, "system", remarks))


def _history(value: Any, layout: Layout, remarks: Remarks) -> list[Message]:
    if value in (None, "", []):
        return []
    name = layout.columns["history"]
    value = parse_json(value, name)
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return read_messages(value, OPENAI, remarks, name)
    if not isinstance(value, list) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
        for pair in value
    ):
        raise InvalidRow(
            f"{name} must be a list of [request, answer], or of messages, got {abbreviated(value)}"
        )
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
    reads_pairs_alone=True,
)
