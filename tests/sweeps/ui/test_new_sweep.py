"""New sweep and Memory as a browser asks for them."""

from __future__ import annotations

import secrets
import time
from typing import Any

import pytest

from sweeps.ui.pages import new_sweep
from sweeps.ui.run_index import run_key
from trainables.storage.url_store import Store

SPEC = """\
name: mine
model: {name: smollm2-135m}
data: {train: commands, cutoff: 64}
stages: [{kind: sft}]
methods:
  - {kind: lora, rnak: 8}  # a slip
train: {steps: 4}
search: {trials: 1}
"""


def draft(ui: Any, text: str = SPEC) -> str:
    """The path of a new draft with this text."""
    path = ui.client.post(
        "/new/upload?name=mine.yaml", content=text.encode(), headers={"X-Paretune": "1"}
    ).json()["path"]
    return str(path)


def test_the_page_is_answered_before_the_data_folder_is_walked(
    ui: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ui.data / "rows.jsonl").write_text('{"prompt": "a", "answer": "b"}\n')
    assert "rows.jsonl" in ui.client.get("/new/data").json()["files"]
    monkeypatch.setattr(new_sweep, "offered_data", lambda folder: pytest.fail("it was walked"))
    assert ui.client.get("/new").status_code == 200


def test_a_draft_begins_with_a_shipped_spec_and_is_listed(ui: Any) -> None:
    path = ui.post("/new", {"from": "spec", "name": "methods"}).json()["path"]
    assert 'id="draft"' in ui.client.get(path).text
    state = ui.client.get(f"{path}/state").json()
    assert state["text"].startswith("# The four methods")
    assert state["form"]["tree"]["methods"][1] == {"kind": "freeze", "layers": 4}
    assert path in ui.client.get("/new").text


def test_only_what_is_offered_can_be_a_beginning(ui: Any) -> None:
    for body in ({"from": "spec", "name": "../methods"}, {"from": "run", "name": "../x"}, {"from": "x"}, {}):
        assert ui.post("/new", body).status_code == 404
    assert ui.post("/new", {"from": "data", "name": "../../etc/passwd"}).status_code == 403
    assert ui.post("/new", {"from": "data", "name": "--force"}).status_code == 400
    assert ui.post("/new", {"from": "data", "name": "commands", "model": 5}).status_code == 400
    assert ui.client.get("/new/0123456789abcdef").status_code == 404


def test_a_copy_of_a_runs_spec_follows_no_link(ui: Any) -> None:
    run = ui.runs / "old"
    (run / "trials").mkdir(parents=True)
    (run / "spec.yaml").write_text("name: old\n")
    key = ui.state.runs.entries(now=True)[0].key
    path = ui.post("/new", {"from": "run", "name": key}).json()["path"]
    assert ui.client.get(f"{path}/state").json()["text"] == "name: old\n"
    (run / "spec.yaml").unlink()
    (run / "spec.yaml").symlink_to("/etc/passwd")
    assert ui.post("/new", {"from": "run", "name": key}).status_code == 404


def test_a_copy_of_a_runs_spec_runs_no_code_that_only_the_run_names(ui: Any) -> None:
    spec = "name: old\nmethods: [{kind: 'evil:Method'}]\n"
    run = ui.runs / "old"
    (run / "trials").mkdir(parents=True)
    (run / "spec.yaml").write_text(spec)
    key = ui.state.runs.entries(now=True)[0].key
    refused = ui.post("/new", {"from": "run", "name": key})
    assert (refused.status_code, refused.json()["error"]["key"]) == (400, "code")
    assert "would run code (evil:Method)" in refused.json()["error"]["message"]
    (ui.data / "mine.yaml").write_text(spec)
    (run / "environment.json").write_text('{"command": "paretune run mine.yaml"}')
    assert ui.post("/new", {"from": "run", "name": key}).status_code == 200


def test_the_spec_of_a_run_at_a_url_can_be_copied(new_ui_under_test: Any) -> None:
    url = f"memory://{secrets.token_hex(4)}/runs/far"
    Store(url).write("environment.json", b'{"name": "far", "plan": {"trials": {"sft-lora": 4}}}')
    Store(url).write("spec.yaml", b"name: far\n")
    ui = new_ui_under_test(runs=(url,))
    assert f'value="{run_key(url)}">far' in ui.client.get("/new").text
    path = ui.post("/new", {"from": "run", "name": run_key(url)}).json()["path"]
    assert ui.client.get(f"{path}/state").json()["text"] == "name: far\n"


