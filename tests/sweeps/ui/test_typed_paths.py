"""Paths that people type lead nowhere but below the data folder and the folders of runs."""

from __future__ import annotations

import pytest

from sweeps.ui.roots import OutsideRoot
from sweeps.ui.typed_paths import data_source, folder_to_read, folder_to_write
from tests.sweeps.ui.conftest import UiUnderTest

OUTSIDE = ["/etc", "~/x", "~root", "../x", "a/../../x", "a\0b", "s3://bucket/x", "", "/", "//etc"]
INSIDE = ["rows.jsonl", "data/*.jsonl", "*.jsonl", "commands", "hf:datasets/org/name", "data/[ab].csv"]
ELSEWHERE = [
    "/etc/passwd",
    "/etc/*.conf",
    "../rows.jsonl",
    "~/rows.jsonl",
    "https://x/rows",
    "--force",
    "file:///etc/x",
]


@pytest.mark.parametrize("text", OUTSIDE)
def test_an_output_outside_the_folders_is_refused(ui: UiUnderTest, text: str) -> None:
    with pytest.raises(OutsideRoot):
        folder_to_write(ui.state, text)


def test_an_output_may_be_a_new_folder_below_the_data_folder_or_the_runs(ui: UiUnderTest) -> None:
    assert folder_to_write(ui.state, "exports/lora") == ui.data / "exports" / "lora"
    assert folder_to_write(ui.state, f"{ui.runs}/exports/lora") == ui.runs / "exports" / "lora"
    for root in (ui.data, ui.runs):
        with pytest.raises(OutsideRoot):
            folder_to_write(ui.state, str(root))


def test_a_link_out_of_the_folders_is_refused(ui: UiUnderTest) -> None:
    (ui.data / "link").symlink_to("/usr")
    with pytest.raises(OutsideRoot):
        folder_to_write(ui.state, "link/new")
    with pytest.raises(OutsideRoot):
        folder_to_read(ui.state, f"{ui.data}/link/share")
    with pytest.raises(OutsideRoot):
        data_source(ui.state, "link/*.jsonl")


@pytest.mark.parametrize(
    "text", ["rows.jsonl", "data/*.jsonl", "*.jsonl", "commands", "hf:datasets/org/name", "data/[ab].csv"]
)
def test_data_may_be_files_of_the_data_folder_and_names(ui: UiUnderTest, text: str) -> None:
    assert data_source(ui.state, text) == text


@pytest.mark.parametrize(
    "text",
    [
        "/etc/passwd",
        "/etc/*.conf",
        "../rows.jsonl",
        "~/rows.jsonl",
        "https://x/rows",
        "--force",
        "file:///etc/passwd",
    ],
)
def test_data_elsewhere_are_refused(ui: UiUnderTest, text: str) -> None:
    with pytest.raises(OutsideRoot):
        data_source(ui.state, text)
