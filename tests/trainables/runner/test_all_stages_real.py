"""Every stage with every method on the real SmolLM2-135M, as `all-stages` has them: half an hour, for `make slow`.

Prints a table: whether a cell trains and resumes exactly, its peak memory in training, a step's seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.planning.plan import Plan, make
from sweeps.spec.spec import read
from tests.helpers.trials import ScriptedControl, curve, run
from trainables.memory.measuring_process import MeasuringProcess

pytestmark = pytest.mark.slow

METHODS = ("full", "freeze", "lora", "qlora-4bit")
STAGES = ("pretrain", "sft", "classification", "reward", "ppo", "grpo", "dpo", "kto", "orpo", "simpo")
STEPS = 3
GIB = 2**30


@pytest.fixture(scope="module")
def plan() -> Plan:
    changes = [f"train.steps={STEPS}", "train.batch_size=4", "data.eval_rows=4"]
    return make(read("all-stages", changes), fetch=True)


@pytest.fixture(scope="module")
def measuring() -> Iterator[MeasuringProcess]:
    process = MeasuringProcess()
    yield process
    process.close()


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    rows: list[str] = []
    yield rows
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(
            "", "| cell | resumes exactly | peak, training | a step |", "|---|---|---:|---:|", *rows, sep="\n"
        )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_cell_trains_resumes_exactly_and_says_what_memory_it_takes(
    stage: str, method: str, plan: Plan, measuring: MeasuringProcess, table: list[str], tmp_path: Path
) -> None:
    config = plan.cell(f"{stage}-{method}").suggested()
    done = run(config, tmp_path / "undisturbed", memory_gauge=measuring)
    assert (done.status, done.steps) == ("done", STEPS)
    assert done.quality == done.metrics[str(done.quality_name)]
    run(config, tmp_path / "resumed", control=ScriptedControl(interrupt_at=1))
    again = run(config, tmp_path / "resumed")
    exact = curve(config, tmp_path / "resumed") == curve(config, tmp_path / "undisturbed")
    exact = exact and (again.metrics, again.objective) == (done.metrics, done.objective)
    seconds = (done.train_seconds or 0.0) / STEPS
    peak = (done.peak_train_bytes or 0) / GIB
    table.append(f"| {config.cell} | {'yes' if exact else 'no'} | {peak:.2f} GiB | {seconds:.1f} s |")
    assert exact
    assert peak > 0
