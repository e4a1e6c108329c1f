"""The key that others sign in with: no command that the UI starts gets it, and no text shows it."""

from __future__ import annotations

import os

import pytest

from sweeps.commands import ui
from sweeps.execution.detached.run_request import forwarded
from trainables.system.redaction import redacted

KEY = "a key that nobody should see"


def test_commands_do_not_inherit_the_key_and_texts_do_not_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ui.KEY_VARIABLE, KEY)
    assert ui._take_key() == KEY
    assert ui.KEY_VARIABLE not in os.environ
    assert redacted(f"it is {KEY}.") == "it is ***."
    assert ui._take_key() is None


def test_drivers_on_clusters_do_not_get_keys_of_servers() -> None:
    variables = {"PARETUNE_UI_KEY": KEY, "PARETUNE_API_KEY": KEY, "PARETUNE_HOME": "/cache"}
    assert forwarded(variables) == {"PARETUNE_HOME": "/cache"}
