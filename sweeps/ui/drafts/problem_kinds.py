"""The frequent kinds of problems, by their messages, so that they can be worded in other languages, too."""

from __future__ import annotations

from typing import Any

from sweeps.ui import message_kinds

# Word of `words/LANGUAGE/problems.json` -> what such a message looks like. The names of groups are places in the words.
KINDS = message_kinds.kinds(
    (
        ("unknown_key_meant", r"unknown key\. Did you mean (?P<meant>.+?)\?"),
        ("unknown_key", r"unknown key"),
        ("wrong_kind_of_method", r"(?P<kind>\w+) has no (?P<key>\w+)\. "),
        ("outside", r"(?P<path>.+) lies outside the folders of this UI"),
        ("missing_file", r"no file (?P<path>[^;]+);"),
        ("missing_data", r"no data set (?P<name>\S+)"),
        ("missing_folder", r".*(?:no such file|no such folder|does not exist)"),
        ("swapped", r"\w+ needs (?:0 < )?low < high, got low=(?P<low>[^,]+), high=(?P<high>[^.]+)"),
        ("too_large", r"got (?P<got>\S+); the maximum is (?P<limit>[\d,]+)"),
        ("not_allowed_meant", r"got (?P<got>.+?)\. Did you mean (?P<meant>.+?)\?"),
        ("out_of_range", r"got (?P<got>.+?); allowed: (?P<allowed>.+)"),
        ("missing_value", r"not given\b"),
        ("memory", r".*(?:does not fit|do not fit|don't fit|doesn't fit|predicted not to fit|more memory than)"),
        ("model_later", r"(?P<model>\S+) is not on this machine yet"),
        ("not_yaml", r"not YAML"),
        ("tab", r"a tab;"),
        ("empty", r"the file is empty"),
        ("one_value", r"this is the same for all trials"),
        ("few_rows", r".*(?:fewer than|only) \d+ (?:validation|test|held-out)? ?rows"),
    )
)  # fmt: skip


def kind_of(message: str) -> tuple[str, dict[str, str]] | None:
    """The kind of a problem and the values in its message; ``None`` for a rare one.

    >>> kind_of("got lroa. Did you mean lora? Allowed: one of full, lora")
    ('not_allowed_meant', {'got': 'lroa', 'meant': 'lora'})
    """
    found = message_kinds.kind_of(message, KINDS)
    return found[:2] if found is not None else None


def with_kinds(problems: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The problems with ``kind``, the key of its words, and ``values`` for them."""
    found = []
    for problem in problems:
        kind = kind_of(str(problem.get("message") or ""))
        found.append(
            {**problem, "kind": f"problems.{kind[0]}" if kind else None, "values": kind[1] if kind else {}}
        )
    return found
