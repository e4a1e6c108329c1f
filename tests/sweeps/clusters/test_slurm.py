"""``slurm.sh`` as a job of Slurm, on simulated machines: its time ends, another job takes its place, and it goes on.

What is submitted is the file itself; what is changed in it is what it says is to be filled in.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import sweeps
from tests.helpers.paths import ROOT
from tests.helpers.slurm import SlurmCluster, missing, slurm_cluster
from tests.helpers.sweeps import METHODS, SPEC, write_spec
from trainables import results

SCRIPT = ROOT / "sweeps" / "clusters" / "slurm.sh"
on_slurm = pytest.mark.skipif(missing() is not None, reason=str(missing()))
# Nothing of these trials is saved before they are asked to, and two at most have room on one node.
LONG = (
    SPEC.replace(METHODS, "methods: [{kind: lora, rank: 4}]\n")
    .replace("steps: 100", "steps: 400")
    .replace("save_steps: 20, ", "")
    .replace("{cpus: 1, concurrent: 2}", "{cpus: 1, gpus: 0, concurrent: 3}")
)


def lines() -> list[str]:
    return SCRIPT.read_text(encoding="utf-8").splitlines()


def filled_in(shared: Path) -> str:
    """The script for machines with two cores, whose shell has Paretune in its path."""
    values = {
        "#SBATCH --cpus-per-task": "=2",
        "#SBATCH --gpus-per-node": "=1",
        "#SBATCH --mem": "=4G",
        "#SBATCH --time": "=30",
        "shared": f"={shared}",
        "export PATH": "=$PATH",
    }
    marked = [line.partition("=")[0] for line in lines() if "# FILL IN" in line]
    assert sorted(marked) == sorted(values)
    kept = (
        f"{name}{values[name]}" if (name := line.partition("=")[0]) in values else line for line in lines()
    )
    return "\n".join(kept) + "\n"


def test_the_script_is_valid_and_what_is_to_be_filled_in_is_little() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    assert sum("# FILL IN" in line for line in lines()) == 6
    assert os.access(SCRIPT, os.X_OK)


@pytest.mark.skipif(
    shutil.which("shellcheck") is None, reason="needs shellcheck (apt-get install shellcheck)"
)
def test_shellcheck_has_nothing_to_say() -> None:
    # Functions that a trap calls, and a text for another shell.
    done = subprocess.run(["shellcheck", "-e", "SC2317,SC2016", SCRIPT], capture_output=True, text=True)
    assert done.stdout == ""


def test_the_notice_is_shorter_than_the_time_in_which_slurm_announces_the_end() -> None:
    """Slurm checks its jobs once a minute."""
    text = SCRIPT.read_text(encoding="utf-8")
    (announced,) = re.findall(r"--signal=B:TERM@(\d+)", text)
    (notice,) = re.findall(r"PARETUNE_NOTICE_SECONDS:-(\d+)", text)
    assert int(announced) - int(notice) >= 60


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[SlurmCluster]:
    folder = tmp_path_factory.mktemp("slurm")
    write_spec(folder, tiny_model, LONG)
    (folder / "slurm.sh").write_text(filled_in(folder / "shared"))
    with slurm_cluster(folder, "one", "two") as made:
        yield made


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, cluster: SlurmCluster) -> dict[str, Any]:
    """The results of the same spec without Slurm."""
    folder = tmp_path_factory.mktemp("plain")
    home = sweeps.Home(folder / "home", tmp_path_factory.mktemp("t"))
    done = sweeps.paretune(
        home, "run", cluster.folder / "spec.yaml", "--output", folder / "runs", timeout=1500
    )
    assert done.process.returncode == 0, done.stderr
    return outcomes(folder / "runs" / "tiny")


def outcomes(run: Path) -> dict[str, Any]:
    records = results.read_run(run).records
    return {each.trial_id: (each.status, each.steps, each.objective, each.metrics) for each in records}


def until(condition: Callable[[], Any], cluster: SlurmCluster, job: int, seconds: float = 1200) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{cluster.run(f'scontrol show job {job}')}\n{cluster.output(job)}"
        time.sleep(0.5)


def trained(run: Path) -> bool:
    """Whether a trial is past its first steps."""
    curves = [folder / "curve.jsonl" for folder in (run / "trials").glob("*")]
    return any(curve.exists() and '"step":30' in curve.read_text().replace(" ", "") for curve in curves)


@pytest.mark.slow
@pytest.mark.sweep
@pytest.mark.timeout(2400)
@on_slurm
def test_a_job_whose_time_ends_is_requeued_and_goes_on_to_the_same_results(
    cluster: SlurmCluster, expected: dict[str, Any]
) -> None:

    def is_waiting_or_running(job: int) -> bool:
        return cluster.state(job) in ("PENDING", "RUNNING")

    run = cluster.folder / "shared" / "runs" / "end"
    job = cluster.submit("slurm.sh spec.yaml --set name=end")
    until(lambda: trained(run), cluster, job)
    # As if it had been submitted with little time: the signal of --signal is sent within a minute.
    cluster.run(
        f"scontrol update jobid={job} timelimit=+0 endtime=$(date -d '+6 minutes' +%Y-%m-%dT%H:%M:%S)"
    )
    until(lambda: "requeued, to go on" in cluster.output(job), cluster, job)
    assert "goes on at step" in cluster.output(job)
    until(lambda: cluster.field(job, "Restarts") == "1" and is_waiting_or_running(job), cluster, job)
    # The little time is the job's own from then on, and it would be requeued every two minutes.
    cluster.run(f"scontrol update jobid={job} timelimit=30")
    until(lambda: cluster.state(job) == "COMPLETED", cluster, job)
    assert cluster.field(job, "Restarts") == "1"
    assert outcomes(run) == expected
    assert not cluster.machines[0].run(f"ls -d /tmp/paretune-{job} 2> /dev/null || true")


@pytest.mark.slow
@pytest.mark.sweep
@pytest.mark.timeout(2400)
@on_slurm
def test_a_job_on_two_nodes_gives_way_to_an_urgent_one_and_goes_on(
    cluster: SlurmCluster, expected: dict[str, Any]
) -> None:
    shared = cluster.folder / "shared"
    run = shared / "runs" / "both"
    job = cluster.submit("--nodes=2 --exclusive slurm.sh spec.yaml --set name=both")
    until(lambda: trained(run), cluster, job)
    token = shared / f"token-{job}"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    for machine in cluster.machines:  # Ray has what Slurm gave, and no process shows the token
        (raylet,) = machine.processes("raylet/raylet ")
        assert "GPU,1" in raylet
        assert "CPU,2" in raylet
        assert not machine.processes(token.read_text())
    urgent = cluster.submit("--partition=urgent --nodes=2 --exclusive --wrap 'sleep 5'")
    until(lambda: cluster.state(urgent) == "COMPLETED", cluster, job)
    until(lambda: cluster.state(job) == "COMPLETED", cluster, job)
    assert cluster.field(job, "Restarts") == "1"
    assert {record.host for record in results.read_run(run).records} == {"one", "two"}
    assert outcomes(run) == expected
    assert not token.exists()


@pytest.mark.slow
@pytest.mark.sweep
@pytest.mark.timeout(2400)
@on_slurm
def test_a_cancelled_job_is_not_requeued_and_the_same_words_continue_it(cluster: SlurmCluster) -> None:
    run = cluster.folder / "shared" / "runs" / "cancelled"
    job = cluster.submit("slurm.sh spec.yaml --set name=cancelled")
    until(lambda: trained(run), cluster, job)
    cluster.run(f"scancel {job}")
    until(lambda: cluster.state(job) == "CANCELLED", cluster, job)
    again = cluster.submit("slurm.sh spec.yaml --set name=cancelled")
    until(lambda: cluster.state(again) == "COMPLETED", cluster, again)
    assert {record.status for record in results.read_run(run).records} == {"done"}
