"""Rich's console for texts of others: what a terminal would obey in them is shown and not obeyed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from trainables.system.shown_text import shown


class GuardedConsole(Console):
    """A console that writes the codes of its own styles, and none that stand in the texts it is given."""

    @property
    def file(self) -> IO[str]:
        """The stream below all that stand before it: a live display puts one before that of the guarded terminal, which
        would show the codes of this console as if they were a text of others.
        """
        stream = super().file
        while (below := getattr(stream, "rich_proxied_file", stream)) is not stream:
            stream = below
        return stream

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            # A segment of control codes is Rich's own, for the cursor.
            yield segment if segment.control else Segment(shown(segment.text), segment.style)
