"""The promises of sweeps/README.md, Security, about outputs: no secret in what is written, no markup that is run."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from reports.analysis import cell_table
from reports.pages.summary import escape_markdown
from reports.write import write
from sweeps.doctor import report
from sweeps.execution import run_folder
from sweeps.ui.children import wrapper
from tests.helpers import run_folders, specs
from tests.helpers.exports import export_successfully
from tests.helpers.paths import ROOT
from tests.helpers.specs import SPEC
from tests.helpers.terminal_orders import ORDERS, obeyed
from tests.helpers.trials import make_config, write_rows
from trainables.runner.run import TrialContext, run_trial
from trainables.system.redaction import HIDDEN, redacted
from trainables.trial import resident_base

SECRETS = {
    "WANDB_API_KEY": "c0" * 20,
    "HF_TOKEN": "hf_canaryCanaryCanary00",
    "AWS_SECRET_ACCESS_KEY": "canary/with+slashes/0000000000",
    "AZURE_STORAGE_CONNECTION_STRING": "AccountName=x;AccountKey=canary0000000000==",
    "MODELSCOPE_API_TOKEN": "canary-0000-0000-0000",
}


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return specs.spec_folder(tmp_path)


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return SECRETS


# Secrets


def test_secrets_of_the_environment_and_of_the_user_are_redacted(
    secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HF_HOME", raising=False)
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password netrc-canary-0000\n")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("ray-canary-0000\n")
    known = [*secrets.values(), "netrc-canary-0000", "ray-canary-0000"]
    text = redacted(" and ".join(known))
    assert "canary" not in text.lower()
    assert secrets["WANDB_API_KEY"] not in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://ada:pw@host/x failed", f"GET https://{HIDDEN}@host/x failed"),
        ("s3://AKIA00:se/cr+et@bucket/rows", f"s3://{HIDDEN}@bucket/rows"),
        (
            "https://b/x?X-Amz-Credential=AK%2F1&X-Amz-Signature=4f2a&page=2",
            f"https://b/x?X-Amz-Credential={HIDDEN}&X-Amz-Signature={HIDDEN}&page=2",
        ),
        ("https://b/x?sv=1&sig=4f2a", f"https://b/x?sv=1&sig={HIDDEN}"),
        ("Authorization: Bearer abcdefghijkl", f"Authorization: Bearer {HIDDEN}"),
        ("hf:org/name@main, learning_rate=0.1", "hf:org/name@main, learning_rate=0.1"),
    ],
)
def test_a_url_loses_its_credentials_and_nothing_else_is_lost(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_the_error_of_a_failed_trial_is_redacted(
    secrets: dict[str, str], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise OSError(f"401 for https://hub/x?token={secrets['HF_TOKEN']} with {secrets['WANDB_API_KEY']}")

    monkeypatch.setattr(resident_base, "starting_folder", fails)
    record = run_trial(
        make_config(tiny_model, write_rows(tmp_path / "rows.jsonl")), TrialContext(tmp_path / "run")
    )
    assert record.status == "failed"
    assert f"OSError: 401 for https://hub/x?token={HIDDEN} with {HIDDEN}" in str(record.error)
    assert _holding(tmp_path / "run", secrets) == []


def test_a_run_folder_keeps_no_credentials_of_the_command_line(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    override = "question=see https://ada:CANARY@host/x?sig=CANARY"
    monkeypatch.setattr("sys.argv", ["paretune", "run", "spec.yaml", "--set", override])
    run_folder.prepare(specs.plan(workdir, SPEC, (override,)), workdir / "run", resume=False)
    environment = json.loads((workdir / "run" / "environment.json").read_text())
    assert environment["overrides"] == [f"question=see https://{HIDDEN}@host/x?sig={HIDDEN}"]
    assert _holding(workdir / "run", {"override": "CANARY"}) == []


def _holding(place: Path, secrets: dict[str, str]) -> list[tuple[str, str]]:
    written = [path for path in place.rglob("*") if path.is_file()]
    return [(n, p.name) for p in written for n, value in secrets.items() if value.encode() in p.read_bytes()]


# The report


class _Elements(HTMLParser):
    """The tags and attributes of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


HOSTILE = " ".join(
    (
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "'><svg/onload=alert(1)>",
        "</pre></style>",
    )
)


