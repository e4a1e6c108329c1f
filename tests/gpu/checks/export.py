"""Merged weights answer as the adapter on its base: the export verifies that, and the rows say how close they are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.gpu.bench import Bench
from tests.gpu.check import Case, Finding
from tests.gpu.trials import train, trial_config


def cases(bench: Bench) -> Iterator[Case]:
    for method in ("lora", "qlora-4bit"):
        config = trial_config(bench, method)
        yield Case(method, partial(_exports, bench, method), tuple(name for _, name in config.needs()))


def _exports(bench: Bench, method: str) -> Finding:
    from trainables.export.export import export
    from trainables.export.exported import ExportOptions
    from trainables.inference.result import trial_result
    from trainables.training.trainer_setup import clean_process

    held_out = {"eval_fraction": 0.1, "eval_rows": 4}
    config = trial_config(bench, method, data=held_out, steps=bench.pick(8, 3))
    trained = train(bench, config, keep=True)
    clean_process()  # products of 32 bits in full precision again, as in a process that only exports
    out = trained.run / "exported"
    # It raises ExportFailed where the outputs aren't those of the adapter.
    exported = export(
        trial_result(trained.folder), out, ExportOptions(), lambda _: None, lambda *_: (0.0, 1.0)
    )
    check = exported.check
    assert check is not None
    values = {
        "largest_gap": check.files.largest,
        "mean_gap": check.files.mean,
        "mean_gap_of_rounding": check.rounding.mean,
        "same_most_likely_token_percent": None if check.files.same is None else 100 * check.files.same,
        "exported_bytes": _size(out),
    }
    shutil.rmtree(out)
    trained.remove()
    return Finding(values, check.failure)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
