"""A Slurm cluster of simulated machines: the first one runs the controller, and each a node with a GPU that is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.helpers import machines as simulated
from tests.helpers.machines import Machine, machines

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
# Without control groups, which namespaces here don't have. A requeued job waits as long as credentials are valid.
CONFIG = """\
ClusterName=tests
SlurmctldHost=%(first)s(%(address)s)
SlurmUser=root
AuthInfo=cred_expire=5
StateSaveLocation=%(folder)s/state
SlurmdSpoolDir=%(folder)s/spool-%%n
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=%(folder)s/slurmctld.log
SlurmdLogFile=%(folder)s/slurmd-%%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=30
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
GresTypes=gpu
%(nodes)s
PartitionName=usual Nodes=ALL Default=YES PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=ALL PriorityTier=2 PreemptMode=OFF
"""
NODE = "NodeName={0.name} NodeAddr={0.address} CPUs=2 RealMemory=8000 Gres=gpu:1"


def missing() -> str | None:
    """Why there is no Slurm cluster here; ``None`` if there can be one."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    return f"needs {', '.join(absent)} (apt-get install slurm-wlm)" if absent else simulated.missing()


@dataclass(frozen=True)
class SlurmCluster:
    machines: tuple[Machine, ...]
    folder: Path  # the same on all machines

    def run(self, command: str, timeout: float = 60) -> str:
        """The output of a command on the first machine."""
        return self.machines[0].run(f"export SLURM_CONF={self.folder}/slurm.conf; {command}", timeout)

    def submit(self, words: str) -> int:
        """The number of the job that ``sbatch`` makes."""
        return int(self.run(f"cd {self.folder} && sbatch --parsable {words}"))

    def state(self, job: int) -> str:
        """``PENDING``, ``RUNNING``, ``COMPLETED``, ..."""
        return self.field(job, "JobState")

    def field(self, job: int, name: str) -> str:
        """A field of ``scontrol show job``."""
        words = self.run(f"scontrol show job {job}").split()
        return next(word.partition("=")[2] for word in words if word.startswith(f"{name}="))

    def output(self, job: int) -> str:
        path = self.folder / f"slurm-{job}.out"
        return path.read_text() if path.exists() else ""


@contextmanager
def slurm_cluster(folder: Path, *names: str) -> Iterator[SlurmCluster]:
    with machines(folder, *names) as made:
        cluster = SlurmCluster(tuple(made), folder)
        _write_config(folder, made)
        for machine in made:
            _serve(machine, folder, "munged", "-F --force", "mkdir -p /run/munge")
        cluster.run("until munge -n > /dev/null; do sleep 0.2; done", timeout=20)
        _serve(made[0], folder, "slurmctld", "-D")
        for machine in made:
            _serve(machine, folder, "slurmd", f"-D -N {machine.name}")
        end = time.monotonic() + 60
        while cluster.run("sinfo -h -N -o %t || true").split() != ["idle"] * 2 * len(made):
            assert time.monotonic() < end, cluster.run("scontrol show nodes")
            time.sleep(0.5)
        yield cluster


def _write_config(folder: Path, made: list[Machine]) -> None:
    (folder / "state").mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    first, nodes = made[0], "\n".join(map(NODE.format, made))
    words = {"first": first.name, "address": first.address, "folder": folder, "nodes": nodes}
    (folder / "slurm.conf").write_text(CONFIG % words)
    (folder / "gres.conf").write_text("Name=gpu File=/dev/full\n")


def _serve(machine: Machine, folder: Path, program: str, options: str, before: str = "true") -> None:
    """Starts a server, which ends with the machine."""
    if program == "munged":
        own = f"--key-file={folder}/munge.key --seed-file=/run/munge/seed --log-file=/run/munge/log"
        options = f"{options} {own} --pid-file=/run/munge/pid"
    with (folder / f"{program}-{machine.name}.out").open("w") as output:
        subprocess.Popen(
            [*machine.inside(), "bash", "-c", f"{before}; exec {program} {options}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SLURM_CONF": str(folder / "slurm.conf")},
        )
