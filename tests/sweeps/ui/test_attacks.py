"""What others may try on the UI: requests without a session, of other sites, and under other names."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from sweeps.ui.access import cookie_name
from sweeps.ui.key_attempts import AT_ONCE, PLACES, SECONDS_EACH, KeyAttempts
from sweeps.ui.sessions import LINK_SECONDS
from tests.helpers.ui_routes import HTML, KEY, private_routes, routes
from tests.sweeps.ui.conftest import OWN, UiUnderTest


def error(answer: Any) -> str:
    key: str = answer.json()["error"]["key"]
    return key


def test_every_address_is_closed_to_somebody_without_a_session(ui: UiUnderTest) -> None:
    for method, path in private_routes(ui.client.app):
        answer = ui.stranger.request(method, path, headers={**OWN, "accept": "application/json"})
        assert answer.status_code == 401, (method, path)


@pytest.mark.parametrize("value", ["", "x", "a" * 43, "0", "../..", '"', "a" * 5000])
def test_a_made_up_cookie_opens_nothing(ui: UiUnderTest, value: str) -> None:
    cookie = f"{cookie_name(ui.state.settings)}={value}".encode()
    headers = {**OWN, "accept": "application/json", "cookie": cookie.decode("latin-1")}
    assert {
        ui.stranger.get(path, headers=headers).status_code for _, path in private_routes(ui.client.app)[:5]
    } == {401}


def test_a_page_without_a_session_leads_to_signing_in(ui: UiUnderTest) -> None:
    around = ("/static/../jobs", "/static%2f..%2fjobs", "/sign-in/../jobs", "/sign-in%2f..%2fjobs")
    for path in ("/", "/jobs", f"/runs/{KEY}", "/nothing", *around):
        answer = ui.stranger.get(path, headers=HTML)
        assert answer.status_code in (303, 404), path
        assert 'id="jobs"' not in answer.text


def test_a_link_that_was_used_or_is_a_day_old_signs_nobody_in(
    ui: UiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, old = ui.state.sessions.new_link(), ui.state.sessions.new_link()
    assert "set-cookie" in ui.stranger.get(f"/?token={used}").headers
    assert "set-cookie" not in ui.stranger.get(f"/?token={used}").headers
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + LINK_SECONDS + 1)
    assert "set-cookie" not in ui.stranger.get(f"/?token={old}").headers


@pytest.mark.parametrize(
    ("method", "header"),
    [("HEAD", {}), ("GET", {"sec-purpose": "prefetch"}), ("GET", {"purpose": "prefetch"})],
)
def test_a_look_at_a_link_before_it_is_opened_does_not_use_it_up(
    ui: UiUnderTest, method: str, header: dict[str, str]
) -> None:
    link = f"/?token={ui.state.sessions.new_link()}"
    assert "set-cookie" not in ui.stranger.request(method, link, headers=header).headers
    assert "set-cookie" in ui.stranger.get(link).headers


def test_guessed_tokens_sign_nobody_in_and_use_up_no_link(ui: UiUnderTest) -> None:
    token = ui.state.sessions.new_link()
    for guess in ("", "x", token[:-1], token + "x", token.swapcase(), "a" * 50_000):
        assert "set-cookie" not in ui.stranger.get("/", params={"token": guess}).headers
    assert "set-cookie" in ui.stranger.get(f"/?token={token}").headers


def test_ending_a_session_ends_it_on_the_server(ui: UiUnderTest) -> None:
    assert ui.post("/sign-out").status_code == 200
    ui.client.cookies.set(cookie_name(ui.state.settings), "x")
    assert ui.client.get("/jobs", headers=HTML).status_code == 303


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:7860", "localhost.evil.example", "127.0.0.1.nip.io", "", " ",
        "localhost@evil.example", "evil@127.0.0.1", "localhost:80@evil.example", "[::1]evil.example",
        "127.0.0.1/evil", "[::2]", "0.0.0.0", "10.1.0.1",
        "localhost, evil.example", "localhost evil", "[", "::1", "2130706433", "127.1",
    ],
)  # fmt: skip
def test_a_request_under_another_name_is_refused(ui: UiUnderTest, host: str) -> None:
    answer = ui.client.get("/jobs", headers={"host": host})
    assert (answer.status_code, error(answer)) == (403, "host")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:7860", "localhost.", "127.0.0.1:7860", "127.0.0.5", "[::1]:7860"]
)
def test_this_machine_may_be_named_in_every_usual_way(ui: UiUnderTest, host: str) -> None:
    assert ui.client.get("/jobs", headers={"host": host}).status_code == 200


def test_a_request_that_names_two_hosts_is_refused(ui: UiUnderTest) -> None:
    answer = ui.client.get("/jobs", headers=[("host", "localhost"), ("host", "evil.example")])  # type: ignore[arg-type]
    assert answer.status_code == 403


def test_allowed_hosts_and_all_addresses_of_a_server_that_listens_everywhere(
    new_ui_under_test: Callable[..., UiUnderTest],
) -> None:
    ui = new_ui_under_test(host="0.0.0.0", key="k" * 20, allowed_hosts=("GPU.example", "hub.example:8443"))
    for host in ("gpu.example", "gpu.example.:7860", "10.0.0.1:7860", "[fd00::1]", "hub.example:8443"):
        assert ui.client.get("/jobs", headers={"host": host}).status_code == 200, host
    for host in ("evil.example", "a@gpu.example", "gpu.example.evil", ""):
        assert ui.client.get("/jobs", headers={"host": host}).status_code == 403, host
    # As a proxy sends it that replaces the host: the browser's origin is what it was.
    for origin, status in (
        ("https://gpu.example", 200),
        ("https://hub.example:8443", 200),
        ("https://hub.example", 403),
    ):
        answer = ui.client.post("/links", headers={**OWN, "origin": origin})
        assert answer.status_code == status, origin


CROSS = [
    {"origin": "null"}, {"origin": "https://evil.example"}, {"origin": "http://127.0.0.1:8888"}, {"origin": ""},
    {"origin": "http://127.0.0.1:7860.evil.example"}, {"origin": "http://[" }, {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"}, {"sec-fetch-site": "none"}, {"x-paretune": None},
]  # fmt: skip


@pytest.mark.parametrize("headers", CROSS)
def test_no_change_is_accepted_from_another_site(ui: UiUnderTest, headers: dict[str, str | None]) -> None:
    sent = {name: value for name, value in {"x-paretune": "1", **headers}.items() if value is not None}
    for method, path in routes(ui.client.app):
        if method not in ("GET", "HEAD"):
            answer = ui.client.request(method, path, json={}, headers=sent)
            assert (answer.status_code, error(answer)) == (403, "origin"), (method, path)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_form_of_another_page_changes_nothing(ui: UiUnderTest, kind: str) -> None:
    answer = ui.client.post("/links", content=b'{"a": 1}', headers={"content-type": kind})
    assert (answer.status_code, error(answer)) == (403, "origin")
    assert ui.client.options("/links", headers={"origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_scripts_of_other_sites_and_ports_get_no_data(ui: UiUnderTest, site: str) -> None:
    headers = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors", "accept": "*/*"}
    for method, path in private_routes(ui.client.app):
        if method == "GET":
            assert ui.client.get(path, headers=headers).status_code == 403, path


def test_a_link_on_another_site_opens_the_page_once_more_with_the_session(ui: UiUnderTest) -> None:
    from_elsewhere = {**HTML, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    answer = ui.stranger.get('/runs/x"><script>?a="><b', headers=from_elsewhere)
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert re.findall(r'content="0;url=([^"]*)"', answer.text) == ["/runs/x%22%3E%3Cscript%3E?a=%22%3E%3Cb"]
    assert "<script>" not in answer.text
    again = ui.stranger.get("/", headers={**from_elsewhere, "sec-fetch-site": "same-origin"})
    assert (again.status_code, again.headers["location"]) == (303, "/sign-in")


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example/",
        "/\\evil.example/",
        "/\\/evil.example",
        "///evil.example",
        "/%09/evil.example",
        "/%2f/evil.example",
    ],
)
@pytest.mark.parametrize("headers", [{}, {"sec-fetch-site": "cross-site"}])
def test_no_address_leads_to_another_server(ui: UiUnderTest, path: str, headers: dict[str, str]) -> None:
    token = ui.state.sessions.new_link()
    answer = ui.stranger.get(f"http://127.0.0.1:7860{path}?token={token}", headers={**HTML, **headers})
    location = answer.headers["location"]
    assert re.match(r"/(?![/\\])", location), location
    ui.stranger.cookies.clear()
    again = ui.stranger.get(f"http://127.0.0.1:7860{path}", headers={**HTML, **headers})
    addresses = (
        [again.headers["location"]] if again.status_code == 303 else re.findall(r"url=([^\"]*)\"", again.text)
    )
    assert addresses
    assert all(re.match(r"/(?![/\\])", each) for each in addresses), addresses


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(
    new_ui_under_test: Callable[..., UiUnderTest],
) -> None:
    ui = new_ui_under_test(root_path="/paretune")
    plain = ui.stranger.get(f"/?token={ui.state.sessions.new_link()}").headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/paretune"} <= set(plain.split("; "))
    assert "Secure" not in plain
    forwarded = {"x-forwarded-proto": "https"}
    by_proxy = ui.stranger.get(f"/?token={ui.state.sessions.new_link()}", headers=forwarded)
    assert "Secure" in by_proxy.headers["set-cookie"].split("; ")


def test_headers_of_proxies_open_nothing(ui: UiUnderTest) -> None:
    forged = {
        "x-forwarded-host": "127.0.0.1:7860", "x-forwarded-for": "127.0.0.1", "forwarded": "host=localhost",
        "x-forwarded-prefix": "//evil.example", "x-original-url": "/static/base.css", "x-rewrite-url": "/sign-in",
    }  # fmt: skip
    assert ui.client.get("/jobs", headers={**forged, "host": "evil.example"}).status_code == 403
    assert ui.stranger.get("/jobs", headers={**forged, **HTML}).headers["location"] == "/sign-in"
    assert "evil.example" not in ui.client.get("/jobs", headers={**forged, **HTML}).text


def test_guessing_keys_is_slowed_for_each_address_and_locks_nobody_out_for_good(
    new_ui_under_test: Callable[..., UiUnderTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    ui, now = new_ui_under_test(key="the right key"), [1000.0]
    attempts = KeyAttempts(lambda: now[0])
    monkeypatch.setattr(ui.state.sessions, "_attempts", attempts)
    attacker = "203.0.113.9"
    others = (f"198.51.100.{number}" for number in range(256))
    owner = next(each for each in others if attempts._place(each) != attempts._place(attacker))

    def sign_in(key: object, address: str) -> Any:
        client = TestClient(ui.client.app, base_url="http://127.0.0.1:7860", client=(address, 40_000))
        return client.post("/sign-in/key", content=json.dumps({"key": key}), headers=OWN)

    for key in ("wrong", "", None, ["the right key"], "the right key\0", "\ud800"):
        assert sign_in(key, attacker).status_code == 403
    looked_at = [sign_in(str(number), attacker).status_code for number in range(60)].count(403)
    assert looked_at == AT_ONCE - 4  # two of those before were no texts
    # Without that, the guess that is right among many would sign in.
    refused = sign_in("the right key", attacker)
    assert (refused.status_code, refused.headers["retry-after"], "set-cookie" in refused.headers) == (
        429,
        "2",
        False,
    )
    assert sign_in("the right key", owner).status_code == 200
    assert ui.client.get("/jobs").status_code == 200
    assert ui.stranger.get(f"/?token={ui.state.sessions.new_link()}").headers["location"] == "/"
    now[0] += SECONDS_EACH  # an attack of any length makes nobody wait longer
    assert sign_in("the right key", attacker).status_code == 200


def test_an_attacker_with_many_addresses_gets_few_more_guesses_and_no_memory() -> None:
    attempts = KeyAttempts(lambda: 1000.0)
    one_network = sum(attempts.wait(f"2001:db8:0:{number:x}::1") == 0 for number in range(500))
    assert one_network == AT_ONCE
    attempts = KeyAttempts(lambda: 1000.0)
    all_networks = sum(
        attempts.wait(f"198.{number >> 8 & 255}.{number & 255}.{turn}") == 0
        for number in range(5_000)
        for turn in (1, 2)
    )
    assert all_networks <= AT_ONCE * PLACES
    assert len(attempts._full_again) == PLACES


def test_without_a_key_none_signs_in(ui: UiUnderTest) -> None:
    for key in ("", None, "None", "x"):
        assert ui.stranger.post("/sign-in/key", json={"key": key}, headers=OWN).status_code == 403
