"""The table of PEFT's adapter types in the documentation is that of the installed PEFT and of what plans accept."""

from __future__ import annotations

from pathlib import Path

from peft.utils.peft_types import PeftType

from tests.helpers import adapter_types
from trainables.methods import PeftAdapter
from trainables.models.folder import read_architecture


def test_the_table_is_the_one_that_the_installed_peft_gives() -> None:
    """``make reference`` writes it anew."""
    text = adapter_types.DOCUMENT.read_text(encoding="utf-8")
    assert adapter_types.with_table(text) == text


def test_its_types_are_pefts_and_those_that_do_not_train_are_refused_by_plans(tiny_model: Path) -> None:
    rows, architecture = adapter_types.rows(), read_architecture(tiny_model)
    assert rows.keys() <= {kind.value.lower() for kind in PeftType}
    refused = set()
    for name in rows:
        # An unknown option ends the check before anything is attached, and a refused type before that.
        found = dict(PeftAdapter.model_validate({"type": name, "no_option": 1}).problems(architecture))
        assert found.keys() <= {"type", "no_option"}
        refused |= {name} if "type" in found else set()
    accepted = {name for name, (trains, _, _) in rows.items() if trains == "yes"}
    assert accepted == rows.keys() - refused
    assert {"lora", "xlora"} <= refused
    assert {"ia3", "oft", "prompt_tuning"} <= accepted
