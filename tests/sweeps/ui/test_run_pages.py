"""The pages about runs and trials: what they answer, what their buttons start, and what they refuse."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from reports.plots.style import KINDS, SERIES
from sweeps.ui import run_commands
from sweeps.ui.children.command_line import WrongArgument
from sweeps.ui.pages import trial
from sweeps.ui.run_index import run_key
from sweeps.ui.snapshots import trial_details
from tests.helpers import run_folders
from trainables import results
from trainables.storage import files

FULL, LORA, FAILED = "01c41be7f001", "07c41be7f007", "03c41be7f003"
STATIC = Path(run_commands.__file__).parent / "static"


@pytest.fixture
def run(ui: Any) -> Path:
    return run_folders.example_run(ui.runs / "methods")


@pytest.fixture
def page(run: Path) -> str:
    return f"/runs/{run_key(str(run))}"


def stream_state(ui: Any, path: str) -> dict[str, Any]:
    """The first event of a stream, by its own function: a test client waits for the end of a response."""
    with ui.client.stream("GET", path) as response:
        assert response.status_code == 200
        lines = response.iter_lines()
        assert next(lines) == "event: state"
        value: dict[str, Any] = json.loads(next(lines).removeprefix("data: "))
        return value


def start_is_refused(ui: Any, path: str, body: dict[str, Any]) -> str:
    answer = ui.post(path, body)
    assert answer.status_code == 400, answer.text
    return str(answer.json()["error"]["message"])


def test_the_pages_of_a_run_and_of_a_trial_are_shown_in_both_languages(ui: Any, run: Path, page: str) -> None:
    for path in (page, f"{page}/trials/{LORA}", f"/compare?run={run_key(str(run))}"):
        for language in ("en", "zh"):
            answer = ui.client.get(path, headers={"accept-language": language, "accept": "text/html"})
            assert answer.status_code == 200, answer.text
            assert f'lang="{language}"' in answer.text


def test_an_unknown_run_and_an_unknown_trial_are_not_found(ui: Any, page: str) -> None:
    for path in (
        "/runs/000000000000",
        "/runs/..%2f..%2fetc",
        f"{page}/trials/ffffffffffff",
        f"{page}/trials/..%2f..",
    ):
        assert ui.client.get(path, headers={"accept": "text/html"}).status_code == 404


def test_a_run_that_has_only_just_begun_has_a_page(ui: Any, run: Path, page: str) -> None:
    assert ui.client.get(page).status_code == 200
    new = run_folders.example_run(ui.runs / "new")
    assert ui.client.get(f"/runs/{run_key(str(new))}").status_code == 200


def test_a_trial_that_began_after_the_last_read_of_its_run_has_a_page(ui: Any, run: Path, page: str) -> None:
    new = "0a" * 6
    assert ui.client.get(f"{page}/trials/{LORA}").status_code == 200
    record = results.read_record(run / "trials" / LORA)
    assert record is not None
    (run / "trials" / new).mkdir()
    results.write_record(run / "trials" / new, record.model_copy(update={"trial_id": new}))
    assert ui.client.get(f"{page}/trials/{new}").status_code == 200


def test_curves_are_thin_and_name_their_trials(ui: Any, page: str) -> None:
    found = ui.client.get(f"{page}/curves").json()
    assert found["names"] == ["objective", "train_loss"]
    assert found["name"] == "objective"
    assert all(len(curve["points"]) <= 200 for curve in found["curves"])
    assert LORA in {curve["trial"] for curve in found["curves"]}
    assert ui.client.get(f"{page}/curves?name=train_loss").json()["name"] == "train_loss"


def test_the_log_is_redacted_and_its_control_characters_are_shown(ui: Any, run: Path, page: str) -> None:
    lines = [f"line {number}" for number in range(600)]
    (run / "sweep.log").write_text("\n".join([*lines, "GET https://ada:pass-word@hub/x \x1b[31m"]) + "\n")
    shown = ui.client.get(f"{page}/log").json()["lines"]
    assert len(shown) == 500
    assert "pass-word" not in shown[-1]
    assert "␛[31m" in shown[-1]


def test_a_button_shows_the_command_that_it_starts(ui: Any, run: Path, page: str) -> None:
    assert ui.post(f"{page}/actions/stop").json() == {"ok": True, "command": f"paretune stop {run}"}
    add = ui.post(f"{page}/actions/add", {"trial": LORA, "sets": ["method.rank=64"]}).json()
    assert add["command"] == f"paretune add {run} --like {LORA} --set method.rank=64 --json"
    stop = ui.post(f"{page}/actions/stop-trial", {"trial": LORA}).json()
    assert stop["command"] == f"paretune stop {run}:{LORA} --json"


def test_starting_a_button_makes_a_job_about_the_run(ui: Any, run: Path, page: str) -> None:
    answer = ui.post(f"{page}/actions/stop", {"start": True}).json()
    job = ui.state.jobs.get(answer["job"])
    assert job.command == answer["command"] == f"paretune stop {run}"
    assert job.run == run_key(str(run))
    assert answer["url"] == f"/jobs/{job.id}"
    until = time.monotonic() + 60
    while not ui.state.jobs.get(job.id).ended and time.monotonic() < until:
        time.sleep(0.2)
    assert ui.state.jobs.get(job.id).ended


def test_what_a_person_types_never_becomes_an_option(ui: Any, page: str) -> None:
    add = f"{page}/actions/add"
    assert "no change of a setting" in start_is_refused(ui, add, {"trial": LORA, "sets": ["--output=/tmp"]})
    assert "no change of a setting" in start_is_refused(ui, add, {"trial": LORA, "sets": ["rank"]})
    assert "NUL" in start_is_refused(ui, add, {"trial": LORA, "sets": ["method.rank=1\0"]})
    assert "no list" in start_is_refused(ui, add, {"trial": LORA, "sets": "method.rank=1"})
    assert ui.post(add, {"trial": "../x", "sets": []}).status_code == 404
    assert ui.post(f"{page}/actions/delete").status_code == 404


def test_a_button_needs_the_header_of_our_own_pages(ui: Any, page: str) -> None:
    assert ui.client.post(f"{page}/actions/stop", json={}).status_code == 403


def test_no_button_takes_an_option_for_a_run(tmp_path: Path) -> None:
    with pytest.raises(WrongArgument):
        run_commands.stop("--help", tmp_path)


def test_a_report_is_served_in_a_sandbox_and_nothing_beside_it(ui: Any, run: Path, page: str) -> None:
    (run / "report").mkdir()
    (run / "report" / "index.html").write_text("<p>answer</p>")
    (run / "report" / "secret.pem").write_text("key")
    (run / "report" / "link.html").symlink_to("/etc/hostname")
    answer = ui.client.get(f"{page}/report/index.html")
    assert answer.text == "<p>answer</p>"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox ")
    assert "allow-same-origin" not in policy
    for path in ("secret.pem", "link.html", "..%2fspec.yaml", "../spec.yaml", "missing.html"):
        assert ui.client.get(f"{page}/report/{path}").status_code in (403, 404), path


def test_a_trial_has_its_place_its_memory_and_its_files(ui: Any, run: Path, page: str) -> None:
    (run / "trials" / FAILED / "error.txt").write_text("ValueError: https://ada:pass-word@hub/x\x1b[31m\n")
    best = stream_state(ui, f"{page}/trials/{LORA}/events")
    assert best["place"]["best"] == LORA
    assert best["place"]["rank"] == 1
    assert best["place"]["of"] == 3
    assert best["memory"]["phases"]["train"] > best["memory"]["phases"]["load"] > 0
    assert {"config.json", "record.json"} <= {each["name"] for each in best["files"]}
    lost = stream_state(ui, f"{page}/trials/{FAILED}/events")
    assert lost["place"] is None
    assert "NaN" in lost["error"]["message"]
    assert "pass-word" not in lost["error"]["trace"]
    assert "␛" in lost["error"]["trace"]


def test_the_files_of_a_trial_are_looked_at_while_others_may_read_its_run(
    ui: Any, run: Path, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ui.state.snapshots.state(run_key(str(run)), wait=60)
    free = list[bool]()

    def files_of(folder: Path) -> dict[str, Any]:
        free.append(found.lock.acquire(timeout=10))
        found.lock.release()
        return {"files": [], "more_files": 0, "checkpoints": []}

    monkeypatch.setattr(trial_details, "files_of", files_of)
    assert trial._details(found, LORA)["files"] == []
    assert free == [True]


def test_a_link_in_a_trial_is_no_file_of_it(ui: Any, run: Path, page: str) -> None:
    (run / "trials" / LORA / "passwd").symlink_to("/etc/passwd")
    names = [each["name"] for each in stream_state(ui, f"{page}/trials/{LORA}/events")["files"]]
    assert "passwd" not in names


def write_answers(run: Path, trial: str, right: int) -> None:
    scores = [1.0 if row < right else 0.0 for row in range(run_folders.ROWS)]
    prompts = [
        json.dumps([{"role": "user", "content": f"Wake me at {row} <b>"}]) for row in range(run_folders.ROWS)
    ]
    answers = [f"alarm {row}" if row < right else "alarm" for row in range(run_folders.ROWS)]
    run_folders.write_scores(run, trial, scores, prompt=prompts, prediction=answers)


def test_sample_answers_are_texts_and_few(ui: Any, run: Path, page: str) -> None:
    write_answers(run, LORA, 124)
    rows = ui.client.get(f"{page}/trials/{LORA}/samples").json()["rows"]
    assert len(rows) == 20
    assert rows[0] == {
        "row": rows[0]["row"], "prompt": "Wake me at 0 <b>", "reference": "on", "prediction": "alarm 0", "score": 1.0,
    }  # fmt: skip


def test_trials_are_compared_by_what_differs_and_those_rows_come_first(ui: Any, run: Path, page: str) -> None:
    write_answers(run, FULL, 126)
    write_answers(run, LORA, 124)
    key = run_key(str(run))
    query = f"trial={key}:{FULL}&trial={key}:{LORA}"
    found = ui.client.get(f"/compare/values?{query}").json()
    assert "method.kind" in found["differing"]
    assert "train.steps" not in found["differing"]
    assert found["as_of"] > 0
    answers = ui.client.get(f"/compare/answers?{query}").json()
    assert (answers["common"], answers["different"]) == (128, 2)
    assert [row["differs"] for row in answers["rows"][:3]] == [True, True, False]
    (pair,) = ui.client.get(f"/compare/tests?{query}").json()["pairs"]
    assert pair["difference"] == pytest.approx(2 / 128)
    assert pair["p"] == pytest.approx(0.5)  # McNemar, 2 against 0
    assert pair["settled"] is False


def test_one_trial_and_five_are_not_compared(ui: Any, run: Path, page: str) -> None:
    one = f"trial={run_key(str(run))}:{LORA}"
    for count in (1, 5):
        answer = ui.client.get("/compare/values?" + "&".join([one] * count))
        assert answer.status_code == 400
        assert str(count) in answer.json()["error"]["message"]


def test_the_answer_is_that_of_the_last_report_until_it_is_computed(ui: Any, run: Path, page: str) -> None:
    answers = {"answers": [{"title": "t", "sentences": ["lora is enough."], "open_questions": None}]}
    files.write_json(run / "report" / "report.json", {**answers, "secret": "x"})
    found = ui.client.get(f"{page}/answer").json()
    assert found["value"]["answers"][0]["sentences"] == ["lora is enough."]
    assert "secret" not in found["value"]
    assert found["computing"] is True


def test_the_colours_of_methods_are_those_of_the_report() -> None:
    text = (STATIC / "colours.js").read_text(encoding="utf-8")
    assert all(f'"{colour}"' in text for colour in SERIES)
    assert json.dumps(list(KINDS)) in text


def test_no_script_of_these_pages_makes_markup_of_data() -> None:
    names = (
        "charts",
        "run",
        "run_actions",
        "run_answer",
        "run_figures",
        "run_head",
        "trial",
        "trial_table",
        "compare",
    )
    for name in names:
        text = (STATIC / f"{name}.js").read_text(encoding="utf-8")
        assert "innerHTML" not in text
        assert "insertAdjacentHTML" not in text
