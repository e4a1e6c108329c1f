"""Running text: one column, no roles."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainables.data.formats.base import choose_columns
from trainables.data.parsed_row import Found, Layout, Skip


@dataclass(frozen=True)
class PlainText:
    name: str = "text"
    usual: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"text": ("text", "content")})
    tags: Mapping[str, str] = field(default_factory=dict)
    expected: str = "text"

    def fits(self, columns: Mapping[str, str]) -> bool:
        return "text" in columns or "prompt" in columns

    def columns(self, there: Collection[str], given: Mapping[str, str]) -> dict[str, str]:
        # LLaMA-Factory's registry names the text's column `prompt`.
        named = {"text" if part == "prompt" else part: column for part, column in given.items()}
        return choose_columns(self.usual, there, named)

    def convert(self, row: Mapping[str, Any], layout: Layout) -> Found:
        text = layout.text(row, "text")
        if not text.strip():
            raise Skip("its text is empty")
        return Found(text=text)


TEXT = PlainText()
