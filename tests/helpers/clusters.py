"""A Ray cluster on this machine whose nodes differ: each is a ``ray start`` of its own, as on separate machines."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import ray

from tests.helpers.paths import ROOT
from tests.helpers.sweeps import Command, Home, paretune, start

RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
SITE = Path(ray.__file__).resolve().parent.parent
SLOTS = '{"trial_driver": 4}'
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # A node that is told to end waits 30 s for actors that somebody may still need.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    # Ray would kill actors when this machine's memory is nearly full, whoever uses it.
    "RAY_memory_monitor_refresh_ms": "0",
}
# A node imports packages from its own folder, and Paretune only if its PYTHONPATH has it.
OTHER_PACKAGES = """\
import sys
sys.path[:] = [%(own)r if path == %(site)r else path for path in sys.path]
sys.meta_path[:] = [finder for finder in sys.meta_path if "Editable" not in repr(finder)]
"""


DRAIN = """\
import ray
from ray.core.generated.autoscaler_pb2 import DrainNodeReason
ray.init(log_to_driver=False)
(node,) = [n["NodeID"] for n in ray.nodes() if n["Alive"] and %(name)r in n["Resources"]]
client = ray._private.worker.global_worker.gcs_client
reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
accepted, why = client.drain_node(node, reason, "the test says so", %(ms)d)
assert accepted, why
"""


@dataclass
class Machine:
    """A node's ``ray start`` process, and the processes it started."""

    process: subprocess.Popen[bytes]
    name: str = ""

    def named(self, word: str) -> list[psutil.Process]:
        """Its processes with ``word`` in their command lines."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if any(word in part for part in child.cmdline()):
                    found.append(child)
        return found

    def kill(self) -> None:
        """As if its plug were pulled: its raylet and all its other processes end at once."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        for process in (psutil.Process(self.process.pid), *family):
            with suppress(psutil.Error):
                process.kill()
        self.process.wait()


@dataclass
class Cluster:
    """A head without CPUs, and the nodes that a test adds for a while."""

    folder: Path
    home: Home
    port: int = 0
    token: str = field(default_factory=lambda: secrets.token_hex(32))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def access(self) -> dict[str, str]:
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token, **SETTINGS}

    def paretune(self, *arguments: str | Path, **options: Any) -> Command:
        return paretune(self.home, *arguments, "--address", self.address, **self.access, **options)

    def start(self, *arguments: str | Path, **options: Any) -> Command:
        return start(self.home, *arguments, "--address", self.address, **self.access, **options)

    @contextmanager
    def head(self, slots: bool = True, dashboard: bool = False) -> Iterator[Machine]:
        self.port, client = free_port(), free_port()
        ports = ["--port", str(self.port), "--ray-client-server-port", str(client)]
        seen = ["--dashboard-port", str(free_port())] if dashboard else ["--include-dashboard=false"]
        options = [*seen, "--temp-dir", str(self.home.temporary), "--num-cpus=0"]
        given = ["--resources", SLOTS if slots else "{}"]
        with self._started("--head", *ports, *options, *given) as head:
            yield head

    @contextmanager
    def node(
        self, before: Sequence[str] = (), cpus: int = 1, gpus: int = 0, slots: bool = True, **environment: str
    ) -> Iterator[Machine]:
        """Another node; ``before``: the command that runs its ``ray start``. Its GPUs exist for Ray alone."""
        name = f"node_{secrets.token_hex(4)}"
        resources = {name: 1} | (json.loads(SLOTS) if slots else {})
        options = ["--address", self.address, f"--num-cpus={cpus}", f"--num-gpus={gpus}"]
        given = ["--resources", json.dumps(resources)]
        with self._started(*options, *given, before=before, **environment) as made:
            made.name = name
            yield made

    def drain(self, machine: Machine, seconds: float) -> None:
        """Announces that a node will be taken down in ``seconds``, as a cloud does."""
        code = DRAIN % {"name": machine.name, "ms": int((time.time() + seconds) * 1000)}
        environment = self.home.environment(**self.access, RAY_ADDRESS=self.address)
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)

    @contextmanager
    def _started(self, *options: str, before: Sequence[str] = (), **environment: str) -> Iterator[Machine]:
        log = self.folder / f"ray-{secrets.token_hex(4)}.log"
        common = ["--block", "--node-ip-address=127.0.0.1", "--dashboard-agent-listen-port=0"]
        with log.open("w") as out:
            process = subprocess.Popen(
                [*before, *RAY, "start", *options, *common, "--object-store-memory=80000000"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self.home.environment(**self.access, **environment),
                cwd=self.folder,
                start_new_session=True,
            )
        try:
            _wait_for("Ray runtime started", log, process)
            yield Machine(process)
        finally:
            _end(process)

    def packages(self, *without: str, paretune: bool = True) -> dict[str, str]:
        """The environment of a node without these packages: a folder of its own with links to all others."""
        own = self.folder / f"site-{secrets.token_hex(4)}"
        (own / "start").mkdir(parents=True)
        for entry in SITE.iterdir():
            if not any(entry.name == name or entry.name.startswith(f"{name}-") for name in without):
                (own / entry.name).symlink_to(entry)
        code = OTHER_PACKAGES % {"own": str(own), "site": str(SITE)}
        (own / "start" / "sitecustomize.py").write_text(code)
        ours = [str(ROOT)] if paretune else []
        return {"PYTHONPATH": os.pathsep.join([str(own / "start"), *ours])}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _wait_for(words: str, log: Path, process: subprocess.Popen[bytes], timeout: float = 90) -> None:
    until = time.monotonic() + timeout
    while words not in log.read_text():
        if process.poll() is not None or time.monotonic() > until:
            raise AssertionError(f"ray start ended or takes too long:\n{log.read_text()}")
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    """``ray start --block`` ends its own processes; ``ray stop`` would end those of other tests too."""
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(family, timeout=5)
    for left in alive:
        left.kill()


def can_unshare() -> bool:
    """Whether a process on this machine can have mounts of its own."""
    unshare = shutil.which("unshare")
    return (
        unshare is not None and subprocess.run([unshare, "-m", "true"], capture_output=True).returncode == 0
    )
