"""No text of somebody else gives a terminal or a browser orders."""

from __future__ import annotations

import io
import re
import sys
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sweeps.console.guarded_console import GuardedConsole
from tests.helpers.terminal_orders import ORDERS, obeyed
from trainables.system.shown_text import TerminalStream, guard_terminals, shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_orders_are_shown_and_not_obeyed(order: str) -> None:
    assert obeyed(order)
    assert obeyed(shown(f"a{order}b\n")) == []
    assert shown(shown(order)) == shown(order)


@pytest.mark.parametrize("text", ["plain\ttext\n", "日本語", "👩‍👩‍👧 ❤️", "می‌خواهم", "naïve\u0301", "العربية"])
def test_scripts_and_emoji_stay_as_they_are(text: str) -> None:
    assert shown(text) == text


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("kind", ["text", "markup", "table", "live"])
def test_a_console_writes_the_codes_of_its_own_styles_alone(order: str, kind: str) -> None:
    def written(text: str) -> str:
        out = Terminal()
        console = GuardedConsole(file=out, force_terminal=True, width=60, color_system="standard")
        table = Table(box=None)
        table.add_column(Text(text))
        table.add_row(Text(text, style="bold"))
        if kind == "text":
            console.print(Text(text, style="red"))
        elif kind == "markup":
            console.print(f"[red]{escape(text)}[/red]")
        elif kind == "table":
            console.print(table)
        else:
            with Live(table, console=console, auto_refresh=False) as live:
                live.update(table, refresh=True)
                console.print(text, highlight=False, markup=False)
        return out.getvalue()

    out = written(order)
    assert [c for c in obeyed(out) if c not in "\x1b\r"] == []  # which Rich itself writes
    assert "\x1b" not in order or ("␛" in out and order not in out)


def test_print_to_a_terminal_is_guarded_and_to_a_file_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, file = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", file)
    guard_terminals()
    guard_terminals()  # a second time changes nothing
    for order in ORDERS.values():
        print(order)
        print(order, file=sys.stderr)
    assert obeyed(terminal.getvalue()) == []
    assert file.getvalue() == "".join(f"{order}\n" for order in ORDERS.values())


def test_richs_own_consoles_keep_their_colours_on_a_guarded_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal: Any = Terminal()
    monkeypatch.setattr(sys, "stdout", TerminalStream(terminal))
    Console(force_terminal=True, color_system="standard").print("[red]help[/red]")
    assert "\x1b[31mhelp" in terminal.getvalue()


@pytest.mark.parametrize("stderr", [False, True])
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_a_live_display_moves_the_cursor_of_a_guarded_terminal_and_no_text_does(
    monkeypatch: pytest.MonkeyPatch, stderr: bool, order: str
) -> None:
    name = "stderr" if stderr else "stdout"
    terminal: Any = Terminal()
    monkeypatch.setattr(sys, name, TerminalStream(terminal))
    console = GuardedConsole(stderr=stderr, force_terminal=True, width=60, color_system="standard")
    with Live(Text("one", style="bold"), console=console, auto_refresh=False) as live:
        print(f"printed {order}", file=getattr(sys, name))
        live.update(Text(f"two {order}", style="bold"), refresh=True)
    out = terminal.getvalue()
    assert "\x1b[1mone" in out
    assert "\r\x1b[2K" in out  # the line is overwritten
    assert not re.search("␛\\[(1m|2K|0m|1A)|␍␛", out.replace(shown(order), ""))
    assert [character for character in obeyed(out) if character not in "\x1b\r"] == []
    assert "\x1b" not in order or order not in out
