"""What is predicted not to fit in memory is not started, and is a finding all the same; what runs out says where."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from sweeps.cluster.packing import Machine
from sweeps.planning.plan import Plan, make
from sweeps.planning.resources.sizes import PROCESS_BYTES, Sizes
from sweeps.search import trial_sizes
from sweeps.search.searcher import CellSearch
from sweeps.spec.spec import read
from tests.helpers.clusters import Cluster
from tests.helpers.searches import search_of
from tests.helpers.sweeps import SPEC, Home, paretune, records, start, write_spec
from tests.helpers.trials import curve, make_config, write_rows
from tests.sweeps.search.test_searcher import Tune, config_of, end
from trainables.memory.measuring_process import MeasuringFailed
from trainables.results import Record, read_record
from trainables.runner import lifecycle
from trainables.runner.run import TrialContext, run_trial
from trainables.trial.config import TrialConfig

MIB = 2**20
SIZES = SPEC.replace("batch_size: 2", "batch_size: {choice: [2, 512]}")  # the larger takes some 100 MiB more


@pytest.fixture
def planned(tmp_path: Path, tiny_model: Path) -> Plan:
    plan = make(read(str(write_spec(tmp_path, tiny_model, SIZES))))
    assert not plan.errors
    return plan


def search(plan: Plan, run: Path, limit: int | None) -> CellSearch:
    run.mkdir(exist_ok=True)
    return search_of(plan, run, within(limit) if limit is not None else None)


def within(limit: int) -> Sizes:
    """The sizes of trials on a machine that leaves a worker so many bytes."""
    return Sizes((Machine("one", cpus=2, memory=limit + PROCESS_BYTES),))


def found(run: Path) -> list[Record]:
    return [record for record in records(run).values() if record.role == "search"]


def batch_size(record: Record) -> int:
    return int(record.config["train"]["batch_size"])


# What is not started


def test_a_cell_predicts_its_smallest_and_its_largest_peak(planned: Plan) -> None:
    for cell in planned.cells:
        reported = cell.predicted
        assert reported is not None
        assert reported.for_config(reported.largest.config).peak_bytes == reported.largest.peak_bytes
        assert reported.for_config(reported.smallest.config).peak_bytes == reported.smallest.peak_bytes
        assert reported.largest.peak_bytes - reported.smallest.peak_bytes > 50 * MIB


def test_what_is_predicted_not_to_fit_is_a_row_with_its_reason_and_is_not_started(
    planned: Plan, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    proposed = Tune(search(planned, run, 60 * MIB)).all()
    started = {config["trial_id"] for config in proposed}
    assert all(config_of(run, trial_id).train.batch_size == 2 for trial_id in started)
    assert (
        len(found(run)) + len(started) == planned.trials + 1
    )  # every trial has a row or runs; and the base model
    assert found(run)
    for record in found(run):
        assert batch_size(record) == 512
        assert (record.status, record.out_of_memory_in) == ("out_of_memory", "predicted")
        assert record.room_bytes == 60 * MIB < (record.predicted_peak_bytes or 0)
        assert record.started_at is None
        assert "not started: training is predicted to need 0." in (record.error or "")
        assert "GiB of a machine" in (record.error or "")


def test_without_a_limit_everything_is_started(planned: Plan, tmp_path: Path) -> None:
    assert len(Tune(search(planned, tmp_path / "run", None)).all()) == planned.trials + 1
    assert not found(tmp_path / "run")


def test_the_study_stores_that_a_config_is_infeasible_and_by_how_much(planned: Plan, tmp_path: Path) -> None:
    run = tmp_path / "run"
    looked = search(planned, run, 60 * MIB)
    Tune(looked).all()
    refused = {record.trial_id: record for record in found(run)}
    for name in ("sft-full", "sft-lora"):
        for trial_id, trial in looked.work.studies[name].proposed().items():
            assert bool(trial.constraints) is (trial_id in refused)
            if trial.constraints:
                peak = refused[trial_id].predicted_peak_bytes or 0
                assert trial.constraints == {"memory": pytest.approx(peak / (60 * MIB) - 1)}


def test_a_sweep_in_which_nothing_fits_scores_the_base_model_and_ends(planned: Plan, tmp_path: Path) -> None:
    run = tmp_path / "run"
    looked = search(planned, run, 1)
    tune = Tune(looked)
    assert [config["cell"] for config in tune.all()] == ["sft-base"]
    end(run, next(iter(tune.ours)), "done", 0.5)
    assert len(found(run)) == planned.trials
    assert not search_of(planned, run).work.any_remaining()


def test_an_amount_that_is_none_is_an_error_of_the_spec(tmp_path: Path, tiny_model: Path) -> None:
    text = SPEC.replace("resources: {", "resources: {memory: plenty, ")
    problems = make(read(str(write_spec(tmp_path, tiny_model, text)))).errors
    assert len(problems) == 1
    assert "resources.memory: 'plenty' is not an amount of memory" in str(problems[0])


def test_the_plan_warns_of_cells_that_do_not_fit(planned: Plan) -> None:
    some = trial_sizes.warnings(planned, within(60 * MIB))
    assert [line.partition(":")[0] for line in some] == ["sft-full", "sft-lora"]
    assert all("not every trial fits" in line and "--force" in line for line in some)
    assert all("no trial fits" in line for line in trial_sizes.warnings(planned, within(1)))
    assert not trial_sizes.warnings(planned, within(2**40))
    assert not trial_sizes.warnings(planned, Sizes((Machine("one", cpus=2),)))  # nobody knows how much it has


@pytest.mark.slow
@pytest.mark.sweep
def test_a_sweep_runs_what_fits_and_reports_what_does_not(tmp_path: Path, tiny_model: Path) -> None:
    text = SIZES.replace("resources: {", "resources: {memory: 60MiB, ").replace("steps: 100", "steps: 4")
    spec = write_spec(tmp_path / "spec", tiny_model, text)
    with tempfile.TemporaryDirectory(prefix="pt-") as temporary:
        home = Home(tmp_path / "home", Path(temporary))
        command = paretune(home, "run", spec, "--output", tmp_path / "runs")
    assert command.process.returncode == 0, command.stderr
    assert "sft-full: not every trial fits" in command.stderr
    by_status: dict[str, set[int]] = {}
    for record in found(tmp_path / "runs" / "tiny"):
        by_status.setdefault(record.status, set()).add(batch_size(record))
    assert by_status == {"done": {2}, "out_of_memory": {512}}
    summary = (tmp_path / "runs" / "tiny" / "report" / "index.html").read_text()
    assert "not started: training is predicted to need" in summary


@pytest.mark.slow
@pytest.mark.sweep
def test_on_a_cluster_a_worker_has_the_memory_of_the_largest_node(tmp_path: Path, tiny_model: Path) -> None:
    text = SIZES.replace("512]", "1000000]").replace("steps: 100", "steps: 4")
    spec = write_spec(tmp_path / "spec", tiny_model, text)
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as temporary:
        cluster = Cluster(tmp_path, Home(tmp_path / "home", Path(temporary)))
        with cluster.head(), cluster.node():
            command = cluster.paretune("run", spec, "--output", tmp_path / "runs", timeout=300)
    assert command.process.returncode == 0, command.stderr
    refused = [record for record in found(tmp_path / "runs" / "tiny") if record.status == "out_of_memory"]
    assert refused
    for record in refused:
        assert (batch_size(record), record.out_of_memory_in) == (1000000, "predicted")
        assert "GiB of a machine" in (record.error or "")
        assert (record.room_bytes or 0) < psutil.virtual_memory().total
    done = [record for record in found(tmp_path / "runs" / "tiny") if record.status == "done"]
    assert {batch_size(record) for record in done} == {2}


# Where memory runs out


def hungry(*_: Any, **__: Any) -> None:
    """More than any machine has."""
    torch.empty(2**52, dtype=torch.uint8)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl")


class Greedy:
    """Has a policy's model ask for too much: in its forward pass, or when gradients come back to its first layer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ask: Any) -> None:
        attach = lifecycle.attach

        def attached(*arguments: Any, **options: Any) -> Any:
            policy = attach(*arguments, **options)
            ask(policy.causal.base_model.layers[0])
            return policy

        monkeypatch.setattr(lifecycle, "attach", attached)


