"""Speed and memory of converting and tokenizing rows: `python -m tests.benchmarks.data [ROWS]` (default: a million).

Writes Alpaca rows of about a hundred tokens to a .jsonl file, and converts and tokenizes them as a sweep does, in a
fresh cache. Memory is the USS of all processes together, sampled ten times a second: memory-mapped files, which the
system may drop at any time, don't count.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

WORDS = ["time", "year", "people", "day", "woman", "life", "world", "school", "state", "family", "student"]
WORDS += [
    "country",
    "problem",
    "hand",
    "place",
    "week",
    "company",
    "system",
    "question",
    "government",
    "night",
]
WORDS += [
    "water",
    "mother",
    "area",
    "money",
    "story",
    "month",
    "right",
    "study",
    "book",
    "business",
    "friend",
]


def main(count: int) -> None:
    from trainables.config.data import DataConfig
    from trainables.config.model import ModelConfig
    from trainables.data.loading import load
    from trainables.models import locate
    from trainables.stages import SFT
    from trainables.trial.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(locate.model_folder(ModelConfig(name="smollm2-135m"), fetch=True))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PARETUNE_HOME"] = folder
        path = Path(folder) / "rows.jsonl"
        write(path, count)
        before = unique_set_bytes()
        print(f"{count} rows, {path.stat().st_size / 2**20:.0f} MiB of JSON, {os.cpu_count()} cores")
        with Peak() as peak:
            started = time.monotonic()
            data = load(DataConfig(train=str(path), eval_count=64))
            print_result("converted", count, time.monotonic() - started, peak.bytes - before)
        with Peak() as peak:
            started = time.monotonic()
            tokens = SFT().tokens(tokenizer, data.train, 1024)
            print_result("tokenized", count, time.monotonic() - started, peak.bytes - before)
        print(f"{tokens.lengths.sum()} tokens, {tokens.lengths.mean():.0f} a row")
        started = time.monotonic()
        load(DataConfig(train=str(path), eval_count=64))
        SFT().tokens(tokenizer, data.train, 1024)
        print(f"loaded from the cache: {time.monotonic() - started:.1f} s")


def write(path: Path, count: int) -> None:
    generator = random.Random(0)

    def text(least: int, most: int) -> str:
        return " ".join(generator.choices(WORDS, k=generator.randint(least, most)))

    with path.open("w") as file:
        for number in range(count):
            row = {"instruction": f"{number}: {text(5, 25)}", "input": "", "output": text(10, 90)}
            file.write(json.dumps(row) + "\n")


def print_result(what: str, count: int, seconds: float, peak: int) -> None:
    print(f"{what}: {seconds:.1f} s, {count / seconds:.0f} rows/s, {peak / 2**20:.0f} MiB more at the peak")


class Peak:
    """Measures the highest USS of this process and its children within the block, in bytes."""

    def __enter__(self) -> Peak:
        self.bytes, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self.bytes = max(self.bytes, unique_set_bytes())

    def __exit__(self, *error: Any) -> None:
        self._ended.set()
        self._thread.join()


def unique_set_bytes() -> int:
    """The USS of this process and its children, in bytes."""
    import psutil

    me = psutil.Process()
    total = 0
    for process in (me, *me.children(recursive=True)):
        try:
            total += process.memory_full_info().uss
        except psutil.Error:
            continue  # it has just ended
    return total


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
