"""Models that are artifacts of W&B, by their names: ``wandb:ENTITY/PROJECT/ARTIFACT:VERSION``."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from trainables.models import locate, wandb_download
from trainables.models.folder import ModelError
from trainables.models.wandb_artifact import WandbArtifact


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "text", ["", "a", "team/model", "team/p/", "team/p/m:v1:v2", "a/b/c/d", "my team/p/m", "//m"]
)
def test_a_text_that_names_no_artifact_is_refused_with_the_form_of_one(text: str) -> None:
    with pytest.raises(ModelError, match="give wandb:ENTITY/PROJECT/ARTIFACT:VERSION"):
        locate.find_source(f"wandb:{text}")


def test_without_a_version_it_is_the_latest() -> None:
    assert WandbArtifact.parse("team/p/m") == WandbArtifact.parse("team/p/m:latest")
    assert locate.find_source("wandb:team/p/m:v3") == WandbArtifact("team/p/m:v3")


def test_without_a_key_nothing_is_asked_for() -> None:
    artifact = WandbArtifact.parse("team/p/m")
    assert artifact.local() is None
    with pytest.raises(ModelError, match="needs an account at W&B: `wandb login`"):
        artifact.fetch()


def test_a_server_that_does_not_answer_is_a_message_and_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(command: list[str], failure: str, **options: object) -> None:
        assert command[-2] == "team/p/m:v1"
        raise ModelError(f"{failure}. It exited with code 1")

    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr("trainables.models.wandb_artifact.run_command", fail)
    with pytest.raises(ModelError, match=r"wandb:team/p/m:v1 could not be downloaded"):
        WandbArtifact.parse("team/p/m:v1").fetch()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_dir() and "tmp" in path.name]
    assert WandbArtifact.parse("team/p/m:v1").local() is None


def test_the_settings_of_a_data_set_s_folder_and_of_another_run_do_not_reach_the_download(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found: dict[str, object] = {}

    def run_command(command: list[str], failure: str, cwd: Path, environment: dict[str, str]) -> None:
        found.update(
            cwd=cwd, **{name: value for name, value in environment.items() if name.startswith("WANDB")}
        )
        (Path(command[-1]) / "config.json").write_text("{}")

    monkeypatch.setattr("trainables.models.wandb_artifact.run_command", run_command)
    for name, value in {"WANDB_API_KEY": "0" * 40, "WANDB_RUN_ID": "other", "WANDB_DIR": "there"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    folder = WandbArtifact.parse("team/p/m").fetch_all()
    assert (folder / "config.json").is_file()
    assert found["cwd"] != tmp_path
    assert "WANDB_RUN_ID" not in found
    assert found["WANDB_DIR"] == found["WANDB_CONFIG_DIR"] == str(found["cwd"])


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("model/model.safetensors", True),
        ("tokenizer.json", True),
        ("model/pytorch_model.bin", False),
        ("../config.json", False),
        ("/etc/config.json", False),
        ("model/weights.pt", False),
    ],
)
def test_only_safe_files_of_a_model_are_downloaded(path: str, wanted: bool) -> None:
    assert wandb_download._is_wanted(path) is wanted


def test_what_an_artifact_only_refers_to_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    taken: list[str] = []

    def entry(path: str) -> SimpleNamespace:
        return SimpleNamespace(download=lambda **options: taken.append(path))

    entries = {
        "model.safetensors": SimpleNamespace(ref=None),
        "config.json": SimpleNamespace(ref="file:///home/ada/.config/key.json"),
    }
    artifact = SimpleNamespace(manifest=SimpleNamespace(entries=entries), get_entry=entry)
    monkeypatch.setattr("wandb.Api", lambda: SimpleNamespace(artifact=lambda name: artifact))
    wandb_download.download("team/p/m:v0", tmp_path)
    assert taken == ["model.safetensors"]
    del entries["model.safetensors"]
    with pytest.raises(ValueError, match="holds no file of a model"):
        wandb_download.download("team/p/m:v0", tmp_path)
