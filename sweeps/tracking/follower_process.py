"""The process in which a tracker follows a run folder; ``supervision.TrackerProcess`` starts it.

    python -m sweeps.tracking.follower_process NAME RUN

The tracker's settings are in the variable ``PARETUNE_TRACKER``, because others can see the arguments of a process, and
the address of a server may hold a password. The line ``summary`` on standard input writes the summary; the end of
standard input ends the process.
"""

from __future__ import annotations

import os
import select
import sys
import traceback
from pathlib import Path

from sweeps.tracking.follower import RunFollower
from sweeps.tracking.trackers import tracker_kind
from trainables.system import redaction

SETTINGS = "PARETUNE_TRACKER"
POLL_SECONDS = 1.0


def main() -> None:
    """Follows the run folder until standard input ends. An error has no secret: people send one another the log."""
    try:
        follow()
    except Exception:
        print(redaction.redacted(traceback.format_exc()), end="", file=sys.stderr)
        sys.exit(1)


def follow() -> None:
    """Has the tracker follow the run folder until standard input ends."""
    name, folder = sys.argv[1:]
    tracker = tracker_kind(name).model_validate_json(os.environ.pop(SETTINGS))
    follower = RunFollower(Path(folder), tracker)
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], POLL_SECONDS)
        line = sys.stdin.readline() if ready else None
        # Any line means that the sweep is over: `summary`, or the empty one at the end of the input.
        follower.update(last=line is not None)
        if line is None:
            continue
        if line.strip() == "summary":
            follower.tracked.summarize()
        follower.tracked.close()
        if follower.damaged:
            sys.exit(f"damaged, and not sent to their end: {', '.join(sorted(follower.damaged))}")
        return


if __name__ == "__main__":
    main()
