"""Parts of the draft page that need no server: origins, kinds of problems, data on offer, what can't work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeps.ui.children import Completed, WrongArgument
from sweeps.ui.children.short_commands import TIMED_OUT
from sweeps.ui.drafts import origins
from sweeps.ui.drafts.availability import rules
from sweeps.ui.drafts.checking import failure
from sweeps.ui.drafts.data_files import new_data_file, offered_data
from sweeps.ui.drafts.form_state import form_state
from sweeps.ui.drafts.memory_grid import keep_config, numbers
from sweeps.ui.drafts.problem_kinds import KINDS, kind_of
from sweeps.ui.drafts.starting import SpecExists, Start, WrongAddress
from sweeps.ui.translation import LANGUAGES, catalogue
from trainables.models.folder import ModelError


def test_an_upload_is_text_and_its_name_no_path() -> None:
    made = origins.uploaded(b"\xef\xbb\xbfname: x\n", "../../a b.yaml")
    assert (made.text, made.name) == ("name: x\n", "sweep")
    assert origins.uploaded(b"", "mine.yml").name == "mine"
    for wrong in (b"\xff\xfe", b"name: \x00"):
        with pytest.raises(ValueError, match="no text"):
            origins.uploaded(wrong, "x.yaml")


def test_a_spec_that_init_wrote_is_named_after_the_data() -> None:
    asked = origins.InitRequest.new("parts/rows.jsonl", None, None, 5)
    written = (
        f"# Written by paretune init parts/rows.jsonl --output {asked.file}.\nname: sweep  # in runs/sweep\n"
    )
    made = asked.made(written)
    assert made.text == "# Written by paretune init parts/rows.jsonl.\nname: rows  # in runs/rows\n"
    assert list(asked.argv()) == ["init", "parts/rows.jsonl", "--output", asked.file, "--minutes", "5"]


@pytest.mark.parametrize("name", ["../x", "-x", ".hidden", "a/b", "", "8"])
def test_a_spec_is_saved_under_a_name_of_a_file(name: str) -> None:
    assert origins.spec_name(f'name: "{name}"\n', "mine") == ("8" if name == "8" else "mine")


def test_every_kind_of_problem_has_words_in_every_language() -> None:
    for language in LANGUAGES:
        for kind, pattern in KINDS:
            catalogue(language)[f"problems.{kind}"].format(**dict.fromkeys(pattern.groupindex, "x"))


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("unknown key. Did you mean rank? Allowed: rank, alpha", ("unknown_key_meant", {"meant": "rank"})),
        ("no file /data/x.jsonl; give a path, or 'commands'", ("missing_file", {"path": "/data/x.jsonl"})),
        ("got -1; allowed: at least 1", ("out_of_range", {"got": "-1", "allowed": "at least 1"})),
        ("log needs 0 < low < high, got low=64, high=8. Swap them?", ("swapped", {"low": "64", "high": "8"})),
        ("got 99,999; the maximum is 65,536", ("too_large", {"got": "99,999", "limit": "65,536"})),
        ("something rare", None),
    ],
)  # fmt: skip
def test_frequent_problems_are_known_by_their_messages(message: str, kind: object) -> None:
    assert kind_of(message) == kind


def test_data_on_offer_is_read_anew_and_leaves_out_links_that_lead_out(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "secret.jsonl").write_text("{}")
    (folder / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (folder / "rows.jsonl").write_text("{}")
    assert offered_data(folder)["files"] == ["rows.jsonl"]
    (folder / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": "rows.jsonl"}}))
    assert offered_data(folder)["registered"] == ["mine"]
    (folder / "dataset_info.json").write_text("[")
    assert "dataset_info.json" in offered_data(folder)["faults"][0]


def test_tables_of_a_run_are_no_data(tmp_path: Path) -> None:
    run = tmp_path / "mine"
    (run / "trials" / "a").mkdir(parents=True)
    (run / "environment.json").write_text("{}")
    (run / "trials" / "a" / "curve.jsonl").write_text("{}")
    assert offered_data(tmp_path)["files"] == []


@pytest.mark.parametrize(
    "name", ["../x.jsonl", "a/b.jsonl", ".x.jsonl", "-x.jsonl", "x.sh", "rows.jsonl", ""]
)
def test_an_upload_of_data_has_a_new_name_of_a_data_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "rows.jsonl").write_text("{}")
    with pytest.raises(ValueError, match=r"name|ending|already|path"):
        new_data_file(tmp_path, name)
    assert new_data_file(tmp_path, "new.jsonl") == tmp_path / "new.jsonl"


def test_a_spec_is_not_saved_over_another_one_or_through_a_link(tmp_path: Path) -> None:
    start = Start(tmp_path, "mine", "runs", None)
    start.save("name: mine\n", replace=False)
    start.save("name: mine\n", replace=False)  # the same text
    with pytest.raises(SpecExists):
        start.save("name: mine\nx: 1\n", replace=False)
    start.save("name: mine\nx: 1\n", replace=True)
    assert start.file.read_text() == "name: mine\nx: 1\n"
    start.file.unlink()
    start.file.symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(SpecExists, match="link"):
        start.save("name: mine\n", replace=True)


def test_the_command_is_what_a_person_would_type(tmp_path: Path) -> None:
    assert Start(tmp_path, "mine", "/my runs", "auto").command == (
        "paretune run mine.yaml --detach --output '/my runs' --address auto"
    )
    with pytest.raises(WrongAddress, match="HOST:PORT"):
        Start(tmp_path, "mine", "runs", "--resume")


def test_the_form_shows_short_forms_in_full_and_says_where_a_text_is_no_yaml(tmp_path: Path) -> None:
    state = form_state("model: smollm2-135m\ntrain: {learning_rate: .inf}\n", tmp_path)
    assert state["tree"] == {"model": {"name": "smollm2-135m"}, "train": {"learning_rate": "inf"}}
    assert state["lines"]["train.learning_rate"] == 2
    assert form_state("# nothing\n", tmp_path)["tree"] == {}
    assert form_state("a: 1\nb: [1\n", tmp_path)["unreadable"]["line"] >= 2


def test_problems_with_the_shape_are_known_without_a_plan(tmp_path: Path) -> None:
    text = "modle: x\nstages: [{kind: sft}]\nmethods: [{kind: lora}]\ntracking: {wnadb: off}\n"
    found = form_state(text, tmp_path)["problems"]
    assert [(each["line"], each["path"]) for each in found] == [(1, "modle"), (4, "tracking.wnadb")]


def test_doctor_says_which_options_cannot_work() -> None:
    rule = {"setting": "methods[].backend", "values": ["eetq"], "when": {}, "reason": "needs an NVIDIA GPU"}
    report = {"unavailable": [{**rule, "capability": "eetq"}, {"setting": 1}, "x"]}
    assert rules(report) == [rule]
    assert rules(None) == rules({"unavailable": None}) == []


def test_a_pasted_config_is_kept_by_its_content(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path))
    path = keep_config('{"model_type": "llama"}')
    assert path == keep_config('{ "model_type":"llama" }')
    assert json.loads(path.read_text()) == {"model_type": "llama"}
    for wrong in ("[", "[]", "{" * 10**5, '"' + "x" * 2**18 + '"'):
        with pytest.raises(ModelError):
            keep_config(wrong)


def test_batch_sizes_are_a_few_whole_numbers() -> None:
    assert numbers([8, 1, 8], 100) == (1, 8)
    for wrong in ([], [0], [101], [1.5], ["1"], [True], list(range(1, 9)), None, [[1]], [1, {}], [1, 101]):
        with pytest.raises(ValueError, match="numbers"):
            numbers(wrong, 100)


@pytest.mark.parametrize("values", [{"model": 5}, {"model": ["x"]}, {"stage": {"kind": "sft"}}])
def test_a_draft_from_data_takes_names_alone(values: dict[str, Any]) -> None:
    with pytest.raises(WrongArgument, match="a name is expected"):
        origins.InitRequest.new("rows.jsonl", values.get("model"), values.get("stage"), None)


def test_a_command_that_took_too_long_says_how_long_it_had() -> None:
    assert failure(Completed(None, ended=TIMED_OUT, timeout=600.0)) == "the command took more than 600 s"
