"""What a plan says of methods of one's own: which code runs, where it is, and that it runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

from sweeps.spec.entries import kinds_of, written_kinds
from sweeps.spec.key_path import KeyPath
from sweeps.spec.problems import Problem
from sweeps.spec.spec import Spec
from trainables.methods.own_code import OwnCode
from trainables.methods.own_method import OwnMethodClass, known_own_class
from trainables.system.wording import counted


def notes(spec: Spec) -> Iterator[str]:
    """A sentence for each class of one's own that the spec's methods name, and that was imported."""
    for kind in written_kinds(spec):
        if (found := known_own_class(kind)) is not None:
            yield (
                f"{kind} is code of yours, not Paretune's: {_place(found)}. It was run to make this plan, and runs in "
                "every process that trains with it"
            )


def hashes(spec: Spec) -> dict[str, str]:
    """The hashes of the code beside the spec of its methods, by their kinds."""
    found = {kind: known_own_class(kind) for kind in written_kinds(spec)}
    return {
        kind: each.code.sha256 for kind, each in found.items() if each is not None and each.code is not None
    }


def changes(spec: Spec, before: Mapping[str, str]) -> Iterator[Problem]:
    """A problem for each method whose code is no longer what a run began with: ``before`` has the hashes of what was
    beside the spec; what it lacks was installed.
    """
    now = hashes(spec)
    for kind in dict.fromkeys([*before, *now]):
        if now.get(kind) != before.get(kind):
            what = (
                f"the code of {kind} is not what this run was started with. Restore it, or start a new run under "
                "another name"
            )
            if kind not in before:
                what = (
                    f"this run was started with {kind} as it is installed, and now there is a module of that name "
                    "beside the spec. Move it away, or start a new run under another name"
                )
            yield spec.source.problem(_path_of(spec, kind), what)


def _path_of(spec: Spec, kind: str) -> KeyPath:
    """Where the spec names a kind."""
    for branch in spec.methods:
        if kind in kinds_of(branch):
            return (*branch.origin, "kind")
    return ("methods",)


def _place(found: OwnMethodClass) -> str:
    return place_of_code(found.code, found.cls.__module__)


def place_of_code(code: OwnCode | None, module: str) -> str:
    """Where a module's code is, how much of it there is, and where it goes."""
    if code is None:
        return f"the installed module {getattr(sys.modules.get(module), '__file__', None) or module}"
    count = "" if len(code.sources) == 1 else f"{counted(len(code.sources), 'file')}, "
    return (
        f"{code.path} ({count}SHA-256 {code.sha256[:12]}), which goes to the nodes of a cluster that lack it"
    )
