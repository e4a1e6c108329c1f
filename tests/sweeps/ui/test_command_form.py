"""The forms of commands: their fields are the command's own options, and no value becomes an option."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from sweeps.cli import app
from sweeps.console.export import DTYPES
from sweeps.ui.command_form import CommandForm, WrongValue, command_form
from sweeps.ui.option_choices import CHOICES
from sweeps.ui.pages import evaluate, export
from sweeps.ui.translation import Translator
from trainables.config.model import Unsafe
from trainables.evaluation.evaluation_rows import Kind, Part
from trainables.export.gguf import TYPES
from trainables.methods.own_method import TRUST

SHOWN = {
    "evaluate": {*evaluate.ROWS, *evaluate.ANSWERS, *evaluate.FURTHER, *evaluate.OUTPUT},
    "export": {*export.FIRST, *export.FILES, *export.HUB},
}


@pytest.fixture(scope="module", params=["evaluate", "export"])
def form(request: pytest.FixtureRequest) -> CommandForm:
    return command_form(app, request.param)


def test_a_form_has_every_option_that_the_commands_help_has(form: CommandForm) -> None:
    described = CliRunner().invoke(app, [form.command, "--help"], env={"COLUMNS": "200"}).output
    assert {each.flag for each in form.fields.values()} >= {"--force", "--trust"}
    assert all(each.flag in described for each in form.fields.values())
    assert SHOWN[form.command] == set(form.fields)


def test_the_english_words_of_an_option_are_the_commands_own(form: CommandForm) -> None:
    english, chinese = Translator("en"), Translator("zh")
    for name, field in form.fields.items():
        assert english(f"{form.command}.help_{name}") == field.help
        assert chinese(f"{form.command}.help_{name}") != field.help


def test_the_choices_of_menus_are_those_that_commands_accept() -> None:
    assert {
        "part": get_args(Part),
        "kind": get_args(Kind),
        "dtype": DTYPES,
        "gguf": tuple(TYPES),
        "trust": (*get_args(Unsafe), TRUST),
    } == CHOICES


def test_values_become_one_argument_each() -> None:
    values = {
        "rows": "20",
        "generate": False,
        "benchmark": ["arc", "piqa"],
        "kind": "pairs",
        "force": True,
        "data": "",
    }
    assert command_form(app, "evaluate").arguments(values) == [
        "--as=pairs", "--rows=20", "--no-generate", "--benchmark=arc", "--benchmark=piqa", "--force",
    ]  # fmt: skip


def test_a_value_that_begins_with_a_dash_is_no_option() -> None:
    assert command_form(app, "export").arguments({"push": "--public"}) == ["--push=--public"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rows", "0"), ("rows", "x"), ("rows", "1e3"), ("seed", "-1"), ("force", "yes"), ("data", "a\nb"),
        ("data", "a\0b"), ("data", {"a": 1}), ("data", "x" * 5000), ("nothing", "1"), ("--force", True),
        ("as_json", True), ("temperature", True), ("temperature", "nan?"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_field(name: str, value: Any) -> None:
    with pytest.raises(WrongValue) as refused:
        command_form(app, "evaluate").arguments({name: value})
    assert refused.value.name == name


def test_forms_are_read_without_torch_and_ray() -> None:
    program = (
        "import sys, sweeps.ui.server, sweeps.ui.start\n"
        "from sweeps.cli import app\nfrom sweeps.ui.command_form import command_form\n"
        "command_form(app, 'evaluate'), command_form(app, 'export')\n"
        "print([name for name in ('torch', 'ray', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
