"""Answers of trials are read by processes with a limit of memory, a few at a time, and once."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweeps.ui.run_index import RunEntry
from sweeps.ui.snapshots import computed, computed_json
from sweeps.ui.snapshots.computed import ComputedValues, Failed
from sweeps.ui.snapshots.computed_json import ComputedJson
from sweeps.ui.snapshots.followed import Followed

MODULE = ["sweeps.ui.snapshots.predictions"]


def test_a_file_that_unpacks_to_more_than_the_memory_is_no_harm(tmp_path: Path) -> None:
    prompts = pa.array(["x" * 2**26]).dictionary_encode().take(pa.array([0] * 150))
    table = pa.table({"row": range(150), "prompt": prompts})
    pq.write_table(table, tmp_path / "predictions.parquet", compression="zstd", store_schema=False)
    assert (tmp_path / "predictions.parquet").stat().st_size < 2**20
    with pytest.raises(Failed):
        asyncio.run(ComputedJson().of_trials(MODULE, [tmp_path], 60.0))


def test_files_that_are_links_are_not_read(tmp_path: Path) -> None:
    other, trial = tmp_path / "other", tmp_path / "trial"
    trial.mkdir()
    other.mkdir()
    pq.write_table(pa.table({"row": [1], "prediction": ["secret"]}), other / "predictions.parquet")
    (trial / "predictions.parquet").symlink_to(other / "predictions.parquet")
    with pytest.raises(Failed, match="is a link"):
        asyncio.run(ComputedJson().of_trials(MODULE, [trial], 60.0))


def test_what_failed_is_tried_again_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0

    async def fails_once(argv: list[str], seconds: float) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Failed("it took more than 60 s")
        return tries

    monkeypatch.setattr(computed_json, "json_of", fails_once)

    async def ask() -> None:
        cached = ComputedJson()
        for _ in range(2):
            with pytest.raises(Failed):
                await cached.of_trials(MODULE, [tmp_path], 1.0)
        assert tries == 1
        monkeypatch.setattr(computed_json, "AGAIN_SECONDS", 0.0)
        assert [await cached.of_trials(MODULE, [tmp_path], 1.0) for _ in range(2)] == [2, 2]

    asyncio.run(ask())


def test_an_answer_that_failed_is_tried_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0

    async def fails_once(followed: Followed) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Failed("it took more than 300 s")
        return "the answer"

    async def ask() -> None:
        values, followed = ComputedValues(fails_once, lambda _: 1), Followed(RunEntry("runs/methods"))

        async def settled() -> dict[str, Any]:
            await values.current(followed)
            await asyncio.sleep(0.05)
            return await values.current(followed)

        assert (await settled())["problem"] == "it took more than 300 s"
        assert ((await settled())["value"], tries) == (None, 1)
        monkeypatch.setattr(computed, "AGAIN_SECONDS", 0.0)
        found = await settled()
        assert (found["value"], found["problem"], tries) == ("the answer", None, 2)

    asyncio.run(ask())


def test_the_same_is_computed_once_and_two_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running, most, calls = 0, 0, list[str]()

    async def compute(argv: list[str], seconds: float) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        calls.append(argv[-1])
        await asyncio.sleep(0.02)
        running -= 1
        return argv[-1]

    monkeypatch.setattr(computed_json, "json_of", compute)
    trials = [tmp_path / str(number) for number in range(5)]
    for trial in trials:
        trial.mkdir()

    async def ask() -> None:
        cached = ComputedJson()
        await asyncio.gather(*(cached.of_trials(MODULE, [trial], 1.0) for trial in trials * 3))
        assert len(calls) == len(trials)
        (trials[0] / "record.json").write_text(json.dumps({}))
        os.utime(trials[0] / "record.json", (1, 1))
        await cached.of_trials(MODULE, [trials[0]], 1.0)

    asyncio.run(ask())
    assert (len(calls), most) == (6, 2)
