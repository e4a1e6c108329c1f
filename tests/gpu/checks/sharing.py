"""Two processes share the GPU by halves, as two slots do: one overruns its half, and the other's numbers stay.

In a dry run both trials run in this process, one after the other, and the control of one raises the error.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.gpu.bench import Bench
from tests.gpu.check import Case, Finding, TrialFailed
from tests.gpu.trials import Trained, largest_gap, losses, train, trial_config
from tests.helpers.paths import ROOT
from trainables.results import read_record
from trainables.trial.config import TrialConfig

SHARE = 0.5
LOSS_LIMIT, PEAK_LIMIT = 1e-3, 0.02  # relative, for the neighbour beside the same trial alone
# Later losses drift apart in any two runs: attention's backward pass adds in an order that varies.
COMPARED_STEPS = 5
START_SECONDS, TRIAL_SECONDS = 60, 60


def cases(bench: Bench) -> Iterator[Case]:
    yield Case("one of two overruns its half", lambda: _shared(bench))


def _shared(bench: Bench) -> Finding:
    neighbour, overrunning = _configs(bench)
    alone = train(bench, neighbour, measured=True)
    beside, failed = _together(bench, neighbour, overrunning)
    gap = largest_gap(alone.losses[:COMPARED_STEPS], beside.losses[:COMPARED_STEPS])
    values = {
        "status": failed.record.status,
        "in": failed.record.out_of_memory_in,
        "loss_gap_of_the_neighbour": gap,
        "peak_alone_bytes": alone.record.peak_train_bytes,
        "peak_beside_bytes": beside.record.peak_train_bytes,
        "both_ran": overlap(beside, failed),
    }
    return Finding(values, _problem(bench, gap, alone, beside, failed))


def _problem(bench: Bench, gap: float, alone: Trained, beside: Trained, failed: Trained) -> str | None:
    if failed.record.status != "out_of_memory":
        return f"the trial that needs more than its half is {failed.record.status}: {failed.record.error}"
    if beside.record.status != "done" or not gap <= LOSS_LIMIT:
        return f"its neighbour is {beside.record.status}, and its losses moved by {gap:.2g}"
    peaks = alone.record.peak_train_bytes, beside.record.peak_train_bytes
    if bench.device == "cuda" and peaks[0] and peaks[1] and abs(peaks[1] / peaks[0] - 1) > PEAK_LIMIT:
        return f"its neighbour's peak moved from {peaks[0]} to {peaks[1]} bytes"
    return None


def _configs(bench: Bench) -> tuple[TrialConfig, TrialConfig]:
    """A trial that fits in half the GPU, and one that needs several GPUs."""
    tokens = bench.pick(1024, 48)
    neighbour = trial_config(bench, "lora", tokens=tokens, steps=bench.pick(150, 3), batch_size=4)
    rows = 8 * _gpu_gibibytes() if bench.device == "cuda" else 4
    return neighbour, trial_config(bench, "lora", tokens=tokens, steps=3, batch_size=rows, seed=1)


def _gpu_gibibytes() -> int:
    import torch

    return int(torch.cuda.mem_get_info()[1] // 2**30)


def _together(bench: Bench, neighbour: TrialConfig, overrunning: TrialConfig) -> tuple[Trained, Trained]:
    paths = [
        write_job(bench.folder / f"shared-{number}", config, overruns=number == 1)
        for number, config in enumerate((neighbour, overrunning))
    ]
    if bench.device == "cuda":
        _run_at_once(paths)
    else:
        for path in paths:
            main(path)
    return _result(paths[0], neighbour), _result(paths[1], overrunning)


def write_job(folder: Path, config: TrialConfig, overruns: bool) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    job = {"config": config.model_dump(mode="json"), "run": str(folder), "overruns": overruns}
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    return folder / "job.json"


def _run_at_once(paths: list[Path]) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.gpu.checks.sharing", str(path)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(path.parent / "log").open("w"),
        )
        for path in paths
    ]
    try:
        for process in processes:
            process.wait(START_SECONDS + TRIAL_SECONDS)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _result(path: Path, config: TrialConfig) -> Trained:
    folder = path.parent / "trials" / config.trial_id()
    record = read_record(folder)
    if record is None:
        log = path.parent / "log"
        raise TrialFailed(
            "a process left no record", log.read_text(errors="replace") if log.exists() else None
        )
    return Trained(record, losses(folder), folder)


def overlap(one: Trained, other: Trained) -> bool:
    """Whether two trials ran at the same time for a while. Times in ISO 8601 of one zone sort as text."""
    spans = [(str(each.record.started_at), str(each.record.ended_at)) for each in (one, other)]
    return max(start for start, _ in spans) < min(end for _, end in spans)


def main(path: Path) -> None:
    """Runs the trial of a job within its share of the GPU."""
    import torch

    from tests.gpu.checks.out_of_memory import FullMemory
    from tests.gpu.trials import memory_gauge
    from trainables.memory.gpu_share import limit_allocator
    from trainables.runner.run import TrialContext, run_trial

    job: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    control = None
    if torch.cuda.is_available():
        limit_allocator(SHARE)
    elif job["overruns"]:
        control = FullMemory()
    gauge = memory_gauge("cuda" if torch.cuda.is_available() else "cpu")
    config = TrialConfig.model_validate(job["config"])
    run_trial(config, TrialContext(Path(job["run"])), control, memory_gauge=gauge)


if __name__ == "__main__":
    from trainables.system import allocator, quiet

    quiet.silence()
    allocator.set_default()
    main(Path(sys.argv[1]))
