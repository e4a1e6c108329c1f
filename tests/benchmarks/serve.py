"""Requests per second, tokens per second and latency of `paretune serve` with 1, 8 and 32 concurrent clients.

    python -m tests.benchmarks.serve [RESULT] [TOKENS]

Each client sends one request after the other, for a sampled and streamed answer of up to ``TOKENS`` tokens. The time to
the first token is what people wait for.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

CLIENTS = (1, 8, 32)
SECONDS = 40.0
QUESTIONS = ("What is the capital of France?", "Write a short story about rain.", "How do I boil an egg?")


@dataclass(frozen=True)
class Latency:
    """One request: seconds to the ``first`` text and to the end of the answer, and the answer's number of tokens."""

    first: float
    total: float
    tokens: int


@contextmanager
def server(result: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "sweeps.cli", "serve", f"model={result}", "--port", str(port)]
    process = subprocess.Popen([*command, "--cpus", str(os.cpu_count())], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "serving " not in (line := process.stderr.readline()):
        assert line, "the server didn't start"
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGTERM)
    process.wait(60)


def ask(client: httpx.Client, base: str, question: str, tokens: int, seed: int) -> Latency:
    body = {
        "model": "model",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": tokens,
        "temperature": 1,
        "seed": seed,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    start, first, count = time.perf_counter(), 0.0, 0
    with client.stream("POST", f"{base}/v1/chat/completions", json=body, timeout=600) as answer:
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            if event["choices"] and event["choices"][0]["delta"].get("content") and not first:
                first = time.perf_counter() - start
            if event.get("usage"):
                count = event["usage"]["completion_tokens"]
    return Latency(first, time.perf_counter() - start, count)


def load(base: str, clients: int, tokens: int) -> tuple[list[Latency], float]:
    """The latencies of the requests of ``clients`` concurrent clients within ``SECONDS``, and how long it took."""
    latencies: list[Latency] = []
    start = time.perf_counter()

    def send_requests(number: int) -> None:
        with httpx.Client() as client:
            request = 0
            while request == 0 or time.perf_counter() - start < SECONDS:
                question = QUESTIONS[(number + request) % len(QUESTIONS)]
                latencies.append(ask(client, base, question, tokens, 1000 * number + request))
                request += 1

    threads = [threading.Thread(target=send_requests, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return latencies, time.perf_counter() - start


def main(result: str = "smollm2-135m", tokens: int = 64) -> None:
    with server(result) as base:
        load(base, 1, 4)
        print("clients  requests/s  tokens/s  first token s (median, worst)  whole answer s (median, worst)")
        for clients in CLIENTS:
            latencies, seconds = load(base, clients, tokens)
            first, total = [each.first for each in latencies], [each.total for each in latencies]
            print(
                f"{clients:7}  {len(latencies) / seconds:10.2f}  "
                f"{sum(each.tokens for each in latencies) / seconds:8.1f}  "
                f"{statistics.median(first):.2f}, {max(first):.2f}  {statistics.median(total):.2f}, {max(total):.2f}"
            )


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
