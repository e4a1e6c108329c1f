"""What a sweep shows while it runs: a live table on a terminal, lines elsewhere, and the same lines in sweep.log."""

from __future__ import annotations

import io
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sweeps.console.sweep_progress import SweepProgress, clock, describe
from tests.helpers import run_folders, specs
from tests.helpers.sweeps import METHODS, PARETUNE, SPEC, Home, finished, write_spec
from tests.helpers.terminals import Terminal
from trainables import results
from trainables.results import Record
from trainables.storage import files
from trainables.system.background import Throttle

MIB = 2**20


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def plan(tmp_path: Path) -> Any:
    return specs.plan(specs.spec_folder(tmp_path / "given"))


def ends(run: Path, number: int, cell: str, **changes: Any) -> Record:
    """A trial of ``cell`` leaves its record."""
    times = {"started_at": "2026-01-01T10:00:00Z", "ended_at": "2026-01-01T10:00:30Z"}
    record = run_folders.record(f"{number:012x}", cell=cell, **{**times, **changes})
    folder = run / "trials" / record.trial_id
    files.write_json(folder / "config.json", {})
    results.write_record(folder, record)
    return record


def refresh(progress: SweepProgress) -> None:
    progress._refresh = Throttle(0)  # as if a second had passed
    progress.tick()


