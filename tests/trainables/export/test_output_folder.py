"""Where an export goes: complete or not there, no files of others replaced, and mistakes reported before any work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.exports import export, export_successfully
from trainables.export import output_folder, saved_model
from trainables.models.folder import ModelError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


STUCK = """\
import sys, time
from trainables.export import model_card
def stuck(*_):
    print("writing", flush=True)
    time.sleep(600)
model_card.render = stuck
from sweeps.cli import app
app(sys.argv[1:])
"""


def test_an_export_that_is_killed_leaves_no_folder_and_the_next_one_clears_up(
    lora: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", STUCK, "export", lora, str(tmp_path / "out"), "--no-verify"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    (left,) = names(tmp_path)
    assert left.startswith(".out.")
    assert (tmp_path / left / "model.safetensors").is_file()
    export_successfully(lora, tmp_path / "out", "--no-verify")
    assert names(tmp_path) == ["out"]


def test_the_folder_that_a_killed_export_had_moved_aside_is_put_back(tmp_path: Path) -> None:
    (tmp_path / ".out.abcd_123.old").mkdir()
    (tmp_path / ".out.abcd_123.old" / "config.json").write_text("{}")
    (tmp_path / ".out.abcd_124.tmp").mkdir()
    other = tmp_path / ".out.v2.abcd_123.tmp"  # of an export to out.v2, which may be under way
    other.mkdir()
    with (
        pytest.raises(ZeroDivisionError),
        output_folder.new_output_folder(tmp_path / "out", force=False, needed_bytes=0, sources=[]),
    ):
        raise ZeroDivisionError
    assert names(tmp_path) == [other.name, "out"]
    assert names(tmp_path / "out") == ["config.json"]


def test_an_existing_export_is_replaced_only_with_force(lora: str, tmp_path: Path) -> None:
    export_successfully(lora, tmp_path / "out", "--no-verify")
    before = (tmp_path / "out" / "config.json").stat().st_mtime_ns
    refused = export(lora, tmp_path / "out", "--no-verify")
    assert refused.exit_code == 2
    assert "--force replaces it once the new one is complete" in refused.stderr
    assert (tmp_path / "out" / "config.json").stat().st_mtime_ns == before
    export_successfully(lora, tmp_path / "out", "--no-verify", "--force", "--dtype", "float32")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float32"
    assert names(tmp_path) == ["out"]


def test_an_empty_folder_may_be_the_output(lora: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export_successfully(lora, tmp_path / "out", "--adapter")


@pytest.mark.parametrize("with_model", [False, True])
def test_a_folder_with_other_files_is_never_replaced(lora: str, tmp_path: Path, with_model: bool) -> None:
    if with_model:
        export_successfully(lora, tmp_path / "out", "--adapter")
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    refused = export(lora, tmp_path / "out", "--adapter", "--force")
    assert refused.exit_code == 2
    assert "(thesis.tex), and --force replaces only folders that hold a model" in refused.stderr
    assert (tmp_path / "out" / "thesis.tex").exists()


def test_the_output_of_a_trial_and_the_exported_model_itself_are_never_replaced(
    lora: str, tiny_model: Path
) -> None:
    run, _, trial = lora.rpartition(":")
    for out in (Path(run) / "trials" / trial / "model", tiny_model, tiny_model / "deeper", tiny_model.parent):
        refused = export(lora, out, "--force")
        assert refused.exit_code == 2, out
    other = Path(run) / "trials" / trial / "model"
    refused = export(tiny_model, other, "--force")
    assert (refused.exit_code, "is the output of a trial" in refused.stderr) == (2, True)


def test_a_full_disk_is_an_error_before_any_work(
    lora: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=2**20)
    monkeypatch.setattr(output_folder.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(saved_model, "save_model", lambda *_: pytest.fail("it began"))
    refused = export(lora, tmp_path / "out")
    assert refused.exit_code == 2
    assert "GiB free; free some space, or give a folder on another disk" in refused.stderr
    assert names(tmp_path) == []


def test_a_second_export_to_the_same_folder_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    options = {"force": False, "needed_bytes": 0, "sources": []}
    with output_folder.new_output_folder(tmp_path / "out", **options):  # noqa: SIM117
        with (
            pytest.raises(ModelError, match="in progress"),
            output_folder.new_output_folder(tmp_path / "out", **options),
        ):
            pytest.fail("it began")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dtype", "int8"), "--dtype int8: give one of bfloat16, float16, float32"),
        (("--shard-size", "lots"), "--shard-size lots: not a size; write 5GB or 500MB"),
        (("--shard-size", "0"), "must be at least 1MB"),
        (("--public",), "--public needs --push"),
        (("--adapter", "--dtype", "float32"), "can't be combined with --dtype, --gguf or --ollama"),
        (("--trust", "everything"), "give remote_code, pickle or method_code"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    lora: str, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    refused = export(lora, tmp_path / "out", *options)
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert names(tmp_path) == []


def test_the_adapter_of_whole_weights_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    refused = export(tiny_model, tmp_path / "out", "--adapter")
    assert refused.exit_code == 2
    assert "has no adapter of its own" in refused.stderr


def test_ctrl_c_keeps_the_previous_export(lora: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_successfully(lora, tmp_path / "old", "--adapter")
    before = {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()}

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(saved_model, "save_model", interrupted)
    assert export(lora, tmp_path / "out").exit_code == 130
    assert export(lora, tmp_path / "old", "--force").exit_code == 130
    assert names(tmp_path) == ["old"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()} == before
