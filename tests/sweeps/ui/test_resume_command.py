"""Resuming a run: by its own command where that is ours, and never with what only the run's text asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.ui.children.command_line import WrongArgument
from sweeps.ui.resume_command import Resumed
from sweeps.ui.roots import Roots
from tests.sweeps.ui.conftest import UiUnderTest

SPEC = "name: mine\nmodel: {path: models/tiny}\n"
Resume = Callable[..., str]


@pytest.fixture
def resume(tmp_path: Path) -> Resume:
    """The command that resumes the run ``runs/mine``, which kept ``own`` and says that ``command`` began it."""
    data, run = tmp_path / "data", tmp_path / "runs" / "mine"
    data.mkdir()
    run.mkdir(parents=True)

    def command(command: str, own: str = SPEC, address: str | None = None) -> str:
        (run / "spec.yaml").write_text(own)
        roots = Roots((tmp_path / "runs", data))
        found = Resumed(str(run), {"command": command}, run, data, roots, address).command()
        assert found.cwd == data
        return found.text.replace(str(tmp_path), "")

    return command


def test_a_run_is_resumed_by_its_own_command(resume: Resume, tmp_path: Path) -> None:
    (tmp_path / "data" / "mine.yaml").write_text(SPEC)
    found = resume("paretune run mine.yaml --output here --set train.steps=3 --resume --detach")
    assert found == "paretune run mine.yaml --set train.steps=3 --output /runs --resume --detach"
    assert resume("paretune run methods") == "paretune run methods --output /runs --resume --detach"
    own = "paretune run /runs/mine/spec.yaml --output /runs --resume --detach"
    assert resume("paretune run gone/spec.yaml") == own


def test_a_run_chooses_no_cluster_and_forces_nothing(resume: Resume) -> None:
    command = "paretune run methods --address evil.example:6379 --address=evil.example --force --trust pickle"
    assert resume(command) == "paretune run methods --output /runs --resume --detach"
    ours = "paretune run methods --address auto --output /runs --resume --detach"
    assert resume(command, address="auto") == ours


def test_a_spec_outside_the_folders_is_not_run(resume: Resume, tmp_path: Path) -> None:
    (tmp_path / "evil.yaml").write_text(SPEC)
    (tmp_path / "data" / "link.yaml").symlink_to(tmp_path / "evil.yaml")
    for spec in (tmp_path / "evil.yaml", "../evil.yaml", "link.yaml"):
        assert "run /runs/mine/spec.yaml" in resume(f"paretune run {spec}")


@pytest.mark.parametrize(
    "setting", ["data.train=/etc/passwd", "model.path=../../x", "data.train=~/rows.jsonl"]
)
def test_values_that_lead_out_of_the_folders_are_refused(resume: Resume, setting: str) -> None:
    for command, own in (
        (f"paretune run methods --set {setting}", SPEC),
        (f"paretune run x --set={setting}", SPEC),
    ):
        with pytest.raises(WrongArgument, match="outside the folders"):
            resume(command, own)
    with pytest.raises(WrongArgument, match="outside the folders"):
        resume("", "name: mine\ndata: {train: /etc/passwd}\n")


def test_code_that_only_the_run_names_is_not_run(resume: Resume, tmp_path: Path) -> None:
    quality, unsafe = (
        "name: mine\ndata: {quality: 'evil:score'}\n",
        "name: mine\nmodel: {unsafe: [remote_code]}\n",
    )
    methods = (
        "name: mine\nmethods: [{kind: 'evil:Method'}]\n",
        "name: mine\nmethods: [{kind: {compare: [lora, 'evil:Method']}}]\n",
    )
    for own in (quality, unsafe, *methods):
        with pytest.raises(WrongArgument, match="would run code"):
            resume("", own)
    with pytest.raises(WrongArgument, match="would run code"):
        resume("paretune run methods --set data.quality=evil:score")
    (tmp_path / "data" / "mine.yaml").write_text(quality)
    assert "run mine.yaml" in resume("paretune run mine.yaml")


def test_a_run_without_a_spec_says_so(ui: UiUnderTest) -> None:
    run = ui.runs / "mine"
    run.mkdir()
    with pytest.raises(WrongArgument, match=r"spec\.yaml can't be read"):
        Resumed(str(run), {}, run, ui.data, ui.state.roots).command()