def in_forward(layer: torch.nn.Module) -> None:
    layer.register_forward_pre_hook(lambda module, inputs: hungry() if torch.is_grad_enabled() else None)


def in_backward(layer: torch.nn.Module) -> None:
    def watch(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        (output[0] if isinstance(output, tuple) else output).register_hook(hungry)

    layer.register_forward_hook(lambda *given: watch(*given) if torch.is_grad_enabled() else None)


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("where", ["load", "forward", "backward", "step", "eval"])
def test_a_trial_that_runs_out_of_memory_says_where(
    tiny_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, method: str
) -> None:
    asks = {"forward": in_forward, "backward": in_backward}
    if where in asks:
        Greedy(monkeypatch, asks[where])
    elif where == "load":
        monkeypatch.setattr("trainables.trial.loading.load_base", hungry)
    elif where == "step":
        monkeypatch.setattr("torch.optim.AdamW._init_group", hungry, raising=False)  # where its state is made
    else:
        monkeypatch.setattr("trainables.stages.sft.SFT.score", hungry)
    config = make_config(tiny_model, rows, method)
    record = run_trial(config, TrialContext(tmp_path))
    assert record.status == "out_of_memory", record.error
    assert record.out_of_memory_in == where
    assert "can't allocate memory" in (record.error or "")


def test_a_measurement_that_runs_out_of_memory_says_where(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    class Hungry:
        def measure(self, config: TrialConfig) -> dict[str, Any]:
            raise MeasuringFailed("too much", out_of_memory=True, phase="backward")

    record = run_trial(make_config(tiny_model, rows), TrialContext(tmp_path), memory_gauge=Hungry())
    assert (record.status, record.out_of_memory_in) == ("out_of_memory", "backward")


def test_a_trial_that_fits_names_no_place(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    record = run_trial(make_config(tiny_model, rows), TrialContext(tmp_path))
    assert (record.out_of_memory_in, record.retried_batch_size) == (None, None)


@pytest.fixture
def four_gib() -> Iterator[Path]:
    """A memory control group, with room for a small sweep and not for a large batch."""
    group, limit = Path("/sys/fs/cgroup/memory/paretune-test"), "memory.limit_in_bytes"
    if not group.parent.is_dir():
        group, limit = Path("/sys/fs/cgroup/paretune-test"), "memory.max"
    try:
        group.mkdir()
        (group / limit).write_text(str(4 * 2**30))
    except OSError as error:
        pytest.skip(f"no memory control group can be made here: {error}")
    yield group / "cgroup.procs"
    for _ in range(50):  # it is busy until its last process has ended
        with contextlib.suppress(OSError):
            group.rmdir()
            break
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.sweep
def test_a_trial_whose_worker_the_system_kills_when_memory_runs_out_did_not_fit(
    tmp_path: Path, tiny_model: Path, four_gib: Path
) -> None:
    text = (
        SIZES.replace("512]", "16384]")
        .replace("steps: 100", "steps: 4")
        .replace("concurrent: 2", "concurrent: 1")
    )
    rows = [{"prompt": f"say {n}", "completion": "word " * 40} for n in range(60)]
    spec = write_spec(tmp_path / "spec", tiny_model, text, rows)
    with tempfile.TemporaryDirectory(prefix="pt-") as temporary:
        home = Home(tmp_path / "home", Path(temporary))
        mine = four_gib.parent.parent / "cgroup.procs"
        before = next(
            (line for line in Path("/proc/self/cgroup").read_text().splitlines() if "memory" in line), ""
        )
        four_gib.write_text(str(os.getpid()))
        try:
            command = start(home, "run", spec, "--output", tmp_path / "runs", "--force")
        finally:
            back = mine.parent / before.rpartition(":")[2].lstrip("/") / "cgroup.procs"
            back.write_text(str(os.getpid()))
        code = command.wait(500)
    assert code == 0, command.stderr
    ended = {(batch_size(record), record.status) for record in found(tmp_path / "runs" / "tiny")}
    assert ended == {(2, "done"), (16384, "out_of_memory")}


# Half the rows at a time


def too_many(tokens: int) -> Any:
    """Asks for too much where more tokens than these go through at a time in training."""

    def ask(layer: torch.nn.Module) -> None:
        def look(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            if torch.is_grad_enabled() and inputs[0].shape[:2].numel() > tokens:
                hungry()

        layer.register_forward_pre_hook(look)

    return ask


def test_if_the_spec_allows_it_a_trial_continues_with_half_the_rows_at_a_time(
    tiny_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = make_config(tiny_model, rows, retry_out_of_memory=True, steps=3, cutoff=32, precision="fp32")
    by_hand = make_config(
        tiny_model, rows, steps=3, cutoff=32, precision="fp32", batch_size=2, gradient_accumulation=2
    )
    wanted = run_trial(by_hand, TrialContext(tmp_path / "by-hand"))
    Greedy(monkeypatch, too_many(64))  # four rows of 32 tokens are more, two aren't
    record = run_trial(asked, TrialContext(tmp_path / "run"))
    assert record.status == "done", record.error
    assert (record.out_of_memory_in, record.retried_batch_size) == ("forward", 2)
    assert record.trial_id == asked.trial_id()
    assert record == read_record(tmp_path / "run" / "trials" / asked.trial_id())
    assert (record.quality, record.tokens, record.steps) == (wanted.quality, wanted.tokens, wanted.steps)
    assert curve(asked, tmp_path / "run") == curve(by_hand, tmp_path / "by-hand")


def test_it_is_tried_again_once_and_no_more(
    tiny_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Greedy(monkeypatch, too_many(1))
    config = make_config(tiny_model, rows, retry_out_of_memory=True, cutoff=32)
    record = run_trial(config, TrialContext(tmp_path))
    assert (record.status, record.retried_batch_size) == ("out_of_memory", 2)


@pytest.mark.parametrize(
    "leaves",
    [{}, {"retry_out_of_memory": True, "batch_size": 3}, {"retry_out_of_memory": True, "batch_size": 1}],
    ids=["not allowed", "an odd number of rows", "one row"],
)
def test_elsewhere_it_is_not(
    tiny_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaves: dict[str, Any]
) -> None:
    Greedy(monkeypatch, too_many(1))
    record = run_trial(make_config(tiny_model, rows, cutoff=32, **leaves), TrialContext(tmp_path))
    assert (record.status, record.retried_batch_size) == ("out_of_memory", None)


@pytest.mark.parametrize(
    ("stage", "rows_at_a_time", "expected"),
    [
        ({"kind": "sft"}, 8, (4, 2)),
        ({"kind": "kto"}, 4, (2, 2)),
        ({"kind": "kto"}, 2, None),  # it compares each answer with another's prompt
        ({"kind": "ppo", "reward": "commands", "mini_batches": 8}, 8, None),
    ],
)
def test_a_batch_has_a_half_where_the_stage_can_do_with_it(
    stage: dict[str, Any], rows_at_a_time: int, expected: tuple[int, int] | None
) -> None:
    config = make_config(Path("/m"), "rows.jsonl", batch_size=rows_at_a_time, stage=stage)
    halved = config.halved()
    found = halved and (halved.train.batch_size, halved.train.gradient_accumulation)
    assert found == expected
