"""Links from cells to the results they take: ``model: {from: sft}``, and a reward model for ``ppo``.

``from`` names a stage (its cell of the same method), a cell (for all methods), or a result of an earlier run: the
folder of a trial, ``RUN``, ``RUN:CELL``, ``RUN:TRIAL`` or ``RUN:TRIAL@STEP``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.planning.dependencies import FROM, MODEL_FROM, MODEL_START, STAGE_REWARD, dependency_chain
from sweeps.planning.draft import Draft
from sweeps.planning.inputs import absolute_path, merge_problem
from sweeps.spec.problems import Problem, format_value
from sweeps.spec.schema import ENTRY_CLASSES
from sweeps.spec.tree import CellPath, Leaf, leaves
from trainables.config.trained_model import TrainedModel
from trainables.stages.base import TrainingStage
from trainables.stages.rewards.rules import RULES
from trainables.storage.urls import is_url
from trainables.system.suggestions import Proposal, did_you_mean, message_of

if TYPE_CHECKING:
    from sweeps.runs.earlier_results import EarlierResults

# PEFT's names for the task of a model to continue from, and for that of a reward model.
POLICY_TASK, MASKED_TASK, REWARD_TASK = "CAUSAL_LM", "MASKED_LM", "SEQ_CLS"


class _InvalidReference(ValueError):  # noqa: N818
    """Why a reference to another result can't be used."""


def link_drafts(drafts: Sequence[Draft], earlier: EarlierResults) -> list[Draft]:
    """The drafts with every ``from`` resolved, or with the reason why it can't be among their problems."""
    linker = _Linker(drafts, earlier)
    linked = [linker.linked(draft) for draft in drafts]
    # Circles show only once all links are known.
    depends_on = {draft.name: draft.depends_on for draft in linked}
    return [linker.without_circle(draft, depends_on) for draft in linked]


def with_dependencies(selected: Sequence[Draft], drafts: Sequence[Draft]) -> list[Draft]:
    """The selected drafts and all that they depend on, in the order of ``drafts``."""
    depends_on = {draft.name: draft.depends_on for draft in drafts}
    wanted = {name for draft in selected for name in dependency_chain(draft.name, depends_on.__getitem__)}
    return [draft for draft in drafts if draft.name in wanted]


