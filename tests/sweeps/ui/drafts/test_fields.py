"""The form's fields are those of the spec's classes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field, create_model

from sweeps.spec.claims.reading import KINDS
from sweeps.spec.schema import ENTRY_CLASSES, SECTION_CLASSES
from sweeps.ui.drafts import fields
from sweeps.ui.drafts.fields import form_fields
from trainables.methods.lora import LoRA


def field(part: str, name: str, kind: str | None = None) -> dict[str, Any]:
    found = (
        form_fields()["sections"][part] if kind is None else form_fields()["entries"][part][kind]["fields"]
    )
    return next(each for each in found if each["name"] == name)


def test_every_section_and_kind_has_a_form() -> None:
    assert set(form_fields()["sections"]) == set(SECTION_CLASSES)
    assert {part: set(kinds) for part, kinds in form_fields()["entries"].items()} == {
        part: set(classes) for part, classes in ENTRY_CLASSES.items()
    }


def test_kinds_limits_defaults_and_options_are_those_of_the_classes() -> None:
    rank = field("methods", "rank", "lora")
    assert (rank["kind"], rank["minimum"], rank["maximum"], rank["default"]) == ("integer", 1, 65536, 8)
    assert (field("train", "learning_rate")["kind"], field("train", "learning_rate")["above"]) == (
        "number",
        0,
    )
    assert field("train", "packing")["options"] == (False, True, "stream")
    assert field("methods", "bits", "qlora")["options"] == (1, 2, 3, 4, 5, 6, 8)
    assert field("resources", "gpus")["options"] == ("auto",)
    assert field("search", "early_exit") | {"help": ""} == {
        **field("search", "early_exit"), "help": "", "kind": "choices", "options": ("diverged", "overfitted"),
        "default": ["diverged"],
    }  # fmt: skip
    assert field("search", "from")["name"] == "from"  # as it is written, not as Python calls it


def test_what_planning_fills_in_is_not_asked_for() -> None:
    names = {each["name"] for found in form_fields()["sections"].values() for each in found}
    assert not names & {"sha256", "fingerprint", "start", "quality_file", "quality_sha256"}


def test_settings_of_trials_can_be_searched_and_those_of_the_sweep_cannot() -> None:
    assert field("train", "learning_rate")["ways"] == ("choice", "log", "uniform", "int", "compare")
    assert field("methods", "rank", "lora")["ways"] == ("choice", "int", "compare")
    assert field("model", "dtype")["ways"] == ("compare",)
    assert field("search", "trials")["ways"] == ()


def test_help_is_what_docstrings_and_comments_say() -> None:
    assert "exit_reports" in field("search", "exit_reports")["help"]
    assert field("data", "cutoff")["help"] == "tokens of prompt and answer together."
    assert field("stages", "gamma", "ppo")["help"].startswith("Discount per token.")


def test_a_new_method_has_a_form_by_itself(monkeypatch) -> None:
    made = create_model("Rotated", __base__=LoRA, angle=(float, Field(default=0.5, gt=0, le=3)))
    made.__doc__ = "Adapters that turn. ``angle``: how far they turn."
    monkeypatch.setitem(ENTRY_CLASSES["methods"], "rotated", made)
    form_fields.cache_clear()
    try:
        angle = field("methods", "angle", "rotated")
        assert (angle["kind"], angle["above"], angle["maximum"], angle["default"]) == ("number", 0, 3, 0.5)
        assert angle["help"] == "how far they turn."
    finally:
        fields.form_fields.cache_clear()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_new_claim_is_valid_once_it_names_its_cells(kind: str) -> None:
    claim = form_fields()["claims"][kind]
    cells = {
        key: ["lora", "full"] if key == "of" else {"a": "lora", "b": "full"}[key] for key in claim["cells"]
    }
    KINDS[kind].model_validate({**claim["value"], **cells})
    assert claim["help"]
