"""Running text: one column, without roles."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainables.data.formats.base import choose_columns
from trainables.data.formats.class_labels import USUAL, with_classes
from trainables.data.parsed_row import Layout, ParsedRow, Remarks, SkippedRow


@dataclass(frozen=True)
class TextFormat:
    """Rows with one text, and possibly its class."""

    name: str = "text"
    usual: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {"text": ("text", "content"), **USUAL}
    )
    tags: Mapping[str, str] = field(default_factory=dict)
    expected: str = "text"

    def fits(self, columns: Mapping[str, str]) -> bool:
        return "text" in columns or "prompt" in columns

    def columns(self, existing: Collection[str], given: Mapping[str, str | None]) -> dict[str, str]:
        # LLaMA-Factory's registry names the text's column `prompt`.
        named = {"text" if part == "prompt" else part: column for part, column in given.items()}
        return choose_columns(self.usual, existing, named)

    def convert(self, row: Mapping[str, Any], layout: Layout, remarks: Remarks) -> ParsedRow:
        text = layout.text(row, "text", remarks)
        if not text.strip():
            raise SkippedRow("its text is empty")
        return with_classes(ParsedRow(text=text), row, layout)


TEXT = TextFormat()
