"""Machines simulated on this one: each has its own processes, mounts, network address, name and home, and SSH.

They are namespaces of this kernel, joined by a bridge in the first of them. Nothing of them is visible outside, and
when a machine's first process ends, the system ends its other processes and removes its network.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.helpers.paths import ROOT

TOOLS = ("unshare", "nsenter", "ip", "sshd", "ssh", "ssh-keygen", "rsync")
# Sets up what differs from the real machine; the loop reaps processes whose parents have ended.
FIRST_PROCESS = """\
set -e
hostname %(name)s
mkdir -p /tmp/ray
mount -t tmpfs none /run && mkdir /run/sshd
mount --bind %(own)s/ray /tmp/ray
for file in passwd hosts resolv.conf profile; do mount --bind %(own)s/etc/$file /etc/$file; done
touch %(own)s/ready
while true; do sleep 1000 & wait $! || true; done
"""
SSHD = """\
HostKey %(own)s/host_key
ListenAddress %(address)s
AuthorizedKeysFile %(home)s/.ssh/authorized_keys
StrictModes no
UsePAM no
PidFile none
"""
# Paretune is installed on each machine, and `ray` is in the PATH of an SSH session.
PROFILE = """\
export PATH=%(bin)s:/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH=%(repository)s
export OMP_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0 PYTHONDONTWRITEBYTECODE=1
"""


def missing() -> str | None:
    """Why no machines can be simulated on this one; ``None`` if they can."""
    if os.geteuid() != 0:
        return "simulated machines (network and process namespaces) require root"
    absent = [tool for tool in TOOLS if shutil.which(tool, path=_path()) is None]
    if absent:
        return f"needs {', '.join(absent)} (apt-get install openssh-server rsync iproute2 util-linux)"
    tried = subprocess.run(["unshare", "-n", "-m", "-p", "-f", "-u", "true"], capture_output=True, text=True)
    return f"no namespaces here: {tried.stderr.strip()}" if tried.returncode else None


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Machine:
    """``folder`` holds the machine's own files: its home, those of its Ray, its part of ``/etc``."""

    name: str
    address: str
    folder: Path
    pid: int  # of its first process, outside of its namespaces

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def run(self, command: str, timeout: float = 300, check: bool = True) -> str:
        """The output of a command in a login shell on the machine."""
        done = subprocess.run(
            [*self.inside(), "bash", "--login", "-c", command],
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env={"HOME": str(self.home), "TERM": "dumb", "USER": "root"},
            cwd="/",
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0 or not check, f"{self.name}: {command}\n{output}"
        return output

    def serve_ssh(self) -> None:
        """Starts an SSH server, which ends with the machine."""
        subprocess.Popen(
            [*self.inside(), "/usr/sbin/sshd", "-D", "-e", "-f", str(self.folder / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / "sshd.log").open("w"),
            stderr=subprocess.STDOUT,
        )
        _until(lambda: "listening" in (self.folder / "sshd.log").read_text(), f"sshd of {self.name}")

    def processes(self, *words: str) -> list[str]:
        """The command lines on the machine that contain one of the words."""
        lines = self.run("ps -ww -eo args=").splitlines()
        return [line for line in lines if any(word in line for word in words)]

    def inside(self) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "-m", "-n", "-p", "-u", "--"]


@contextmanager
def machines(folder: Path, *names: str) -> Iterator[list[Machine]]:
    """Machines that reach one another by address; the first one's key opens SSH sessions on all others."""
    net = ipaddress.ip_network(f"10.77.{secrets.randbelow(250)}.0/24")
    addresses = {name: str(address) for name, address in zip(names, net.hosts(), strict=False)}
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    with ExitStack() as ends:
        made = [ends.enter_context(_machine(folder / name, name, addresses)) for name in names]
        _wire(made)
        _give_key(folder / "key", made)
        for machine in made[1:]:
            machine.serve_ssh()
        yield made


@contextmanager
def _machine(folder: Path, name: str, addresses: dict[str, str]) -> Iterator[Machine]:
    for part in ("home/.ssh", "ray", "etc"):
        (folder / part).mkdir(parents=True)
    words = {"own": folder, "name": name, "home": folder / "home", "address": addresses[name]}
    words |= {"bin": Path(sys.executable).parent, "repository": ROOT}
    hosts = "".join(f"{address} {each}\n" for each, address in addresses.items())
    (folder / "etc" / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
    (folder / "etc" / "passwd").write_text(f"root:*:0:0:root:{folder / 'home'}:/bin/bash\n{_daemon()}")
    (folder / "etc" / "resolv.conf").write_text("")
    (folder / "etc" / "profile").write_text("")
    (folder / "home" / ".bash_profile").write_text(PROFILE % words)
    (folder / "sshd_config").write_text(SSHD % words)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "host_key"], check=True)
    outer = subprocess.Popen(
        ["unshare", "-n", "-m", "-u", "-p", "-f", "--mount-proc", "bash", "-c", FIRST_PROCESS % words],
        stdin=subprocess.DEVNULL,
    )
    try:
        _until((folder / "ready").exists, f"{name}'s first process")
        (first,) = psutil.Process(outer.pid).children()
        try:
            yield Machine(name, addresses[name], folder, first.pid)
        finally:
            os.kill(first.pid, signal.SIGKILL)
    finally:
        outer.kill()
        outer.wait()


def _daemon() -> str:
    """The account that sshd changes to in order to drop its privileges."""
    lines = Path("/etc/passwd").read_text().splitlines(keepends=True)
    return "".join(line for line in lines if line.startswith("sshd:"))


def _wire(made: list[Machine]) -> None:
    """Joins the machines by a bridge in the first one, their default route: a machine detects its address by that."""
    first, *others = made
    _ip(first, f"link add br0 type bridge; ip addr add {first.address}/24 dev br0; ip link set br0 up")
    _ip(first, f"link set lo up; ip route add default dev br0 src {first.address}")
    for machine in others:
        port = f"to-{machine.name}"
        _ip(first, f"link add {port} type veth peer name eth0 netns {machine.pid}")
        _ip(first, f"link set {port} master br0 up")
        _ip(machine, f"addr add {machine.address}/24 dev eth0; ip link set eth0 up; ip link set lo up")
        _ip(machine, f"route add default via {first.address}")


def _ip(machine: Machine, words: str) -> None:
    """Runs ``ip`` in the machine's network but outside its process namespace, where process ids are the outer ones."""
    subprocess.run(
        ["nsenter", "-t", str(machine.pid), "-n", "--", "sh", "-ec", f"ip {words}"],
        check=True,
        env={"PATH": _path()},
    )


def _give_key(key: Path, made: list[Machine]) -> None:
    shutil.copy(key, made[0].home / ".ssh" / "id_ed25519")
    for machine in made:
        shutil.copy(key.with_suffix(".pub"), machine.home / ".ssh" / "authorized_keys")


def _until(condition, what: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} does not start"
        time.sleep(0.05)
