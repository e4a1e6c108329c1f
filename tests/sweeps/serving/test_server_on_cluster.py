"""`paretune serve --address`: replicas on the nodes of a cluster, one of them lost, and the command killed."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI, OpenAIError

from reports.analysis.recommendation.best_trials import recommended_trials
from sweeps.runs.resolve import resolve
from tests.helpers.clusters import Cluster, Machine, free_port
from tests.helpers.faults import resources_in_use
from tests.helpers.small_runs import make_run
from tests.helpers.sweeps import Command, Home
from trainables.inference.generator import stream_answer
from trainables.inference.model_pool import ModelPool
from trainables.inference.prompts import prompt_tokens
from trainables.inference.sampling import Sampling

pytestmark = [pytest.mark.sweep, pytest.mark.slow]

KEY = "a-key-of-the-test"
HELLO = [{"role": "user", "content": "wake me at 7"}]


@dataclass
class Served:
    """A cluster of a head without CPUs and two nodes with one each, and what is served there."""

    cluster: Cluster
    run: Path
    port: int

    @contextlib.contextmanager
    def serving(self, *options: str) -> Iterator[Command]:
        """``paretune serve`` there, once it answers; killed on leaving if it still runs."""
        command = self.start(*options)
        try:
            command.until(lambda: "serving " in command.stderr)
            yield command
        finally:
            command.end()

    def start(self, *options: str) -> Command:
        given = ["serve", f"lora={self.run}:sft-lora", "--port", str(self.port), *options]
        return self.cluster.start(*given, PARETUNE_API_KEY=KEY)

    def ask(self) -> str:
        client = OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=KEY, max_retries=0, timeout=20)
        request: Any = {"messages": HELLO, "max_tokens": 8, "temperature": 0}
        response = client.chat.completions.create(model="lora", **request)
        return response.choices[0].message.content or ""

    def answers_within(self, seconds: float) -> float:
        """After how many seconds it answers repeated requests."""
        began = time.monotonic()
        while True:
            with contextlib.suppress(OpenAIError):
                self.ask()
                return time.monotonic() - began
            assert time.monotonic() - began < seconds
            time.sleep(0.5)


@pytest.fixture(scope="module")
def machines() -> list[Machine]:
    return []


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, machines: list[Machine]
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("cluster")
    run = make_run(folder, tiny_model, ("lora",))
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as temporary:
        cluster = Cluster(folder, Home(folder / "home", Path(temporary)))
        with cluster.head(), cluster.node() as one, cluster.node() as two:
            machines += [one, two]
            yield Served(cluster, run, free_port())


def replicas(machines: list[Machine]) -> list[int]:
    """How many replicas there are on each node."""
    return [len(machine.named("ray::ServeReplica")) for machine in machines]


def test_replicas_that_do_not_fit_yet_are_waited_for_and_an_interrupt_leaves_nothing_behind(
    served: Served, machines: list[Machine]
) -> None:
    command = served.start("--replicas", "3")
    command.until(lambda: "2 of 3 replicas fit" in command.stderr)
    command.until(lambda: replicas(machines) == [1, 1])
    command.signal(signal.SIGTERM)
    assert command.process.returncode == 130
    assert "Traceback" not in command.stderr
    assert resources_in_use(served.cluster)["busy"] == {}


def test_the_server_of_a_killed_command_is_shut_down_only_with_replace(served: Served) -> None:
    with served.serving() as first:
        again = served.start()
        assert again.wait() == 2
        assert "give --replace" in again.stderr
        served.ask()
        first.process.kill()
        first.process.wait()
    served.ask()  # Ray Serve goes on without it
    with served.serving("--replace") as second:
        served.ask()
        second.signal(signal.SIGTERM)
        assert second.process.returncode == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{served.port}/health")
    assert resources_in_use(served.cluster)["busy"] == {}


def test_replicas_on_two_nodes_answer_as_the_model_does_and_survive_the_loss_of_one(
    served: Served, machines: list[Machine]
) -> None:
    loaded = ModelPool().load(resolve(f"{served.run}:sft-lora", recommended_trials))
    expected = "".join(stream_answer(loaded, prompt_tokens(loaded, HELLO), Sampling(max_new_tokens=8)))
    with served.serving("--replicas", "2") as command:
        assert replicas(machines) == [1, 1]
        assert {served.ask() for _ in range(8)} == {expected}
        machines[1].kill()
        seconds = served.answers_within(60)
        assert {served.ask() for _ in range(8)} == {expected}
        print(f"a node lost: answers again after {seconds:.1f} s")
        command.signal(signal.SIGTERM)
        assert command.process.returncode == 0
    until = time.monotonic() + 60  # the lost node is counted until its health was asked for often enough
    while (left := resources_in_use(served.cluster))["busy"]:
        assert time.monotonic() < until, left
        time.sleep(2)
