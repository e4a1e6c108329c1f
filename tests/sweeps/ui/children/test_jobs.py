"""Jobs: commands that go on without the UI, and are known to the next one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeps.ui.children import Jobs, NotStarted, cancelling
from sweeps.ui.children.command_line import WrongArgument, command_line, operand
from sweeps.ui.children.job_folder import JobFolder
from tests.helpers.ui_children import ended, is_alive, private, use_programs, wait_for

EVENTS = """
import json, sys
for line in ({"event": "progress", "done": 1, "total": 2}, {"event": "warning", "message": "slow"},
             {"event": "result", "folder": "out"}):
    print(json.dumps(line), flush=True)
print("a line of the log", file=sys.stderr)
"""
WAITING = "import time, sys; print('begun', file=sys.stderr, flush=True); time.sleep(60)"
STUBBORN = """
import os, signal, subprocess, sys, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(os.getpid(), child.pid, file=sys.stderr, flush=True)
time.sleep(60)
"""


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Jobs:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    use_programs(monkeypatch)
    return Jobs()


def test_a_job_has_its_progress_its_result_its_log_and_its_exit_code(jobs: Jobs, tmp_path: Path) -> None:
    job = ended(jobs, jobs.start("export", [EVENTS], tmp_path, title="Export of methods"))
    output = job.output()
    assert (job.state, job.exit_code, job.title, job.cwd) == ("done", 0, "Export of methods", str(tmp_path))
    assert output.progress == {"done": 1, "total": 2}
    assert output.events == ({"event": "warning", "message": "slow"},)
    assert output.result == {"folder": "out"}
    assert job.log() == "a line of the log\n"


def test_an_output_that_is_one_json_value_is_the_result(jobs: Jobs, tmp_path: Path) -> None:
    program = "import json; print(json.dumps({'cells': [1, 2]}, indent=2))"
    assert ended(jobs, jobs.start("plan", [program], tmp_path)).output().result == {"cells": [1, 2]}


def test_a_command_that_refuses_its_input_has_failed_with_its_sentence(jobs: Jobs, tmp_path: Path) -> None:
    program = "import sys; print('out exists; give --force', file=sys.stderr); sys.exit(2)"
    job = ended(jobs, jobs.start("export", [program], tmp_path))
    assert (job.state, job.exit_code, job.log()) == ("failed", 2, "out exists; give --force\n")


def test_a_job_that_cannot_be_started_leaves_nothing_behind(jobs: Jobs, tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match=r"paretune export could not be started in .*missing: No such file"):
        jobs.start("export", ["export"], tmp_path / "missing")
    assert jobs.list() == []
    assert list(jobs.folder.iterdir()) == []


def test_the_files_of_a_job_are_for_its_owner_alone(jobs: Jobs, tmp_path: Path) -> None:
    job = ended(jobs, jobs.start("export", [EVENTS], tmp_path))
    paths = [jobs.folder.parent, jobs.folder, job.folder.path]
    assert all(private(path) for path in paths)


def test_a_folder_of_jobs_that_is_a_link_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "ui").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="is not a folder of this user"):
        Jobs()


def test_a_secret_in_the_arguments_is_neither_recorded_nor_shown(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh12345678")
    program = "import sys; print(sys.argv[1], file=sys.stderr)"
    job = ended(jobs, jobs.start("fetch", [program, "hf_abcdefgh12345678"], tmp_path))
    assert job.log() == "***\n"
    assert "hf_abcdefgh12345678" not in (job.folder.path / "job.json").read_text() + job.command


def test_a_job_goes_on_when_the_ui_is_killed_and_the_next_ui_sees_its_end(jobs: Jobs, tmp_path: Path) -> None:
    go, ui = tmp_path / "go", tmp_path / "ui.py"
    program = (
        "import os, time\n"
        f"for _ in range(3000):\n if os.path.exists({str(go)!r}): print('[7]'); break\n time.sleep(0.02)"
    )
    ui.write_text(
        "import sys, time\nfrom pathlib import Path\nfrom sweeps.ui.children import Jobs, jobs\n"
        "jobs.command_line = lambda argv: [sys.executable, '-c', *argv]\n"
        f"print(Jobs().start('try', [{program!r}], Path('/')).id, flush=True)\ntime.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, str(ui)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    job_id = process.stdout.readline().strip()
    process.kill()
    process.wait()
    process.stdout.close()

    restarted = Jobs()
    running = restarted.get(job_id)
    assert running is not None
    assert running.state == "running"
    go.touch()
    job = ended(restarted, running)
    assert (job.state, job.output().result) == ("done", [7])


def test_a_cancelled_job_ends_as_by_ctrl_c(jobs: Jobs, tmp_path: Path) -> None:
    job = jobs.start("evaluate", [WAITING], tmp_path)
    wait_for(lambda: "begun" in job.log())
    jobs.cancel(job.id)
    job = ended(jobs, job)
    assert job.state == "cancelled"
    assert "KeyboardInterrupt" in job.log()


def test_a_job_that_has_only_just_begun_is_cancelled(jobs: Jobs, tmp_path: Path) -> None:
    job = jobs.start("evaluate", [WAITING], tmp_path)
    jobs.cancel(job.id)
    assert ended(jobs, job).state == "cancelled"


def test_a_job_that_ignores_signals_is_killed_with_its_children(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = ((0.0, signal.SIGINT), (0.2, signal.SIGTERM), (0.4, signal.SIGKILL))
    monkeypatch.setattr(cancelling, "STEPS", steps)
    job = jobs.start("evaluate", [STUBBORN], tmp_path)
    wait_for(lambda: len(job.log().split()) == 2)
    pids = [int(pid) for pid in job.log().split()]
    jobs.cancel(job.id)
    assert ended(jobs, job).state == "cancelled"
    wait_for(lambda: not any(map(is_alive, pids)))


def test_what_a_command_leaves_in_its_process_group_ends_with_a_cancelled_job(
    jobs: Jobs, tmp_path: Path
) -> None:
    program = (
        "import subprocess, sys, time\n"
        "code = 'import signal, time; signal.signal(2, signal.SIG_IGN); print(1, flush=True); time.sleep(60)'\n"
        "child = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print(child.pid, file=sys.stderr, flush=True); time.sleep(60)"
    )
    job = jobs.start("evaluate", [program], tmp_path)
    wait_for(lambda: job.log().strip())
    child = int(job.log())
    jobs.cancel(job.id)
    wait_for(lambda: not is_alive(child))


def test_a_process_that_has_got_a_dead_jobs_number_is_left_alone(jobs: Jobs, tmp_path: Path) -> None:
    job = ended(jobs, jobs.start("evaluate", ["pass"], tmp_path))
    (job.folder.path / "rc").unlink()
    with subprocess.Popen(
        [sys.executable, "-c", WAITING], stderr=subprocess.PIPE, start_new_session=True
    ) as other:
        recorded = job.folder.processes
        for each in recorded.values():
            each["pid"] = other.pid  # started at another time
        job.folder.write("process.json", recorded)
        dead = jobs.get(job.id)
        assert dead is not None
        assert dead.state == "dead"
        assert other.stderr is not None
        other.stderr.readline()
        cancelling.end_processes(job.folder)
        assert other.poll() is None
        other.kill()


def test_a_job_whose_processes_were_killed_is_dead(jobs: Jobs, tmp_path: Path) -> None:
    job = jobs.start("evaluate", [WAITING], tmp_path)
    wait_for(lambda: "begun" in job.log())
    os.killpg(job.folder.processes["wrapper"]["pid"], signal.SIGKILL)
    assert ended(jobs, job).state == "dead"


def test_a_restarted_ui_goes_on_ending_a_job_that_was_cancelled(jobs: Jobs, tmp_path: Path) -> None:
    job = jobs.start("evaluate", [WAITING], tmp_path)
    wait_for(lambda: "begun" in job.log())
    job.folder.write("cancel", {})  # and the UI died
    assert ended(Jobs(), job).state == "cancelled"


def test_old_jobs_are_removed_and_running_ones_are_not(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = ended(jobs, jobs.start("export", ["pass"], tmp_path))
    week_ago = time.time() - 8 * 24 * 3600
    os.utime(old.folder.path / "rc", (week_ago, week_ago))
    running = jobs.start("export", [WAITING], tmp_path)
    assert [job.id for job in jobs.list()] == [running.id]
    monkeypatch.setattr("sweeps.ui.children.jobs.KEPT_JOBS", 0)
    jobs.remove_old()
    assert [job.id for job in jobs.list()] == [running.id]
    jobs.cancel(running.id)
    ended(jobs, running)


def test_reports_over_several_runs_and_pasted_configs_are_kept_for_a_week(jobs: Jobs, tmp_path: Path) -> None:
    week_ago, outside = time.time() - 8 * 24 * 3600, tmp_path / "outside"
    outside.mkdir()
    for kind in ("reports", "configs"):
        for name in ("old", "new"):
            (jobs.folder.parent / kind / name).mkdir(parents=True)
        (jobs.folder.parent / kind / "link").symlink_to(outside)
        os.utime(jobs.folder.parent / kind / "old", (week_ago, week_ago))
    os.utime(outside, (week_ago, week_ago))
    jobs.remove_old()
    for kind in ("reports", "configs"):
        assert {entry.name for entry in (jobs.folder.parent / kind).iterdir()} == {"new", "link"}
    assert outside.is_dir()


@pytest.mark.parametrize("job_id", ["", "..", "../../etc", "0123456789abcdef", "0123456789ABCDEF", "a/b"])
def test_an_id_that_is_none_is_no_job(jobs: Jobs, job_id: str) -> None:
    assert jobs.get(job_id) is None
    assert jobs.cancel(job_id) is None


def test_damaged_files_of_a_job_are_no_job(jobs: Jobs) -> None:
    for number, content in enumerate(["", "[]", '{"kind": 1}', "\x00", "[" * 100_000]):
        folder = JobFolder(jobs.folder / f"{number:016x}")
        folder.make()
        (folder.path / "job.json").write_text(content)
    assert jobs.list() == []


def test_the_events_of_a_job_begin_with_its_state_and_end_with_its_end(jobs: Jobs, tmp_path: Path) -> None:
    program = (
        "import json, time\n"
        "for i in (1, 2): print(json.dumps({'event': 'progress', 'done': i}), flush=True); time.sleep(0.6)"
    )

    async def events() -> list[tuple[str, dict[str, object]]]:
        job = jobs.start("evaluate", [program], tmp_path)
        return [(event.name, event.data) async for event in jobs.follow(job.id)]

    seen = asyncio.run(events())
    names = [name for name, _ in seen]
    assert names[0] == "state"
    assert names[-1] == "ended"
    assert set(names[1:-1]) == {"changes"}
    assert [data["progress"] for _, data in seen if data.get("progress")] == [{"done": 1}, {"done": 2}]
    assert json.dumps(seen)  # all of it can be sent


def test_a_short_command_gets_its_input_and_its_answer_is_json(jobs: Jobs) -> None:
    program = "import json, sys; json.dump({'read': sys.stdin.read()}, sys.stdout)"
    answer = asyncio.run(jobs.run_json([program], stdin="name: methods"))
    assert (answer.exit_code, answer.value) == (0, {"read": "name: methods"})


def test_a_short_command_ends_when_a_newer_one_takes_its_place(jobs: Jobs, tmp_path: Path) -> None:
    started = tmp_path / "pid"
    slow = f"import os, time; open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(60)"

    async def both() -> tuple[object, object]:
        first = asyncio.create_task(jobs.run_json([slow], replaces="plan:1"))
        while not (started.exists() and started.read_text()):
            await asyncio.sleep(0.02)
        second = await jobs.run_json(["print(2)"], replaces="plan:1")
        return (await first).ended, second.value

    assert asyncio.run(both()) == ("replaced", 2)
    wait_for(lambda: not is_alive(int(started.read_text())))


def test_a_short_command_that_takes_too_long_is_ended(jobs: Jobs) -> None:
    answer = asyncio.run(jobs.run_json(["import time; time.sleep(60)"], timeout=0.3))
    assert (answer.exit_code, answer.ended, answer.value, answer.timeout) == (None, "timed_out", None, 0.3)


def test_a_value_with_a_dash_before_it_is_no_operand() -> None:
    for value in ("--force", "-", "", " "):
        with pytest.raises(WrongArgument):
            operand(value)
    assert operand("./-odd") == "./-odd"


def test_an_argument_with_nul_or_half_a_character_is_refused() -> None:
    for value in ("a\0b", "\ud800"):
        with pytest.raises(WrongArgument):
            command_line(["plan", value])


def test_paretunes_commands_run_as_short_commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path))
    answer = asyncio.run(Jobs().run_json(["plan", "no-such-spec", "--json"], timeout=60))
    assert answer.exit_code == 2
    assert "no-such-spec" in answer.stdout + answer.stderr


def test_children_are_started_without_torch_and_ray() -> None:
    heavy = ("torch", "ray", "pyarrow", "numpy")
    program = f"import sys, sweeps.ui.children; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
