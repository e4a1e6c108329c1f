"""The first page of the UI, signing in, and the words of its pages."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from sweeps.ui import run_index
from sweeps.ui.run_index import RunEntry, RunIndex, added_keys
from sweeps.ui.snapshots import url_copy
from tests.sweeps.ui.conftest import OWN, UiUnderTest
from trainables.storage.home import home
from trainables.storage.url_store import Store


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


@pytest.mark.parametrize(
    "url",
    ["file:///etc", "local:///etc", "http://169.254.169.254/latest", "memory://runs", "sftp://host/runs/x",
     "s3://key:secret@bucket/runs", "simplecache::s3://bucket/x", "FILE:///etc"],
)  # fmt: skip
def test_runs_are_added_from_remote_stores_alone(ui: UiUnderTest, url: str) -> None:
    assert ui.client.post("/runs", json={"url": url}, headers=OWN).status_code == 400
    added = home() / "ui" / "added_runs.json"
    added.parent.mkdir(parents=True, exist_ok=True)
    added.write_text(json.dumps([url, 3]))
    assert ui.state.runs.entries(now=True) == []


def test_an_added_run_can_be_taken_out_of_the_list_and_others_cannot(ui: UiUnderTest) -> None:
    address = ui.post("/runs", {"url": "s3://bucket/runs/methods"}).json()["url"]
    key = address.rpartition("/")[2]
    assert added_keys() == {key}
    assert ui.client.delete(address).status_code == 403
    assert ui.client.delete(address, headers=OWN).status_code == 200
    assert ui.state.runs.entries(now=True) == []
    (ui.runs / "mine" / "trials").mkdir(parents=True)
    assert ui.client.delete(f"/runs/{ui.state.runs.entries(now=True)[0].key}", headers=OWN).status_code == 404
    assert (ui.runs / "mine").is_dir()


def test_a_run_at_a_url_that_is_too_large_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"memory://{secrets.token_hex(4)}/runs/large"
    Store(url).write("trials/a/config.json", b"x" * 100)
    monkeypatch.setattr(url_copy, "MAX_BYTES", 50)
    copy = url_copy.UrlCopy(url)
    with pytest.raises(ValueError, match="1 files with 100 bytes would be copied"):
        copy.update()
    copy.close()


def test_questions_about_unknown_runs_share_the_looks_at_the_folders(
    ui: UiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = list[int]()
    monkeypatch.setattr(run_index, "_runs_in", lambda root: iter(scans.append(1) or ()))
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(ui.state.runs.get, [f"{number:012x}" for number in range(20)]))
    assert found == [None] * 20
    assert len(scans) < 10


def test_a_root_whose_disk_hangs_hides_no_run_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for root in ("slow", "fast"):
        (tmp_path / root / root / "trials").mkdir(parents=True)
    index, hangs, look = (
        RunIndex((str(tmp_path / "slow"), str(tmp_path / "fast"))),
        Event(),
        run_index._runs_in,
    )
    monkeypatch.setattr(run_index, "PATIENCE_SECONDS", 0.2)
    assert {entry.name for entry in index.entries()} == {"slow", "fast"}

    def hanging(root: Path) -> Iterator[RunEntry]:
        if root.name == "slow":
            hangs.wait(60)
        return look(root)

    monkeypatch.setattr(run_index, "_runs_in", hanging)
    (tmp_path / "fast" / "new" / "trials").mkdir(parents=True)
    try:
        began = time.monotonic()
        assert {entry.name for entry in index.entries(now=True)} == {"slow", "fast", "new"}
        assert [index.get("0" * 12) for _ in range(3)] == [None] * 3
        assert time.monotonic() - began < 10
    finally:
        hangs.set()
