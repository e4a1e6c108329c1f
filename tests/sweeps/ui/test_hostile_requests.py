"""Requests that no page of the UI sends, and what holds of all responses: headers, no scripts in pages, no secrets."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.routing import Route

from tests.helpers.ui_routes import HTML, KEY, UNASKED, private_routes, routes
from tests.sweeps.ui.conftest import OWN, UiUnderTest


def test_bodies_over_the_limit_are_refused_however_they_are_sent(ui: UiUnderTest) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(6):
            yield b" " * 2**20

    assert ui.client.post("/runs", content=b" " * 6 * 2**20, headers=OWN).status_code == 413
    assert ui.client.post("/runs", content=parts(), headers=OWN).status_code == 413
    assert ui.stranger.post("/sign-in/key", content=b" " * 5000, headers=OWN).status_code == 413


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b'"x"',
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"a": NaN}',
        b'{"start": 1e999}',
        b'{"name": "\\ud800", "text": "\\ud800", "model": "\\ud800", "runs": ["\\ud800"], "from": "data"}',
        b'{"name": {"a": []}, "text": 1, "model": [], "runs": {}, "messages": 3, "trial": null, "sets": [null]}',
    ],
    ids=range(12),
)
def test_a_body_that_is_nothing_like_what_is_expected_is_an_error_of_the_sender(
    ui: UiUnderTest, content: bytes
) -> None:
    for method, path in private_routes(ui.client.app):
        if method not in ("GET", "HEAD") and path not in ("/demo", "/links", "/sign-out"):
            answer = ui.client.request(method, path, content=content, headers=OWN)
            assert answer.status_code < 500, (method, path, answer.text)


def test_an_address_with_odd_characters_is_an_error_of_the_sender(ui: UiUnderTest) -> None:
    odd = (
        "%00",
        "..%2f..%2fetc%2fpasswd",
        "%5c..%5c",
        "%ff%fe",
        "<script>",
        "%0d%0aX-Evil:%201",
        "a" * 4000,
        "{{7*7}}",
    )
    for route in ui.client.app.routes:  # type: ignore[attr-defined]
        if not isinstance(route, Route) or "{" not in route.path or "GET" not in (route.methods or ()):
            continue
        for text in odd:
            path = re.sub(r"\{[^}]*\}", lambda _: text, route.path)  # noqa: B023
            answer = ui.client.get(path, headers=HTML)
            assert answer.status_code in (400, 403, 404, 405), (path, answer.status_code)
            assert "<script>" not in answer.text.replace("&lt;", "")
            assert "x-evil" not in answer.headers
            assert "root:x:" not in answer.text


def test_every_response_has_the_security_headers(
    ui: UiUnderTest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("private words")

    monkeypatch.setattr(ui.state.jobs, "get", broken)
    ui.client._transport.raise_server_exceptions = False  # type: ignore[attr-defined]
    asked = [
        ("/", HTML), ("/nothing", HTML), ("/nothing", {}), ("/static/base.css", {}), ("/static/nothing.js", {}),
        ("/static/plotly.min.js", {}), ("/", {"host": "evil.example"}), (f"/jobs/{KEY}", {}), (f"/jobs/{KEY}", HTML),
    ]  # fmt: skip
    answers = [ui.client.get(path, headers=headers) for path, headers in asked]
    answers += [
        ui.stranger.get("/", headers=HTML),
        ui.stranger.get("/jobs"),
        ui.client.post("/", headers=OWN),
    ]
    assert {answer.status_code for answer in answers} >= {200, 303, 401, 403, 404, 405, 500}
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'self'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers
        assert "private words" not in answer.text
        assert "Traceback" not in answer.text


def test_pages_have_no_inline_scripts(ui: UiUnderTest) -> None:
    for path in ("/", "/jobs", "/evaluate", "/export", "/sign-in", "/nothing"):
        text = ui.client.get(path, headers=HTML).text
        assert not re.findall(r"<script(?![^>]*(?:\bsrc=|application/json))", text), path
        assert not re.findall(r"\son\w+=", re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)), path


def test_scripts_make_no_markup_out_of_data() -> None:
    folder = Path(__file__).parents[3] / "sweeps" / "ui" / "static"
    unsafe = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|setTimeout\(['\"]"
    )
    for script in folder.glob("*.js"):
        assert not unsafe.search(script.read_text()), script.name


def test_a_key_is_no_part_of_any_page(
    new_ui_under_test: Callable[..., UiUnderTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {"HF_TOKEN": "hf_0123456789abcdef", "WANDB_API_KEY": "w" * 40, "PARETUNE_UI_KEY": "u" * 30}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    ui = new_ui_under_test(key=secrets["PARETUNE_UI_KEY"])
    for method, path in routes(ui.client.app):
        if method != "GET" or path.endswith(UNASKED):
            continue
        text = ui.client.get(path, headers=HTML).text
        for value in secrets.values():
            assert value not in text, path
            assert base64.b64encode(value.encode()).decode() not in text, path