def _hostile_run(place: Path, hostile: str) -> Path:
    cell = re.sub(
        r"[/\\\0]", "", f"sft-{hostile}"
    )  # a record whose cell could lead out of its run is damaged
    names = {"model": hostile, "data": hostile, "method": f"lora-{hostile}", "cell": cell}
    config = {"method": {"kind": "lora", hostile: 4}, "train": {"learning_rate": 1e-3, hostile: hostile}}
    other = {"method": {"kind": "lora", hostile: 8}, "train": {"learning_rate": 2e-3, hostile: 1}}
    records = [
        run_folders.record("0" * 12, **names, quality_name=hostile).model_copy(
            update={"role": "base", "method": "base", "cell": "sft-base"}
        ),
        run_folders.record("1" * 12, **names, config=config, metrics={hostile: 1.0}, quality_name=hostile),
        run_folders.record("2" * 12, **names, config=other, objective=0.5, quality_name=hostile),
        run_folders.failed("3" * 12, **names, error=f"{hostile}\nlast line {hostile}"),
    ]
    environment = dict.fromkeys(("name", "question", "command", "commit", "host", "cpu_model"), hostile)
    made = run_folders.write_run(place, records, **environment, notes=[hostile], packages={hostile: hostile})
    (made / "spec.yaml").write_text(f"question: {hostile}\n")
    row = [run_folders.piece(hostile), run_folders.piece(hostile, loss=True)]
    run_folders.write_data(
        made, run_folders.data_entry(row, model=hostile, data=hostile, notes=[hostile], problems=[hostile])
    )
    run_folders.write_curves(made, "1" * 12, 0.9, 40)
    return made


@pytest.mark.filterwarnings(
    "ignore:constrained_layout not applied"
)  # the names are longer than a figure is wide
def test_markup_in_data_names_and_errors_is_shown_and_not_run(tmp_path: Path) -> None:
    index = write([_hostile_run(tmp_path / "run", HOSTILE)])
    page = _Elements(index.read_text(encoding="utf-8"))
    assert not {"img", "iframe", "object", "embed", "link", "base", "form"} & set(page.tags)
    assert page.tags.count("script") == 1  # the page's own
    assert [name for name, _ in page.attributes if name.startswith("on")] == []
    assert not [
        value for _, value in page.attributes if value and value.strip().lower().startswith("javascript:")
    ]
    assert page.text.count(HOSTILE) > 5
    for drawn in (index.parent / "figures").glob("*.svg"):
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(drawn).iter()}
        assert not {"script", "foreignObject", "image", "a"} & tags
    summary = (index.parent / "summary.md").read_text(encoding="utf-8")
    prose = re.sub(r"(?ms)^(```+)\w*$.*?^\1$", "", summary)
    assert "How to repeat it" in prose
    assert "<" not in prose


@pytest.mark.filterwarnings("ignore:constrained_layout not applied", "ignore:Glyph")
def test_nothing_that_a_terminal_obeys_is_in_a_report(tmp_path: Path) -> None:
    """Pages are printed, too, and their texts copied into terminals."""
    index = write([_hostile_run(tmp_path / "run", " ".join(ORDERS.values()))])
    texts = {
        path.name: path.read_bytes().decode()
        for path in index.parent.rglob("*")
        if path.suffix in (".html", ".md", ".svg")
    }
    assert "index.html" in texts
    assert {name: found for name, text in texts.items() if (found := obeyed(text))} == {}
    assert "owned" in texts["index.html"]


def test_the_policy_of_the_report_allows_nothing_to_be_loaded_and_its_own_script_alone_to_be_run(
    tmp_path: Path,
) -> None:
    index = write([run_folders.write_run(tmp_path / "run", [run_folders.record("1" * 12)])])
    page = _Elements(index.read_text(encoding="utf-8"))
    (policy,) = (value for name, value in page.attributes if name == "content" and value and "-src" in value)
    assert "default-src 'none'" in policy
    own = (ROOT / "reports" / "templates" / "page.js").read_bytes()
    digest = base64.b64encode(hashlib.sha256(own).digest()).decode()
    assert re.findall(r"script-src ([^;]*)", policy) == [f"'sha256-{digest}'"]