def test_without_a_terminal_each_trial_is_announced_once_in_one_line(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = SweepProgress(Console(file=io.StringIO()))
    progress.begin(plan(tmp_path), run, slots=2)
    one = ends(run, 1, "sft-full", quality=0.75, peak_train_bytes=512 * MIB, tokens_per_second=100.4)
    refresh(progress)
    refresh(progress)
    ends(run, 2, "sft-lora", status="interrupted")
    progress.end()
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 2
    assert printed[0].endswith(
        f"tiny: 6 trials in 2 cells, and 1 starting model to score without training; 2 at a time, in {run}"
    )
    assert (
        f"sft-full {one.trial_id} done: {one.quality_name} 0.750, peak 0.50 GiB, 100 tokens/s  (1 of 6"
        in printed[1]
    )
    assert " left)" in printed[1]
    assert (run / "sweep.log").read_text().splitlines() == printed


def test_what_is_said_before_the_run_folder_is_known_is_in_its_log_and_quiet_lines_are_there_alone(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = SweepProgress(Console(file=io.StringIO()))
    progress.log("said early")
    progress.log("said quietly", on_screen=False)
    progress.begin(plan(tmp_path), run, slots=2)
    first, second, third = (line[9:] for line in (run / "sweep.log").read_text().splitlines())
    assert (first, second, third[:5]) == ("said early", "said quietly", "tiny:")
    assert "said quietly" not in capsys.readouterr().err


def test_a_line_that_could_not_be_written_is_in_the_log_before_the_next_one(
    tmp_path: Path, run: Path
) -> None:
    progress = SweepProgress(Console(file=io.StringIO()))
    progress.begin(plan(tmp_path), run, slots=2)
    log = run / "sweep.log"
    log.rename(run / "aside")
    log.mkdir()  # which can't be written
    progress.log("one")
    log.rmdir()
    progress.log("two")
    assert [line[9:] for line in log.read_text().splitlines()] == ["one", "two"]


def test_trials_that_finished_before_count_and_are_not_announced(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = ends(run, 1, "sft-full")
    progress = SweepProgress(Console(file=io.StringIO()))
    progress.begin(plan(tmp_path), run, slots=1)
    ends(run, 2, "sft-full")
    refresh(progress)
    printed = capsys.readouterr().err
    assert "1 trial has finished already" in printed
    assert before.trial_id not in printed
    assert "(2 of 6" in printed


def test_on_a_terminal_a_table_shows_cells_counts_best_memory_and_time_left(
    tmp_path: Path, run: Path
) -> None:
    screen = io.StringIO()
    progress = SweepProgress(Console(file=screen, force_terminal=True, width=100))
    progress.begin(plan(tmp_path), run, slots=2)
    ends(run, 1, "sft-lora", quality=0.25, objective=0.9, peak_train_bytes=300 * MIB)
    ends(run, 2, "sft-lora", quality=0.75, objective=0.1, peak_train_bytes=600 * MIB)
    ends(run, 3, "sft-lora", status="stopped", quality=0.99, objective=2.0, peak_train_bytes=300 * MIB)
    refresh(progress)
    sweep = progress._sweep
    assert sweep is not None
    view = Console(width=100, file=io.StringIO())
    view.print(progress._view(sweep))
    text = view.file.getvalue()  # type: ignore[attr-defined]
    progress.end()
    row = next(line for line in text.splitlines() if line.startswith("sft-lora"))
    assert row.split() == [
        "sft-lora",
        "3/3",
        *row.split()[2:3],
        "0.250",
        "0.59",
        "GiB",
    ]  # best objective, done
    assert re.search(r"^sft-full +0/3 +– +–", text, re.M)
    assert re.search(r"^sft-base +0/1", text, re.M)
    assert "3 of 6 trials" in text
    assert " left" in text
    assert "\x1b" in screen.getvalue()


@pytest.mark.parametrize(
    ("seconds", "printed"),
    [(0, "0 s"), (59.6, "1 min 0 s"), (75, "1 min 15 s"), (3600, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_durations_are_shown_in_the_two_largest_units(seconds: float, printed: str) -> None:
    assert clock(seconds) == printed


def test_a_failed_trials_line_says_why() -> None:
    record = run_folders.failed("f" * 12, error="NotFinite: loss is nan at step 3")
    assert describe(record).endswith("loss is nan at step 3")


def test_an_early_stop_says_at_which_step_and_why() -> None:
    stopped = run_folders.record(
        "a" * 12,
        status="stopped",
        steps=5,
        config={"train": {"steps": 20}},
        quality=0.5,
        peak_train_bytes=MIB,
    )
    words = describe(stopped)
    assert (
        f"{'a' * 12} stopped early at step 5 of 20: behind the others; {stopped.quality_name} 0.500, peak"
        in words
    )
    assert f"{'f' * 12} out of memory: " in describe(
        run_folders.record("f" * 12, status="out_of_memory", error="cut")
    )


# The whole sweep on a terminal. One of its two trials fails, so it also shows how such a run ends.

FAILING = SPEC.replace(METHODS, "methods: [{kind: full}]\n").replace(
    "learning_rate: {log: [1.0e-4, 5.0e-3]}", "learning_rate: {choice: [1.0e-3, 1.0e+30]}, max_grad_norm: null"
).replace("wandb: off", "wandb: auto").replace("concurrent: 2", "concurrent: 1")  # fmt: skip


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[tuple[Terminal, Path]]:
    folder = tmp_path_factory.mktemp("terminal")
    temporary = Path(tempfile.mkdtemp(prefix="pt", dir="/tmp"))
    spec = write_spec(folder / "given", tiny_model, FAILING)
    environment = Home(folder, temporary).environment(WANDB_API_KEY=None)
    command = [*PARETUNE, "run", str(spec), "--output", str(folder / "runs")]
    with Terminal(command, folder, environment) as terminal:
        terminal.end(240)
    yield terminal, folder / "runs" / "tiny"
    shutil.rmtree(temporary, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.sweep
def test_a_run_with_a_failed_trial_ends_with_1_and_its_report_is_written(seen: tuple[Terminal, Path]) -> None:
    terminal, run = seen
    found = finished(run)
    assert sorted(record.status for record in found.values()) == ["done", "done", "failed"], terminal.screen
    assert terminal.process.returncode == 1
    shown = [line for line in terminal.lines() if line]
    assert shown[-1] == f"{run}/report/index.html"
    assert "1 of 2 trials failed" in "\n".join(shown)
    (failed,) = (record for record in found.values() if record.status == "failed")
    assert failed.trial_id in (run / "report" / "index.html").read_text()
    assert "NotFinite" in (failed.error or "")
    assert (run / "trials" / failed.trial_id / "error.txt").exists()


@pytest.mark.slow
@pytest.mark.sweep
def test_the_table_on_the_screen_is_updated(seen: tuple[Terminal, Path]) -> None:
    terminal, _ = seen
    shown = terminal.lines()
    counts = {line.split()[1] for line in shown if line.startswith("sft-full ") and len(line.split()) > 3}
    assert {"0/2", "2/2"} <= counts
    assert any(re.match(r"cell +trials +best +peak memory", line) for line in shown)
    assert any(re.match(r"sft-full +[12]/2 +loss \d+\.\d+ +\d+\.\d+ GiB", line) for line in shown)
    assert any(re.match(r"\d of 2 trials, .* so far", line) for line in shown)
    assert any(" left" in line for line in shown)


@pytest.mark.slow
@pytest.mark.sweep
def test_a_user_at_a_terminal_is_not_asked_for_a_key(seen: tuple[Terminal, Path]) -> None:
    terminal, run = seen
    printed = [line for line in terminal.lines() if "W&B" in line]
    assert len(printed) == 1
    assert "W&B: offline, no API key" in printed[0]
    assert "wandb.ai/authorize" not in terminal.screen
    assert list((run / "wandb").glob("offline-run-*"))


@pytest.mark.slow
@pytest.mark.sweep
def test_no_library_prints_to_the_terminal(seen: tuple[Terminal, Path]) -> None:
    terminal, _ = seen
    for noise in ("raylet", "WARNING", "Traceback", "Warning", "pid="):
        assert noise not in terminal.screen
