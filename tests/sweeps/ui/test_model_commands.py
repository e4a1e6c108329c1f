"""The pages Evaluate and Export: what they show, and the commands that they start."""

from __future__ import annotations

from typing import Any

import pytest

from sweeps.ui.pages import evaluate, export
from tests.helpers.run_folders import record, write_run
from tests.sweeps.ui.conftest import UiUnderTest

LORA = "a" * 12


class RecordedJobs:
    """Takes note of the commands in place of starting them."""

    def __init__(self) -> None:
        self.argv: list[str] = []
        self.id = "0123456789abcdef"

    def start(self, kind: str, argv: list[str], cwd: Any, title: str) -> RecordedJobs:
        self.argv, self.title = argv, title
        return self

    async def close(self) -> None: ...


@pytest.fixture
def jobs(ui: UiUnderTest) -> RecordedJobs:
    recorded = RecordedJobs()
    object.__setattr__(ui.state, "jobs", recorded)
    return recorded


@pytest.fixture
def model(ui: UiUnderTest) -> str:
    write_run(ui.runs / "methods", [record(LORA)])
    return f"run:{ui.state.runs.entries(now=True)[0].key}"


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("path", ["/evaluate", "/export"])
def test_the_page_has_a_field_for_every_option(ui: UiUnderTest, path: str, language: str) -> None:
    text = ui.client.get(path, headers={"accept-language": language}).text
    names = {
        "/evaluate": (*evaluate.ROWS, *evaluate.ANSWERS, *evaluate.FURTHER, *evaluate.OUTPUT),
        "/export": (*export.FIRST, *export.FILES, *export.HUB),
    }[path]
    assert all(f'data-option="{name}"' in text for name in names)


def test_an_evaluation_of_two_models_is_started(ui: UiUnderTest, jobs: RecordedJobs, model: str) -> None:
    options = {"rows": "20", "data": "rows.jsonl", "output": "evaluations/new", "generate": True}
    answer = ui.post("/evaluate", {"model": model, "other": f"{model}:{LORA}", "options": options})
    assert answer.json() == {"ok": True, "job": jobs.id}
    assert jobs.argv == [
        "evaluate", "--events", "--data=rows.jsonl", "--rows=20", f"--output={ui.data}/evaluations/new",
        "--", f"{ui.runs}/methods", f"{ui.runs}/methods:{LORA}",
    ]  # fmt: skip
    assert jobs.title == f"methods – methods:{LORA}"


def test_a_template_is_a_name_or_a_file_of_the_data_folder(
    ui: UiUnderTest, jobs: RecordedJobs, model: str
) -> None:
    for typed, given in (("chatml", "chatml"), ("mine.jinja", f"{ui.data}/mine.jinja")):
        assert ui.post("/evaluate", {"model": model, "options": {"template": typed}}).status_code == 200
        assert jobs.argv[2] == f"--template={given}"


def test_an_export_is_started(ui: UiUnderTest, jobs: RecordedJobs, model: str) -> None:
    body = {"model": model, "out": "exports/lora", "options": {"verify": False, "dtype": "float16"}}
    assert ui.post("/export", body).status_code == 200
    assert jobs.argv == [
        "export", "--events", "--dtype=float16", "--no-verify", "--", f"{ui.runs}/methods", f"{ui.data}/exports/lora",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "changes", "key"),
    [
        ("/export", {"out": "../x"}, "path"),
        ("/export", {"out": "/etc/x"}, "path"),
        ("/export", {"out": ""}, "out"),
        ("/export", {"out": 7}, "out"),
        ("/export", {"model": "/etc"}, "model"),
        ("/export", {"options": {"llama_cpp": "/usr"}}, "path"),
        ("/export", {"options": {"dtype": ["float16", "x"]}}, "dtype"),
        ("/export", {"options": {"json": True}}, "json"),
        ("/evaluate", {"other": "base:nothing"}, "model"),
        ("/evaluate", {"options": {"data": "/etc/passwd"}}, "path"),
        ("/evaluate", {"options": {"output": "/tmp"}}, "path"),
        ("/evaluate", {"options": {"benchmark_folder": ".."}}, "path"),
        ("/evaluate", {"options": {"template": "/etc/chat.jinja"}}, "path"),
        ("/evaluate", {"options": {"template": "../chat.j2"}}, "path"),
        ("/evaluate", {"options": {"template": "/etc/passwd"}}, "path"),
        ("/evaluate", {"options": {"rows": "-1"}}, "rows"),
    ],
)
def test_what_is_wrong_is_named_and_starts_nothing(
    ui: UiUnderTest, jobs: RecordedJobs, model: str, path: str, changes: dict[str, Any], key: str
) -> None:
    answer = ui.post(path, {"model": model, "out": "exports/lora", **changes})
    assert (answer.status_code, answer.json()["error"]["key"]) == (400, key)
    assert jobs.argv == []