def test_a_name_with_a_dollar_sign_is_not_drawn_as_a_formula(tmp_path: Path) -> None:
    names = {"model": r"$\frac$", "data": r"$\no{$", "method": r"lora-$\x$", "cell": "sft-$x$"}
    records = [run_folders.record(f"{n}" * 12, **names, objective=n / 10) for n in (1, 2)]
    assert write([run_folders.write_run(tmp_path / "run", records)]).exists()


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "=cmd|' /C calc'!A0"])
def test_a_text_of_a_table_is_no_formula_of_a_spreadsheet(name: str) -> None:
    text = cell_table.csv_text([{"cell": name, "quality": -0.5, "note": "a-b = c"}])
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert row == {"cell": f"'{name}".replace("\r", "\n"), "quality": "-0.5", "note": "a-b = c"}


def test_the_name_of_a_data_set_is_not_a_link_in_the_summary() -> None:
    assert "](" not in escape_markdown("![x](https://elsewhere/x.png)")


# Ray's token


@pytest.mark.parametrize(("rights", "works"), [(0o600, True), (0o644, False), (0o640, False)])
def test_the_doctor_reports_that_others_can_read_the_ray_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rights: int, works: bool
) -> None:
    path = tmp_path / "auth_token"
    path.write_text("0" * 64)
    path.chmod(rights)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    found = report.ray_token()
    assert found.works is works
    assert works or f"chmod 600 {path}" in found.detail


def test_a_cluster_file_starts_ray_only_with_a_token_that_nobody_else_can_read() -> None:
    for name in ("cluster.yaml", "sweeps/clusters/on-premise.yaml"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for line in text.splitlines():
            assert "get-auth-token" not in line or "chmod 600 ~/.ray/auth_token" in line


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_what_a_trial_and_an_export_write_follows_the_umask(
    tiny_model: Path, tmp_path: Path, mask: int
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl")
    config = make_config(tiny_model, rows, "full", steps=2, save_steps=1)
    before = os.umask(mask)
    try:
        run_trial(config, TrialContext(tmp_path / "run"))
        export_successfully(tmp_path / "run" / "trials" / config.trial_id(), tmp_path / "exported")
    finally:
        os.umask(before)
    trial = tmp_path / "run" / "trials" / config.trial_id()
    for folder in (trial / "checkpoint-1", trial / "checkpoint-2", trial / "model", tmp_path / "exported"):
        modes = {path.name: path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
        assert any(name.endswith(".safetensors") for name in modes)
        assert modes == dict.fromkeys(modes, 0o666 & ~mask)


def test_the_trace_of_a_failed_trial_is_written_through_no_link(tiny_model: Path, tmp_path: Path) -> None:
    config = make_config(tiny_model, tmp_path / "missing.jsonl")
    trial = tmp_path / "run" / "trials" / config.trial_id()
    trial.mkdir(parents=True)
    own = tmp_path / "own"
    own.write_text("mine")
    (trial / "error.txt").symlink_to(own)
    assert run_trial(config, TrialContext(tmp_path / "run")).status == "failed"
    assert own.read_text() == "mine"
    assert "missing.jsonl" in (trial / "error.txt").read_text()


def test_the_process_beside_a_command_of_the_ui_writes_through_no_link(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("mine")
    (tmp_path / "rc.tmp").symlink_to(own)
    (tmp_path / "rc").symlink_to(own)
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    subprocess.run([sys.executable, "-I", "-S", wrapper.__file__, tmp_path, *command], check=True)
    assert own.read_text() == "mine"
    assert ((tmp_path / wrapper.EXIT_CODE).read_text(), (tmp_path / "rc").is_symlink()) == ("3", False)
    assert {path.name for path in tmp_path.iterdir()} == {"own", "rc.tmp", "rc", wrapper.PROCESS}


def test_a_security_rule_is_lifted_in_one_place_alone() -> None:
    """With its reason: ``lint.per-file-ignores`` of ``pyproject.toml``."""
    sources = [
        path for package in ("sweeps", "trainables", "reports") for path in (ROOT / package).rglob("*.py")
    ]
    assert sources
    assert [str(path) for path in sources if re.search(r"noqa:.*\bS\d{3}", path.read_text())] == []
