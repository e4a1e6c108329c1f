"""A process that traces steps and counts parameters, so that ``paretune plan`` itself needs no torch.

Started with the first question, by ``Tracer``; it ends with its parent. One JSON line a question and an answer:

    {"trace": {...}} or {"count": config.json} on standard input  ->  {"result": ...} or {"problem": "..."}
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import subprocess
import sys
from dataclasses import asdict
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.memory.tracing.case import Trace, TracedCase
from trainables.methods.own_code import is_own_kind
from trainables.models.architecture.decoder_shape import MemoryNotPredictable
from trainables.storage import cache as stored
from trainables.storage import files
from trainables.system.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Mapping

# Of processor time, for one answer, the libraries' imports included: a busy machine makes none take longer.
PROCESSOR_SECONDS = 120.0
ANSWER_SECONDS = 1_800  # for a process that waits for something, and takes no processor time
PACKAGES = ("torch", "transformers", "peft")


def traced(case: TracedCase) -> Trace:
    """What a trace of the case finds; kept in the cache. Raises :class:`MemoryNotPredictable`, which says why."""
    return Trace.from_json(_answer("trace", asdict(case)))


def counted_parameters(model: Mapping[str, Any]) -> int:
    """How many parameters a causal language model with this ``config.json`` has.

    Counted without making its tensors; kept in the cache. Raises :class:`MemoryNotPredictable`.
    """
    return int(_answer("count", dict(model)))


def _answer(kind: str, question: dict[str, Any]) -> Any:
    key = files.sha256([kind, question, _versions()])

    def ask() -> dict[str, Any]:
        return _tracer().ask({kind: question})

    if _runs_installed_code(question.get("method", {})):
        answer = _of_installed_code.get(key, ask)
    else:
        folder = stored.entry("traces", key, lambda folder: files.write_json(folder / "answer.json", ask()))
        answer = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    if "problem" in answer:
        raise MemoryNotPredictable(answer["problem"])
    return answer["result"]


def _runs_installed_code(method: Mapping[str, Any]) -> bool:
    """Whether a method of one's own is installed: its code has no hash, so that only this process knows its answers."""
    return is_own_kind(method.get("kind")) and method.get("method_sha256") is None


_of_installed_code = Recent[str, dict[str, Any]](64)


@cache
def _versions() -> list[str]:
    """Of the libraries, and hashes of the code here and of what it attaches: others give other traces."""
    root = Path(__file__).parents[2]
    code = [
        file
        for part in ("memory/tracing", "methods", "quantizers")
        for file in sorted((root / part).glob("*.py"))
    ]
    return [*map(metadata.version, PACKAGES), *map(files.file_sha256, code)]


@cache
def _tracer() -> Tracer:
    tracer = Tracer()
    atexit.register(tracer.close)
    return tracer


class Tracer:
    """Asks the process, which it starts when it is needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer to a question. Raises :class:`MemoryNotPredictable` if none comes in time."""
        if self._process is None or self._process.poll() is not None:
            module = "trainables.memory.tracing.tracing_process"
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(PROCESSOR_SECONDS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        try:
            answer = _exchange(self._process, json.dumps(question), ANSWER_SECONDS)
        except BaseException:  # an interrupt, too: what it is at would be the answer to the next question
            self.close()
            raise
        if answer is None:
            self.close()
            raise MemoryNotPredictable(f"tracing it took more than {ANSWER_SECONDS} s")
        if not answer:
            code = self._process.wait()
            if code == -signal.SIGPROF:
                raise MemoryNotPredictable(
                    f"tracing it took more than {PROCESSOR_SECONDS:g} s of processor time"
                )
            raise MemoryNotPredictable(f"the process that traces it ended with code {code}")
        result: dict[str, Any] = json.loads(answer)
        return result

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _exchange(process: subprocess.Popen[str], line: str, seconds: float) -> str | None:
    """The line that the process answers: "" if it has ended, ``None`` if it takes longer."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return ""
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline() if waiting.select(seconds) else None


# In the process


def main() -> None:
    """Answers questions until standard input ends.

    Its argument is the processor time in seconds that an answer may take, beyond which the kernel ends the process.
    """
    from trainables.system import quiet

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to standard error, apart from the answers
    quiet.silence()
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, float(sys.argv[1]))
        answers.write(json.dumps(_result(json.loads(line))) + "\n")
        answers.flush()


def _result(question: dict[str, Any]) -> dict[str, Any]:
    from trainables.memory.tracing import traced_pass
    from trainables.memory.tracing.fake_model import count_parameters

    try:
        if "count" in question:
            return {"result": count_parameters(question["count"])}
        return {"result": asdict(traced_pass.trace(TracedCase(**question["trace"])))}
    except Exception as error:  # whatever a model's own code raises
        return {"problem": _problem(question, error)}


def _problem(question: Mapping[str, Any], error: Exception) -> str:
    """What an error means for those who asked."""
    method = question.get("trace", {}).get("method", {})
    if method.get("kind") == "peft" and _asks_for_values(error):
        return (
            f"{method['type']} needs the values of the model's weights before it trains, which no plan loads"
        )
    kind = question.get("count", question.get("trace", {}).get("model", {})).get("model_type")
    if kind is None:
        return "its config.json names no model_type, by which a class would be found"
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"a step of {kind} models can't be traced ({type(error).__name__}: {first[:200]})"


def _asks_for_values(error: Exception) -> bool:
    """Whether torch says that a tensor has no values."""
    return isinstance(error, NotImplementedError | RuntimeError) and "meta tensor" in str(error)


if __name__ == "__main__":
    main()