@dataclass(frozen=True)
class _Linker:
    """Resolves references to cells of the sweep and to results of earlier runs."""

    drafts: Sequence[Draft]
    earlier: EarlierResults

    def linked(self, draft: Draft) -> Draft:
        links: dict[CellPath, TrainedModel] = {}
        problems: list[Problem] = []
        broken = draft.broken
        for path, leaf in self._references(draft):
            try:
                links[_config_path(path)] = self._resolve(draft, path, leaf.plain())
            except ValueError as error:
                problems.append(draft.source.problem(leaf.origin, message_of(error)))
                # Left out of the config, so that this mistake causes no other problem.
                broken |= {_config_path(path)}
        return replace(draft, links=links, broken=broken, problems=(*draft.problems, *problems))

    def without_circle(self, draft: Draft, depends_on: Mapping[str, Sequence[str]]) -> Draft:
        """The draft, with a problem instead of its links if it depends on itself."""
        circle = _path_back(draft.name, depends_on)
        if circle is None:
            return draft
        # The link that leads into the circle: its place in the spec is where the user has to change something.
        broken = next(path for path, trained in draft.links.items() if trained.cell == circle[0])
        leaf = next(leaf for path, leaf in self._references(draft) if _config_path(path) == broken)
        what = f"{draft.name} would continue from itself ({' from '.join([draft.name, *circle])})"
        problem = draft.source.problem(leaf.origin, what)
        # Every cell of a circle loses all its links, so what remains is acyclic, as `dependency_chain`
        # requires: it would not end otherwise.
        return replace(draft, links={}, broken=draft.broken | {broken}, problems=(*draft.problems, problem))

    def _references(self, draft: Draft) -> Iterator[tuple[CellPath, Leaf]]:
        """The leaves that refer to a result: each ``from``, and a reward model given by itself."""
        for path, leaf in leaves(draft.parts):
            # (model, from), or (stage, SETTING, from).
            is_from = path == MODEL_FROM or (path[0] == "stage" and len(path) == 3 and path[-1] == FROM)
            if path not in draft.broken and (is_from or self._is_reward_model(draft, path, leaf.value)):
                yield path, leaf

    def _is_reward_model(self, draft: Draft, path: CellPath, value: Any) -> bool:
        """Whether ``stage.reward`` is a reward model's folder or result; else it is a rule."""
        if path != STAGE_REWARD or not isinstance(value, str) or value in RULES:
            return False
        # A text that can't be a path is no rule either, which the stage's own check reports.
        with suppress(_InvalidReference):
            return _path(draft, value).is_dir() or self.earlier.has(_result_name(draft, value))
        return False

    def _resolve(self, draft: Draft, path: CellPath, wanted: Any) -> TrainedModel:
        """The result that ``wanted`` refers to. Raises ``ValueError`` that says why there is none."""
        task = POLICY_TASK if path == MODEL_FROM else REWARD_TASK
        if not isinstance(wanted, str) or not wanted:
            choices = "a stage, a cell, RUN, RUN:CELL, RUN:TRIAL, or a trial's folder"
            raise _InvalidReference(f"got {format_value(wanted)}; allowed: {choices}")
        # A bare reward model (`reward: FOLDER`) is never a cell: that takes a `from`.
        cells = self._cells(draft, wanted) if path[-1] == FROM else []
        if not cells:
            return self._earlier_result(draft, path, wanted, task)
        if len(cells) > 1:
            names = ", ".join(cell.name for cell in cells)
            what = f"{wanted} has no single cell of the method {draft.method}; name one of {names}"
            raise _InvalidReference(what)
        if _task(cells[0]) not in (task, MASKED_TASK if path == MODEL_FROM else task):
            reason = (
                "predicts no tokens, so no stage can continue from it"
                if task == POLICY_TASK
                else "gives no rewards; name a cell of a reward stage"
            )
            raise _InvalidReference(f"{cells[0].name} {reason}")
        return TrainedModel(cell=cells[0].name)

    def _cells(self, draft: Draft, wanted: str) -> list[Draft]:
        """The cells that a name may mean; none if it is not the name of a cell or a stage."""
        if exact := [other for other in self.drafts if other.name == wanted]:
            return exact
        of_stage = [other for other in self.drafts if wanted in (other.stage, other.stage_entry.name)]
        # A kind is tried last, because an entry may have another kind's word as its name.
        of_stage = of_stage or [other for other in self.drafts if wanted == other.stage_entry.kind]
        # Of the stage's cells the one that differs in the stage alone, else the only one of the same method.
        twins = [other for other in of_stage if _name_after_stage(other) == _name_after_stage(draft)]
        same_method = [other for other in of_stage if other.method == draft.method]
        return next((group for group in (twins, same_method) if len(group) == 1), of_stage)

    def _earlier_result(self, draft: Draft, path: CellPath, wanted: str, task: str) -> TrainedModel:
        from trainables.trial import starting_weights

        # A run comes first: its folder exists as a path too, but only `earlier` picks a trial in it.
        folder = self.earlier.folder(_result_name(draft, wanted), wanted, task) or _path(draft, wanted)
        if not folder.is_dir():
            raise _InvalidReference(self._unknown(wanted))
        trained = starting_weights.find_trained_model(folder)
        if path != MODEL_FROM:
            return trained
        trial = starting_weights.read_trial(trained.folder)
        if trial is None:
            what = f"{folder} was not saved by a trial; write model: {{path: ...}} for any other model"
            raise _InvalidReference(what)
        if trial.stage.task not in (POLICY_TASK, MASKED_TASK):
            is_a = "classifier" if trial.stage.gives == "labels" else "reward model"
            what = f"{folder} is a {is_a}: it predicts no tokens, so no stage can continue from it"
            raise _InvalidReference(what)
        if (problem := merge_problem(trial)) is not None:
            raise _InvalidReference(f"no stage can continue from {folder}: {problem}")
        return trained

    def _unknown(self, wanted: str) -> Proposal:
        stages = list(dict.fromkeys(draft.stage for draft in self.drafts))
        near = did_you_mean(wanted, [*stages, *(draft.name for draft in self.drafts)])
        return near.within(
            f"there is no stage, cell, trial or folder {format_value(wanted)}; stages of this spec: "
            f"{', '.join(stages)}{near}"
        )


def _config_path(path: CellPath) -> CellPath:
    """The path in a trial's config for a reference's path in the spec.

    (model, from) is held as (model, start), and (stage, reward, from) as (stage, reward).
    """
    if path == MODEL_FROM:
        return MODEL_START
    return path[:-1] if path[-1] == FROM else path


def _path(draft: Draft, written: str) -> Path:
    try:
        return absolute_path(written, draft.source.folder)
    except (OSError, RuntimeError) as error:
        raise _InvalidReference(f"{format_value(written)} can't be a path") from error


def _result_name(draft: Draft, written: str) -> str:
    """The name of an earlier result; a path in it is relative to the spec's folder, as every path in a spec."""
    return written if is_url(written) else str(_path(draft, written))


def _name_after_stage(draft: Draft) -> str:
    return draft.name.removeprefix(draft.stage)


def _task(draft: Draft) -> str:
    cls = ENTRY_CLASSES["stages"][draft.stage_entry.kind]
    assert issubclass(cls, TrainingStage)
    settings = draft.tree().get("stage")
    # Without validation: whatever is wrong with the stage is reported where it is.
    return cls.model_construct(**(settings if isinstance(settings, dict) else {})).purpose


def _path_back(name: str, depends_on: Mapping[str, Sequence[str]]) -> list[str] | None:
    """The cells from a dependency of ``name`` back to ``name``; ``None`` where no dependency leads back."""
    # Depth first. A circle that does not go through `name` is another cell's problem: visit each cell once.
    paths = [[dependency] for dependency in depends_on.get(name, ())]
    visited: set[str] = set()
    while paths:
        path = paths.pop()
        if path[-1] == name:
            return path
        if path[-1] not in visited:
            visited.add(path[-1])
            paths += [[*path, dependency] for dependency in depends_on.get(path[-1], ())]
    return None
