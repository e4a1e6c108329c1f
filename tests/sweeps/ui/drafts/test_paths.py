"""A draft reads and trains on nothing outside the folders of the UI."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.spec.source import parse
from sweeps.ui.drafts.paths import outside_problems
from sweeps.ui.roots import Roots

SPEC = "model: {{name: smollm2-135m}}\ndata: {{train: {train}}}\nstages: [{{kind: sft}}]\nmethods: [{{kind: lora}}]\n"


def problems(text: str, folder: Path) -> list[str]:
    found = outside_problems(parse(folder / "spec.yaml", text), folder, Roots((folder,)))
    return [f"{each['path']}:{each['line']}" for each in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret.jsonl").write_text("{}\n")
    folder = tmp_path / "data"
    (folder / "parts").mkdir(parents=True)
    (folder / "rows.jsonl").write_text("{}\n")
    (folder / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (folder / "parts" / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    return folder


@pytest.mark.parametrize(
    "train", ["/etc/passwd", "../secret.jsonl", "link.jsonl", "parts", "'parts/*.jsonl'",
              "[rows.jsonl, ../secret.jsonl]",
              "{compare: [rows.jsonl, /etc/hosts]}", "~/rows.jsonl"]
)  # fmt: skip
def test_data_outside_is_refused(folder: Path, train: str) -> None:
    assert problems(SPEC.format(train=train), folder)


@pytest.mark.parametrize("train", ["rows.jsonl", "commands", "hf:org/name", "missing.jsonl", "./rows.jsonl"])
def test_data_of_the_folder_and_of_hubs_is_taken(folder: Path, train: str) -> None:
    assert problems(SPEC.format(train=train), folder) == []


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("name: x\nmodel: /etc\n", "model.path:2"),
        ("model:\n  path: ../other\n", "model.path:2"),
        ("data: {train: commands, folder: /etc}\n", "data.folder:1"),
        ("data: {train: commands, template: /etc/x.jinja}\n", "data.template:1"),
        ("data: ../secret.jsonl\n", "data.train:1"),
        ("search: {from: ../runs/mine}\n", "search.from:1"),
        ("stages:\n  - {kind: ppo, reward: ../runs/mine/trials/x}\n", "stages[0].reward:2"),
        ("methods:\n  - {kind: lora, data: {train: [/etc/hosts]}}\n", "methods[0].data.train[0]:2"),
    ],
)
def test_every_setting_that_is_a_path_is_looked_at(folder: Path, text: str, where: str) -> None:
    assert problems(text, folder) == [where]


def test_a_registered_data_set_that_is_a_link_out_is_refused(folder: Path) -> None:
    (folder / "dataset_info.json").write_text(
        '{"mine": {"file_name": "link.jsonl"}, "good": {"file_name": "rows.jsonl"}}'
    )
    assert problems(SPEC.format(train="mine"), folder) == ["data.train:2"]
    assert problems(SPEC.format(train="good"), folder) == []
