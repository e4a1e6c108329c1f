"""The first page of the UI, signing in, and the words of its pages."""

from __future__ import annotations

import re
from pathlib import Path

from tests.sweeps.ui.conftest import OWN, UiUnderTest


def test_the_first_page_names_the_folder_of_runs(ui: UiUnderTest) -> None:
    answer = ui.client.get("/")
    assert answer.status_code == 200
    assert str(ui.runs) in answer.text
    assert "<title>Runs – Paretune</title>" in answer.text


def test_somebody_without_a_session_gets_the_sign_in_page_and_scripts_get_401(ui: UiUnderTest) -> None:
    answer = ui.stranger.get("/", headers={"accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert ui.stranger.get("/sign-in").status_code == 200
    data = ui.stranger.get("/events", headers={"accept": "application/json"})
    assert (data.status_code, data.json()["error"]["key"]) == (401, "session")


def test_a_link_signs_in_once(ui: UiUnderTest) -> None:
    path = ui.post("/links").json()["path"]
    first = ui.stranger.get(path)
    assert (first.status_code, first.headers["location"]) == (303, "/")
    cookie = first.headers["set-cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Path=/"))
    assert ui.stranger.get("/").status_code == 200
    ui.stranger.cookies.clear()
    assert "set-cookie" not in ui.stranger.get(path).headers


def test_the_language_is_that_of_the_cookie_and_then_of_the_browser(ui: UiUnderTest) -> None:
    assert '<html lang="zh">' in ui.client.get("/", headers={"accept-language": "zh-CN,en;q=0.5"}).text
    ui.post("/sign-in/language", {"language": "zh"})
    assert '<html lang="zh">' in ui.client.get("/", headers={"accept-language": "en"}).text


def test_a_proxys_path_stands_before_every_address(new_ui_under_test: object) -> None:
    ui = new_ui_under_test(root_path="/paretune")  # type: ignore[operator]
    text = ui.client.get("/").text
    addresses = re.findall(r'(?:href|src)="([^"#]+)"', text)
    assert addresses
    assert all(address.startswith("/paretune/") for address in addresses)


def test_a_run_at_a_url_can_be_added_and_other_texts_cannot(ui: UiUnderTest, tmp_path: Path) -> None:
    answer = ui.post("/runs", {"url": "s3://bucket/runs/methods/"})
    assert answer.json()["url"].startswith("/runs/")
    assert [entry.location for entry in ui.state.runs.entries(now=True)] == ["s3://bucket/runs/methods"]
    refused = ui.client.post("/runs", json={"url": "/etc"}, headers=OWN)
    assert (refused.status_code, refused.json()["error"]["key"]) == (400, "url")


def test_the_runs_of_a_root_are_its_folders_that_look_like_one(ui: UiUnderTest) -> None:
    (ui.runs / "methods").mkdir()
    (ui.runs / "methods" / "environment.json").write_text("{}")
    (ui.runs / "notes").mkdir()
    (ui.runs / "linked").symlink_to(ui.runs / "methods")
    assert [entry.name for entry in ui.state.runs.entries(now=True)] == ["methods"]
