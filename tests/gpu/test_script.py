"""The script that verifies on a GPU what these tests can't: every check goes through on a CPU with tiny shapes, a check
that dies or hangs does not stop the others, and the script needs neither Ray nor bitsandbytes.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.gpu.bench import Bench
from tests.gpu.check import Case, Check, Finding, Skip, TrialFailed, rows_of, run_case
from tests.gpu.checks.synchronisation import MESSAGE, caused_by
from tests.gpu.report import Report, Row
from tests.gpu.schedule import CHECKS
from tests.gpu.supervisor import Supervisor, WorkerProcess
from tests.helpers.hidden_packages import without_packages
from tests.helpers.paths import ROOT

# Cases that no CPU can try, even with tiny shapes.
NEED_A_GPU = {
    ("methods", "qlora-eetq8bit"),
    ("attention", "flash_attention_2"),
    ("attention", "flash_attention_3"),
    ("attention", "liger"),
    ("precision", "fp16"),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), dry=True)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_every_check_goes_through_with_tiny_shapes(bench: Bench, check: Check) -> None:
    rows = list(rows_of(check, bench))
    skipped = {(row.check, row.case): row.reason for row in rows if row.outcome == "skipped"}
    assert set(skipped) <= NEED_A_GPU, skipped
    assert all(skipped.values())
    made = [row for row in rows if row.outcome != "skipped"]
    assert {row.outcome for row in made} == {"passed"}, [(r.case, r.reason, r.trace) for r in made]
    assert json.loads(json.dumps([asdict(row) for row in rows]))


# How cases end


def outcomes(tmp_path: Path, *runs: object) -> list[Row]:
    bench = Bench(tmp_path, dry=True)
    return [run_case("check", Case(f"case {number}", run), bench) for number, run in enumerate(runs)]  # type: ignore[arg-type]


def test_what_is_not_as_it_should_be_fails_and_an_error_has_its_trace(tmp_path: Path) -> None:
    def broken() -> Finding:
        raise ValueError("no such layer\nand more")

    def failed() -> Finding:
        raise TrialFailed("the trial is failed: its loss is nan", "Traceback of the trial")

    def skipped() -> Finding:
        raise Skip("there is one GPU")

    rows = outcomes(tmp_path, lambda: Finding({"loss": math.nan}, "it rose"), broken, failed, skipped)
    assert [row.outcome for row in rows] == ["failed", "error", "error", "skipped"]
    assert [row.reason for row in rows] == [
        "it rose",
        "ValueError: no such layer",
        "the trial is failed: its loss is nan",
        "there is one GPU",
    ]
    assert rows[0].values == {"loss": "nan"}  # JSON has no such number
    assert "in broken" in str(rows[1].trace)
    assert rows[2].trace == "Traceback of the trial"
    assert not Report({}, tuple(rows)).succeeded


def test_the_summary_names_what_did_not_pass_and_the_machine() -> None:
    rows = (
        Row("memory", "lora", "passed", {"peak_bytes": 2**30}),
        Row(
            "memory",
            "full",
            "failed",
            {"peak_bytes": 3 * 2**29, "error_percent": 7.25},
            "beyond the goal",
            None,
            4,
        ),
    )
    assert Report({"gpu": "H100", "gpu_memory_bytes": 80 * 2**30}, rows).summary().splitlines() == [
        "gpu H100",
        "gpu memory 80 GiB",
        "",
        "memory         full                             failed     4.0 s  peak 1.5 GiB, error 7.25 %; beyond the goal",
        "1 passed, 1 failed",
    ]


def test_a_case_without_its_package_or_after_the_budget_is_skipped_with_the_reason(tmp_path: Path) -> None:
    case = Case("fast", lambda: Finding(), needs=("no_such_package",))
    assert run_case("check", case, Bench(tmp_path)).reason == "the package no_such_package is not installed"
    late = run_case("check", Case("late", lambda: Finding()), Bench(tmp_path, deadline=time.monotonic()))
    assert (late.outcome, late.reason) == ("skipped", "the time budget was used up before it")


def test_waiting_for_the_gpu_is_counted_by_the_code_that_caused_it() -> None:
    from trainables.training import phases

    with caused_by() as causes:
        code = compile(f"import warnings\nwarnings.warn({MESSAGE!r})", phases.__file__, "exec")
        for _ in range(2):
            exec(code, {})
        warnings.warn("another", stacklevel=1)
    assert dict(causes) == {"trainables/training/phases.py:2": 2}


# The process that watches

SCRIPT = """\
import json, os, sys, time
say = lambda **message: print(json.dumps(message), flush=True)
say(environment={"gpu": "none"})
for line in sys.stdin:
    name = line.strip()
    say(case="first")
    say(row={"check": name, "case": "first", "outcome": "passed"})
    say(case="second")
    if name == "dies":
        print("out of luck", file=sys.stderr, flush=True)
        os._exit(7)
    if name == "hangs":
        time.sleep(60)
    say(done=name, healthy=name != "breaks")
