"""Cells that go on from what others have trained: ``model: {from: sft}``, and a reward model for ``ppo``.

``from`` names a stage (the same method's cell of it), a cell (for all methods), or a result of an earlier run: the
folder of a trial, ``RUN``, ``RUN:CELL``, ``RUN:TRIAL`` or ``RUN:TRIAL@STEP``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.planning.dependencies import FROM, MODEL_FROM, MODEL_START, STAGE_REWARD, dependency_chain
from sweeps.planning.inputs import absolute_path
from sweeps.spec.problems import Problem, format_value
from sweeps.spec.schema import ENTRY_CLASSES
from sweeps.spec.spec import Spec
from sweeps.spec.tree import CellPath, Leaf, leaves
from trainables.config.trained_model import Trained
from trainables.stages.ppo.reward_rules import RULES
from trainables.storage.urls import is_url
from trainables.system.suggestions import did_you_mean

if TYPE_CHECKING:
    from sweeps.planning.draft import Draft
    from sweeps.runs.earlier_results import Earlier

GOES_ON_FROM, IS_REWARDED_BY = "CAUSAL_LM", "SEQ_CLS"  # the tasks of what may be taken for what


class _WrongStart(ValueError):  # noqa: N818
    """Why something can't be started from; for the place that names it."""


def link_drafts(spec: Spec, drafts: Sequence[Draft], earlier: Earlier) -> list[Draft]:
    """The drafts with every ``from`` resolved, or with what is wrong with it among their problems."""
    linked = [_linked(spec, draft, drafts, earlier) for draft in drafts]
    needed = {draft.name: draft.depends_on for draft in linked}
    return [_unless_circular(spec, draft, needed, earlier) for draft in linked]


def with_dependencies(chosen: Sequence[Draft], drafts: Sequence[Draft]) -> list[Draft]:
    """The chosen drafts and all they go on from, in the order of ``drafts``."""
    needs = {draft.name: draft.depends_on for draft in drafts}
    wanted = {name for draft in chosen for name in dependency_chain(draft.name, needs.__getitem__)}
    return [draft for draft in drafts if draft.name in wanted]


def _linked(spec: Spec, draft: Draft, drafts: Sequence[Draft], earlier: Earlier) -> Draft:
    links: dict[CellPath, Trained] = {}
    problems: list[Problem] = []
    for place, leaf in _places(spec, draft, earlier):
        try:
            links[_leaf(place)] = _trained(spec, draft, place, leaf.plain(), drafts, earlier)
        except ValueError as error:
            problems.append(spec.source.problem(leaf.origin, str(error)))
            # What would stand there is left out, so that nothing else is found wrong with it.
            draft = replace(draft, broken=draft.broken | {_leaf(place)})
    return replace(draft, links=links, problems=(*draft.problems, *problems))


def _leaf(place: CellPath) -> CellPath:
    """The leaf of a trial's config that a ``from`` stands for: (``stage``, ``reward``) of ``stage.reward.from``."""
    if place == MODEL_FROM:
        return MODEL_START
    return place[:-1] if place[-1] == FROM else place


def _places(spec: Spec, draft: Draft, earlier: Earlier) -> Iterator[tuple[CellPath, Leaf]]:
    """Where a draft names what it goes on from or is rewarded by: a ``from``, or a reward model by itself."""
    for place, leaf in leaves(draft.parts):
        is_from = place == MODEL_FROM or (place[0] == "stage" and len(place) == 3 and place[-1] == FROM)
        if place not in draft.broken and (is_from or _is_reward_model(spec, place, leaf.value, earlier)):
            yield place, leaf


def _is_reward_model(spec: Spec, place: CellPath, value: Any, earlier: Earlier) -> bool:
    if place != STAGE_REWARD or not isinstance(value, str) or value in RULES:
        return False
    with suppress(_WrongStart):  # what can't be a path is no rule's name either, which is said elsewhere
        return _path(spec, value).is_dir() or earlier.has(_name(spec, value))
    return False


def _path(spec: Spec, written: str) -> Path:
    try:
        return absolute_path(written, spec.source.folder)
    except (OSError, RuntimeError) as error:
        raise _WrongStart(f"{format_value(written)} can't be a path") from error


def _name(spec: Spec, written: str) -> str:
    """What was written as the name of a result; a path in it is relative to the spec's folder, as all of them."""
    return written if is_url(written) else str(_path(spec, written))


