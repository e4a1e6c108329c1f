"""Uploading an export to a hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.exports import export, export_successfully


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What the hub was asked to do; the repository that is made is as private as it was asked to be."""
    import huggingface_hub

    asked: list[tuple[str, dict[str, Any]]] = []

    class Info:
        private = True
        repo_url = "https://hub/ada/model"

    def note(name: str) -> Any:
        def do(*arguments: Any, **options: Any) -> Info:
            asked.append(
                (name, {**options, "repo": options.get("repo_id", arguments[0] if arguments else None)})
            )
            return Info()

        return do

    for name in ("create_repo", "upload_folder", "repo_info"):
        monkeypatch.setattr(huggingface_hub, name, note(name))
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_sometoken")
    monkeypatch.setattr(Info, "asked", asked, raising=False)
    return asked


def test_nothing_is_pushed_without_push(
    lora: str, tmp_path: Path, hub: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_sometoken1")
    export_successfully(lora, tmp_path / "out", "--no-verify", "--ollama")
    export_successfully(lora, tmp_path / "adapter", "--adapter")
    assert hub == []


def test_a_push_is_private_by_default_and_public_with_public(
    lora: str, tmp_path: Path, hub: list[Any]
) -> None:
    export_successfully(lora, tmp_path / "out", "--adapter", "--push", "ada/model")
    assert [name for name, _ in hub] == ["create_repo", "repo_info", "upload_folder"]
    assert hub[0][1]["private"] is True
    assert (hub[2][1]["repo"], hub[2][1]["folder_path"]) == ("ada/model", tmp_path / "out")
    hub.clear()
    export_successfully(lora, tmp_path / "other", "--adapter", "--push", "ada/model", "--public")
    assert hub[0][1]["private"] is False


def test_weights_are_not_pushed_to_a_public_repository_without_public(
    lora: str, tmp_path: Path, hub: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    class Public:
        private = False

    monkeypatch.setattr(huggingface_hub, "repo_info", lambda *_: Public)
    command = export(lora, tmp_path / "out", "--adapter", "--push", "ada/model")
    assert command.exit_code == 1
    assert "is public, and nothing was uploaded" in command.stderr
    assert "upload_folder" not in [name for name, _ in hub]
    assert (tmp_path / "out" / "README.md").is_file()


@pytest.mark.parametrize(
    ("name", "message"), [("model", "give ORG/NAME"), ("a/b/c", "--push a/b/c"), ("a/..b", "--push a/..b")]
)
def test_an_invalid_repository_id_is_refused_before_any_work(
    lora: str, tmp_path: Path, hub: list[Any], name: str, message: str
) -> None:
    refused = export(lora, tmp_path / "out", "--push", name)
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert not (tmp_path / "out").exists()


def test_without_a_token_a_push_is_refused_before_any_work(
    lora: str, tmp_path: Path, hub: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    refused = export(lora, tmp_path / "out", "--push", "ada/model")
    assert refused.exit_code == 2
    assert "hf auth login" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_a_failed_upload_keeps_the_folder_and_prints_no_secret(
    lora: str, tmp_path: Path, hub: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def broken(**_: Any) -> None:
        raise OSError("PUT https://ada:hf_verysecrettoken@hub/x failed")

    monkeypatch.setattr(huggingface_hub, "upload_folder", broken)
    command = export(lora, tmp_path / "out", "--adapter", "--push", "ada/model")
    assert command.exit_code == 1
    assert "hf upload ada/model" in command.stderr
    assert "hf_verysecrettoken" not in command.stderr
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())
