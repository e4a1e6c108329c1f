"""A stand-in for `paretune chat --json`, which loads nothing: lines of JSON as `sweeps/README.md` has them.

Requests are read as the command reads them. A model named `slow` answers a word each tenth of a second, `bad` can't be
loaded, `fails` answers with an error, and `dies` kills the process. The others answer at once, with a thought and what
they were asked.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

from sweeps.console.chat_protocol.requests import WrongRequest, parse_request

stopped: set[str] = set()
lock = threading.Lock()


def say(**event: object) -> None:
    with lock:
        print(json.dumps(event), flush=True)


def load(model: str) -> None:
    say(event="loading", model=model)
    if "bad" in model:
        say(event="error", id=None, model=model, message=f"{model} has no weights")
    else:
        say(event="ready", model=model, memory_bytes=123_456_789, slow=None)


def answer(request: dict) -> None:
    [model], asked = request["models"], request["messages"][-1]["content"]
    facts = {"id": request["id"], "model": model}
    if "dies" in model:
        os.kill(os.getpid(), signal.SIGKILL)
    if "fails" in model:
        say(event="error", **facts, message="the prompt is too long")
        return
    say(event="token", **facts, text=f"About {asked}.", thinking=True)
    words = f"You said: {asked}\n```python\nprint(1)\n```\nThat is all.".split(" ")
    for number, word in enumerate(words):
        if request["id"] in stopped:
            break
        say(event="token", **facts, text=word if number == 0 else f" {word}", thinking=False)
        time.sleep(0.1 if "slow" in model else 0.0)
    reason = "cancelled" if request["id"] in stopped else "stop"
    say(event="done", **facts, finish_reason=reason, prompt_tokens=5, new_tokens=len(words) + 1, seconds=1.5)


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            parse_request(line)
        except WrongRequest as error:
            say(event="error", id=asked.get("id"), model=None, message=str(error))
            continue
        if "id" in asked:
            threading.Thread(target=answer, args=(asked,), daemon=True).start()
        elif "stop" in asked:
            stopped.add(asked["stop"])
        elif "load" in asked:
            load(asked["load"])


if __name__ == "__main__":
    main()