@pytest.mark.parametrize(
    ("part", "body", "words"),
    [
        ("edit", {"path": "train.steps", "op": "x"}, "op: a change is set, add or remove"),
        ("edit", {"op": "set"}, "path: the path of a value is expected"),
        ("preview", {"rows_from": -1}, "rows_from: a whole number from 0"),
        ("preview", {"rows_from": 0, "rows": "5"}, "rows: a whole number from 0"),
        ("preview", {"stage": "--help"}, "stage: a name is expected"),
        ("text", {}, "version: the number of the draft's version is missing"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong_with_it(
    ui: Any, part: str, body: dict[str, Any], words: str
) -> None:
    answer = ui.post(f"{draft(ui)}/{part}", {"text": SPEC, **body})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(words)


def test_an_upload_above_the_limit_is_refused(ui: Any) -> None:
    headers = {"X-Paretune": "1"}
    assert ui.client.post("/new/upload", content=b"#" * (2**20 + 1), headers=headers).status_code == 413
    assert ui.client.post("/new/upload", content=b"\xff\xfe\x00", headers=headers).status_code == 400


def test_a_change_that_would_be_lost_is_refused_with_the_newer_text(ui: Any) -> None:
    path = draft(ui)
    assert ui.post(f"{path}/text", {"text": "name: one\n", "version": 1}).json()["version"] == 2
    answer = ui.post(f"{path}/text", {"text": "name: two\n", "version": 1})
    assert (answer.status_code, answer.json()["newer"]["text"]) == (409, "name: one\n")


def test_the_form_changes_the_text_and_the_text_the_form(ui: Any) -> None:
    path = draft(ui)
    edit = {"op": "set", "path": "train.learning_rate", "yaml": "{log: [1e-5, 1e-3]}", "text": SPEC}
    answer = ui.post(f"{path}/edit", edit).json()
    assert "train: {steps: 4, learning_rate: {log: [1e-5, 1e-3]}}\n" in answer["text"]
    assert "# a slip" in answer["text"]
    assert answer["form"]["tree"]["train"]["learning_rate"] == {"log": [1e-05, 0.001]}
    for wrong in (
        {"path": "train.steps", "op": "set", "yaml": "[1"},
        {"path": "a..b", "op": "set"},
        {"path": "x", "op": "run"},
        {"path": "methods[7]", "op": "remove"},
        {"path": "name.x", "op": "set", "value": 1},
    ):
        assert ui.post(f"{path}/edit", {**wrong, "text": SPEC}).status_code == 400, wrong


def test_a_check_says_each_problem_with_its_line_and_its_correction(ui: Any) -> None:
    path = draft(ui)
    plan = ui.post(f"{path}/check", {"text": SPEC, "who": "me"}).json()
    problem = next(each for each in plan["problems"] if each["severity"] == "error")
    assert (problem["line"], problem["kind"], problem["values"]) == (
        6,
        "problems.unknown_key_meant",
        {"meant": "rank"},
    )
    assert problem["fix"] == {
        "line": 6, "column": 18, "end_column": 22, "old": "rnak", "new": "rank", "part": "key",
    }  # fmt: skip


def test_a_slip_in_the_shape_of_a_spec_can_be_corrected_before_and_without_a_plan(ui: Any) -> None:
    slip = SPEC.replace("rnak", "rank").replace("search:", "serch:")
    path = draft(ui, slip)
    (problem,) = ui.client.get(f"{path}/state").json()["form"]["problems"]
    fix = {"line": 8, "column": 1, "end_column": 6, "old": "serch", "new": "search", "part": "key"}
    assert (problem["kind"], problem["fix"]) == ("problems.unknown_key_meant", fix)
    outside = ui.post(f"{path}/check", {"text": slip.replace("commands", "/etc/passwd"), "who": "me"}).json()
    assert [each["kind"] for each in outside["problems"]] == [
        "problems.outside",
        "problems.unknown_key_meant",
    ]
    assert outside["problems"][1]["fix"] == fix


def test_files_outside_are_refused_before_any_command_reads_them(
    ui: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a command was run")

    monkeypatch.setattr(ui.state.jobs, "run_json", never)
    monkeypatch.setattr(ui.state.jobs, "start", never)
    path = draft(ui, SPEC.replace("commands", "/etc/passwd"))
    text = ui.client.get(f"{path}/state").json()["text"]
    plan = ui.post(f"{path}/check", {"text": text, "who": "me"}).json()
    assert [(each["line"], each["kind"]) for each in plan["problems"]] == [(3, "problems.outside")]
    assert ui.post(f"{path}/preview", {"text": text, "who": "me"}).json()["refused"]
    assert ui.post(f"{path}/start", {"version": 1}).status_code == 403


def test_a_start_saves_the_spec_and_says_why_it_failed(ui: Any) -> None:
    text = "name: mine\nstages: [{kind: sft}\n"
    path = draft(ui, text)
    command = ui.post(f"{path}/command", {"output": 0}).json()["command"]
    assert command == f"paretune run mine.yaml --detach --output {ui.runs}"
    begun = ui.post(f"{path}/start", {"version": 1, "output": 0}).json()
    assert (ui.data / "mine.yaml").read_text() == text
    while (state := ui.client.get(f"{path}/started/{begun['job']}").json())["job"]["state"] == "running":
        time.sleep(0.2)
    assert (state["job"]["exit_code"], state["known"]) == (2, False)
    assert "mine.yaml:3: not YAML" in state["log"]


def test_a_start_writes_over_no_other_file_and_no_older_version(ui: Any) -> None:
    path = draft(ui)
    (ui.data / "mine.yaml").write_text("name: mine\n")
    refused = ui.post(f"{path}/start", {"version": 1})
    assert (refused.status_code, refused.json()["error"]["key"]) == (409, "exists")
    assert ui.post(f"{path}/start", {"version": 7}).json()["error"]["key"] == "outdated"
    assert ui.post(f"{path}/start", {"version": 1, "output": 5}).status_code == 400
    assert ui.post(f"{path}/start", {"version": 1, "address": "--force"}).json()["error"]["key"] == "address"
    assert (ui.data / "mine.yaml").read_text() == "name: mine\n"
    assert ui.state.jobs.list() == []


def test_the_yaml_is_downloaded_and_a_draft_discarded(ui: Any) -> None:
    path = draft(ui)
    answer = ui.client.get(f"{path}/spec.yaml")
    assert (answer.text, answer.headers["content-disposition"]) == (SPEC, 'attachment; filename="mine.yaml"')
    assert ui.client.delete(path, headers={"X-Paretune": "1"}).json() == {"ok": True}
    assert ui.client.get(path).status_code == 404


def test_an_upload_of_data_is_offered_at_once(ui: Any) -> None:
    headers = {"X-Paretune": "1"}
    assert ui.client.post("/new/data?name=rows.jsonl", content=b'{"text": "a"}\n', headers=headers).json()[
        "ok"
    ]
    assert ui.client.get("/new/data").json()["files"] == ["rows.jsonl"]
    again = ui.client.post("/new/data?name=rows.jsonl", content=b"x", headers=headers)
    assert (again.status_code, (ui.data / "rows.jsonl").read_bytes()) == (400, b'{"text": "a"}\n')


def test_the_memory_of_all_methods_is_split_for_each_batch_and_length(ui: Any) -> None:
    body = {"model": "qwen3-8b", "batches": [1, 4], "lengths": [512], "who": "me"}
    answer = ui.post("/memory/grid", body).json()
    assert {(row["batch_size"], row["cutoff"]) for row in answer["rows"]} == {(1, 512), (4, 512)}
    lora = [
        row for row in answer["rows"] if row["method"] == "LoRA r16" and not row["gradient_checkpointing"]
    ]
    assert lora[1]["activations_bytes"] == pytest.approx(4 * lora[0]["activations_bytes"], rel=0.05)
    assert answer["command"].startswith(
        "paretune plan --grid --json --model qwen3-8b --batch-size 1 --batch-size 4"
    )


def test_the_memory_page_takes_names_and_contents_but_no_paths(ui: Any) -> None:
    numbers = {"batches": [1], "lengths": [512], "who": "me"}
    for model in ("/etc/passwd", "../x", "~/x", "x.json", "a/b/c", "--measure", ""):
        assert ui.post("/memory/grid", {**numbers, "model": model}).status_code == 400, model
    assert (
        ui.post("/memory/grid", {**numbers, "model": "qwen3-8b", "batches": [0]}).json()["error"]["key"]
        == "numbers"
    )
    assert ui.post("/memory/grid", {**numbers, "config": "[]"}).status_code == 400
