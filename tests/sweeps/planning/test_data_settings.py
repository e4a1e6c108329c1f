"""Mistakes in the data's settings are reported at their own line of the spec, and what files hold, beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.specs import SPEC, plan, problems, spec_folder


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = spec_folder(tmp_path_factory.mktemp("data"))
    rows = ({"frage": f"say {n} {{{{how}}}}", "antwort": str(n), "label": n % 2} for n in range(60))
    (folder / "german.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def data(*lines: str) -> str:
    """A spec whose data has these lines, the first of which is line 4."""
    settings = "".join(f"  {line}\n" for line in lines)
    head = "data:\n  train: german.jsonl\n" + settings
    return SPEC.replace("data: {train: rows.jsonl, eval_fraction: 0.4}\n", head)


COLUMNS = "columns: {prompt: frage, response: antwort}"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            ("columns:", "  prompt: frage", "  respons: antwort"),
            "spec.yaml:7 data.columns.respons: unknown part respons; parts: prompt, ",
        ),
        (
            ("columns:", "  prompt: Frage", "  response: antwort"),
            "spec.yaml:6 data.columns.prompt: german.jsonl:1: has no column Frage, which prompt should be in; "
            "it has frage, antwort, label. Did you mean frage?",
        ),
        (
            (COLUMNS, "variables:", "  how: softly", "  who: you"),
            "spec.yaml:8 data.variables.who: no row has {{who}}",
        ),
        (
            (COLUMNS, "variables: {how: null}"),
            'spec.yaml:6 data.variables.how: null is no text; in quotes it is: "null"',
        ),
        ((COLUMNS, "variables: [how]"), "spec.yaml:6 data.variables: got [how]; allowed: a mapping"),
        (
            (COLUMNS, "ignore_columns: [lable]"),
            "spec.yaml:6 data.ignore_columns: no file has a column lable; there are antwort, frage, label. "
            "Did you mean label?",
        ),
        ((COLUMNS, "tags: {user: me}"), "spec.yaml:6 data.tags.user: unknown tag user; known: role_tag"),
        ((COLUMNS, "eval: gone.jsonl"), "spec.yaml:6 data.eval: no file gone.jsonl"),
        (
            (COLUMNS, "eval_fraction: 0.999"),
            "spec.yaml:6 data.eval_fraction: german.jsonl has 60 rows and eval_fraction 0.999 leaves none for the "
            "training part",
        ),
    ],
)
def test_a_mistake_is_reported_at_the_line_of_its_setting(
    workdir: Path, lines: tuple[str, ...], problem: str
) -> None:
    assert any(each.startswith(problem) for each in problems(workdir, data(*lines)))


def test_a_number_among_the_variables_is_the_text_that_was_written(workdir: Path) -> None:
    text = data(COLUMNS, "variables: {how: 1.10}")
    for sets in ((), ("data.variables.how=1.10",), ("data.variables={how: 1.10}",)):
        (cell, _) = plan(workdir, text, sets).cells
        assert cell.tree["data"]["variables"] == {"how": "1.10"}


def test_the_plan_names_the_columns_that_are_read_and_those_that_are_not(workdir: Path) -> None:
    made = plan(workdir, data(COLUMNS, "variables: {how: softly}"))
    (note,) = [note for note in made.notes if note.startswith("german.jsonl: ")]
    assert note.startswith(
        "german.jsonl: alpaca format (detected from its columns: frage as prompt, antwort as response; "
        "not read: label; the 0 and 1 of label may be classes"
    )


def test_settings_of_columns_that_came_later_leave_earlier_trial_ids_as_they_are(workdir: Path) -> None:
    from trainables.config.data import DataConfig
    from trainables.trial.config import LATER_SETTINGS

    defaults = DataConfig(train="x").model_dump(mode="json")
    assert all(defaults[key] == default for key, default in LATER_SETTINGS["data"].items())
    assert {"ignore_columns", "tags"} <= LATER_SETTINGS["data"].keys()


@pytest.mark.parametrize("ignored", ["[]", "[label]", "label"])
def test_columns_to_ignore_are_a_list_or_one_name(workdir: Path, ignored: str) -> None:
    text = data(
        "columns: {prompt: frage, response: antwort}", f"ignore_columns: {ignored}", "variables: {how: so}"
    )
    assert problems(workdir, text) == []
