"""The embedded data set ``command-kinds``: the requests of ``commands``, each with the kind of its command.

    could you turn the basement radiator off at half past six in the evening?  ->  switch

Eight kinds, of which some are rarer than others. Every request has exactly one, so exact match is a true quality. A
classifier learns the kind as a class (``classification``), a language model as a text (``sft``), on the same requests
in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping

from trainables.data.embedded import commands

NAME = "command-kinds"
EXACT = True  # one right label per row
SYSTEM = "Name the kind of the request."
# The kind of a command by its first word.
KINDS: Mapping[str, str] = {
    "on": "switch", "off": "switch",
    "heat": "heating",
    "dim": "light",
    "open": "cover", "close": "cover",
    "lock": "lock", "unlock": "lock",
    "play": "music",
    "timer": "timer",
    "alarm": "alarm",
}  # fmt: skip


def rows() -> list[dict[str, str]]:
    """The data set: ``system``, ``prompt`` and ``completion``, always the same rows in the same order.

    >>> rows()[0]["completion"]
    'alarm'
    """
    return [
        {"system": SYSTEM, "prompt": row["prompt"], "completion": KINDS[row["completion"].split()[0]]}
        for row in commands.rows()
    ]
