"""Problems of a spec as JSON: their places in the text, and corrections that an editor can apply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeps.planning.plan import make
from sweeps.planning.plan_json import plan_json, refused_json
from sweeps.spec.positions import places
from sweeps.spec.problems import SpecError
from sweeps.spec.spec import from_text
from tests.helpers.specs import SPEC, spec_folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    return spec_folder(tmp_path)


def problem(folder: Path, text: str, path: str) -> dict[str, Any]:
    found = plan_json(make(from_text(text, folder / "spec.yaml")))["problems"]
    return next(each for each in found if each["path"] == path)


def applied(text: str, fix: dict[str, Any]) -> str:
    """The text after the correction, as an editor applies it."""
    lines = text.splitlines(keepends=True)
    line, start, end = lines[fix["line"] - 1], fix["column"] - 1, fix["end_column"] - 1
    assert line[start:end] == fix["old"]
    lines[fix["line"] - 1] = line[:start] + fix["new"] + line[end:]
    return "".join(lines)


@pytest.mark.parametrize(
    ("good", "wrong", "path"),
    [
        pytest.param("rank:", "rnak:", "methods[1].rnak", id="an unknown key"),
        pytest.param("kind: lora", "kind: lroa", "methods[1].kind", id="an unknown kind"),
        pytest.param(
            "eval_fraction: 0.4", 'eval_fraction: "0.4"', "data.eval_fraction", id="a quoted number"
        ),
        pytest.param("rows.jsonl", "row.jsonl", "data.train", id="a missing file beside the right one"),
        pytest.param("batch_size: 2,", "batch_size: 2, optimizer: adamw,", "", id="nothing wrong"),
    ],
)
def test_a_correction_of_one_mistake_gives_the_spec_that_was_meant(
    folder: Path, good: str, wrong: str, path: str
) -> None:
    text = SPEC.replace(good, wrong)
    assert text != SPEC
    if not path:
        found = plan_json(make(from_text(text, folder / "spec.yaml")))["problems"]
        assert all(each["fix"] is None for each in found)
        return
    found = problem(folder, text, path)
    assert (found["severity"], found["line"]) == ("error", found["fix"]["line"])
    assert applied(text, found["fix"]) == SPEC


def test_the_ends_of_a_domain_are_swapped_and_its_other_options_stay(folder: Path) -> None:
    text = SPEC.replace("{log: [1e-4, 5e-3]}", "{log: [5e-3, 1e-4], start: 1e-3}")
    fix = problem(folder, text, "train.learning_rate")["fix"]
    assert "learning_rate: {log: [0.0001, 0.005], start: 0.001}}" in applied(text, fix)


def test_a_name_that_is_short_for_a_mapping_is_corrected_in_place(folder: Path) -> None:
    text = SPEC.replace("model: {path: model}", "model: smollm2-135")
    fix = problem(folder, text, "model.name")["fix"]
    assert "model: smollm2-135m\n" in applied(text, fix)


def test_a_key_that_belongs_elsewhere_has_no_correction_in_place(folder: Path) -> None:
    text = SPEC.replace("search: {trials: 3}", "search: {trials: 3, learning_rate: 1}")
    found = problem(folder, text, "search.learning_rate")
    assert "Did you mean train.learning_rate" in found["message"]
    assert found["fix"] is None


def test_a_setting_of_another_part_is_not_corrected_to_a_part_of_its_name(folder: Path) -> None:
    found = problem(folder, f"{SPEC}dataset: rows.jsonl\n", "dataset")
    assert "Did you mean data.train?" in found["message"]
    assert found["fix"] is None


def test_a_value_of_an_option_has_no_place_in_the_text(folder: Path) -> None:
    planned = make(from_text(SPEC, folder / "spec.yaml", ("methods[1].kind=lroa",)))
    (found,) = (each for each in plan_json(planned)["problems"] if each["severity"] == "error")
    assert (found["line"], found["column"], found["fix"]) == (None, None, None)


def test_a_tab_is_a_problem_with_its_place_and_its_correction() -> None:
    text = "name: a\nmodel:\n\tpath: x\n"
    with pytest.raises(SpecError) as caught:
        from_text(text, Path("spec.yaml"))
    (found,) = refused_json(caught.value)["problems"]
    assert (found["line"], found["column"]) == (3, 1)
    assert applied(text, found["fix"]) == "name: a\nmodel:\n  path: x\n"


def test_places_of_aliases_and_of_a_text_that_is_no_yaml() -> None:
    where = places("a: &x\n  b: 1\nd: *x\n")
    assert where["d", "b"].value == where["a", "b"].value
    assert places("a: [1\nb: 2") == {}