"""


def supervised(tmp_path: Path, *names: str, budget: float = 60, seconds: int = 1) -> tuple[Report, int]:
    """The report on fake checks of these names, and how many processes were started."""
    started = []

    def start(_: float) -> WorkerProcess:
        started.append(WorkerProcess([sys.executable, "-c", SCRIPT], tmp_path / "log"))
        return started[-1]

    checks = [Check(name, "", seconds) for name in names]
    report = Supervisor(checks, budget, start, tmp_path / "report.json").run()
    return report, len(started)


def test_a_process_that_dies_or_can_not_compute_is_replaced_for_the_next_check(tmp_path: Path) -> None:
    report, started = supervised(tmp_path, "dies", "breaks", "works", "works")
    assert [(row.check, row.case, row.outcome) for row in report.rows] == [
        ("dies", "first", "passed"),
        ("dies", "second", "error"),
        ("breaks", "first", "passed"),
        ("works", "first", "passed"),
        ("works", "first", "passed"),
    ]
    assert report.rows[1].reason == "its process ended with code 7"
    assert report.rows[1].trace == "out of luck\n"
    assert started == 3
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["environment"] == {"gpu": "none"}
    assert written["outcomes"] == {"passed": 4, "error": 1}
    assert [row["check"] for row in written["rows"]] == [row.check for row in report.rows]


def test_a_process_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.gpu.supervisor.LEAST_SECONDS", 1)
    report, started = supervised(tmp_path, "hangs", "works")
    assert report.rows[1].reason == "it took too long, and its process was ended"
    assert (report.rows[2].outcome, started) == ("passed", 2)


def test_a_check_that_takes_longer_than_what_is_left_of_the_budget_is_skipped(tmp_path: Path) -> None:
    report, started = supervised(tmp_path, "works", budget=30, seconds=75)
    assert (report.rows[0].outcome, started) == ("skipped", 0)
    assert report.rows[0].reason == "30 s of the budget were left, and it takes about 75 s"
    assert report.succeeded


def test_it_runs_without_ray_and_bitsandbytes_and_skips_what_needs_them(tmp_path: Path) -> None:
    hidden = without_packages(tmp_path / "start", ("ray", "bitsandbytes"))
    out = tmp_path / "report.json"
    command = [sys.executable, "-m", "tests.gpu", "--dry", "--only", "export", "--out", str(out)]
    done = subprocess.run(command, env={**os.environ, **hidden}, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(out.read_text())
    assert "bitsandbytes" in report["environment"]["not_installed"]
    assert "ray" in report["environment"]["not_installed"]
    outcome = {row["case"]: (row["outcome"], row["reason"]) for row in report["rows"]}
    assert outcome["lora"] == ("passed", None)
    assert outcome["qlora-4bit"][0] == "skipped"
    assert "bitsandbytes" in outcome["qlora-4bit"][1]


@pytest.mark.slow
@pytest.mark.sweep
@pytest.mark.timeout(2400)
def test_the_sweep_of_two_slots_is_killed_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.gpu.sweep import made

    monkeypatch.setenv("PARETUNE_HOME", os.environ["PARETUNE_HOME"])  # put back afterwards: it sets its own
    report = made(dry=True, out=tmp_path / "report.json")
    assert [row.case for row in report.rows] == [
        "killed amid its trials",
        "resumed",
        "two trials at a time",
        "memory of each trial",
    ]
    assert report.succeeded, report.summary()