def _trained(
    spec: Spec, draft: Draft, place: CellPath, wanted: Any, drafts: Sequence[Draft], earlier: Earlier
) -> Trained:
    task = GOES_ON_FROM if place == MODEL_FROM else IS_REWARDED_BY
    if not isinstance(wanted, str) or not wanted:
        raise _WrongStart(
            f"got {format_value(wanted)}; allowed: a stage, a cell, RUN, RUN:CELL, RUN:TRIAL, or a trial's folder"
        )
    cells = _cells(wanted, draft, drafts) if place[-1] == FROM else []
    if not cells:
        return _left_behind(spec, wanted, place, task, drafts, earlier)
    if len(cells) > 1:
        names = ", ".join(cell.name for cell in cells)
        raise _WrongStart(f"{wanted} has no one cell of the method {draft.method}; name one of {names}")
    if _task(cells[0]) != task:
        what = (
            "predicts no tokens, so nothing goes on from it" if task == GOES_ON_FROM else "gives no rewards"
        )
        raise _WrongStart(f"{cells[0].name} {what}")
    return Trained(cell=cells[0].name)


def _cells(wanted: str, draft: Draft, drafts: Sequence[Draft]) -> list[Draft]:
    """The cell of that name; or of the stage's cells the one that is otherwise the same, or of the same method."""
    if exact := [other for other in drafts if other.name == wanted]:
        return exact
    stage = [other for other in drafts if wanted in (other.stage, other.stage_entry.name)]
    stage = stage or [other for other in drafts if wanted == other.stage_entry.kind]
    twins = [other for other in stage if _beyond_stage(other) == _beyond_stage(draft)]
    same_method = [other for other in stage if other.method == draft.method]
    return next((group for group in (twins, same_method) if len(group) == 1), stage)


def _beyond_stage(draft: Draft) -> str:
    return draft.name.removeprefix(draft.stage)


def _task(draft: Draft) -> str:
    return str(getattr(ENTRY_CLASSES["stages"][draft.stage_entry.kind], "task", GOES_ON_FROM))


def _left_behind(
    spec: Spec, wanted: str, place: CellPath, task: str, drafts: Sequence[Draft], earlier: Earlier
) -> Trained:
    from trainables.trial import starting_weights

    path = earlier.folder(_name(spec, wanted), wanted, task) or _path(spec, wanted)
    if not path.is_dir():
        known = list(dict.fromkeys([*(d.stage for d in drafts), *(d.name for d in drafts)]))
        near = did_you_mean(wanted, known)
        raise _WrongStart(
            f"there is no stage, cell, trial or folder {format_value(wanted)}; stages here: "
            f"{', '.join(dict.fromkeys(d.stage for d in drafts))}{near}"
        )
    found = starting_weights.find_trained_model(path)
    if place != MODEL_FROM:
        return found
    trial = starting_weights.trial(found.folder)
    if trial is None:
        raise _WrongStart(f"{path} was left by no trial; write model: {{path: ...}} for a model of its own")
    if trial.stage.task != GOES_ON_FROM:
        raise _WrongStart(f"{path} is a reward model: it predicts no tokens, so nothing goes on from it")
    return found


def _unless_circular(
    spec: Spec, draft: Draft, needed: Mapping[str, Sequence[str]], earlier: Earlier
) -> Draft:
    path = _way_back(draft.name, needed)
    if path is None:
        return draft
    place = next(place for place, trained in draft.links.items() if trained.cell == path[0])
    leaf = next(leaf for at, leaf in _places(spec, draft, earlier) if _leaf(at) == place)
    what = f"{draft.name} would go on from itself ({' from '.join([draft.name, *path])})"
    problem = spec.source.problem(leaf.origin, what)
    return replace(draft, links={}, broken=draft.broken | {place}, problems=(*draft.problems, problem))


def _way_back(name: str, needed: Mapping[str, Sequence[str]]) -> list[str] | None:
    """The cells from what ``name`` needs back to ``name`` itself, if that is where it leads."""
    ways = [[first] for first in needed.get(name, ())]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        if way[-1] == name:
            return way
        if way[-1] not in seen:
            seen.add(way[-1])
            ways += [[*way, further] for further in needed.get(way[-1], ())]
    return None
