"""Writes the spec that is proposed for a request, once it was planned."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sweeps.drafting.budget import Budget
from sweeps.drafting.data_target import SPEC_SUFFIXES, data_target, is_spec
from sweeps.drafting.foreign import read_carry_over
from sweeps.drafting.foreign.carry_over import CarryOver
from sweeps.drafting.from_data import Answers, propose_for_data
from sweeps.drafting.from_foreign import propose_for_foreign
from sweeps.drafting.methods import memory_here
from sweeps.drafting.proposal import Proposal, run_name
from sweeps.drafting.request import DEFAULT_MODEL, Request
from sweeps.planning import plan as planning
from sweeps.planning.assessment import few_rows
from sweeps.planning.plan import Plan
from sweeps.planning.times.prediction import PlanTime
from sweeps.planning.times.wording import minutes, minutes_between, time_lines
from sweeps.spec import source
from sweeps.spec.problems import Problem, SpecError
from sweeps.spec.spec import from_source
from trainables.storage import files
from trainables.system.wording import counted

ROUNDS = 3  # in which a budget is made smaller until it takes the wanted time
TOLERANCE = 1.1  # of the wanted minutes, which is not worth a word


@dataclass(frozen=True)
class Written:
    """The spec that was written. ``to_do``: what only the user can fill in; ``warnings`` are the plan's."""

    file: Path
    proposal: Proposal
    plan: Plan
    to_do: tuple[str, ...]
    budget_lines: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(str(problem) for problem in (*self.plan.warnings, *few_rows.warnings(self.plan)))

    @property
    def next_commands(self) -> tuple[tuple[str, str], ...]:
        """Each command to type next, and what it does."""
        file = shlex.quote(str(self.file))
        looks = (
            (f"paretune plan {file}", "cells, trials, memory, and every problem; trains nothing"),
            (f"paretune data {file}", "what the models see of the rows"),
        )
        if self.to_do:
            return looks[:1]
        run = f"paretune run {file}"
        return (*looks, (run, f"the sweep; its report is runs/{self.plan.spec.name}/report/index.html"))


def write(request: Request) -> Written:
    """Proposes, plans and writes a spec.

    Raises ``FileExistsError`` for a file that exists, unless the request is to replace it, ``SpecError``, ``DataError``
    and ``ModelError``.
    """
    assert request.source is not None
    carried = read_carry_over(Path(request.source).expanduser())
    if carried is None and is_spec(request.source):
        raise SpecError(_no_source(request.source))
    file = _output(request, is_foreign=carried is not None)
    answers = Answers(
        model=request.model or DEFAULT_MODEL,
        stage=request.stage,
        name=run_name(wanted := _name(request, carried)),
        folder=file.resolve().parent,
        command=request.command,
        said=request.said,
    )
    memory = memory_here()
    if carried is not None:
        proposal = propose_for_foreign(carried, answers, memory, request.sets)
    else:
        target = data_target(request.source, answers.model, sets=request.sets)
        proposal = propose_for_data(target, answers, memory)
    proposal, made = _possible(proposal, planned(proposal, file), file)
    proposed = proposal.ingredients.budget
    proposal, made = _within(request, proposal, made, file)
    errors = () if proposal.to_do else tuple(str(problem) for problem in made.errors)
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(file, proposal.text)
    lines = (
        *_name_line(wanted, answers.name),
        *_budget_lines(request, made),
        *_made_smaller(request, proposed, proposal.ingredients.budget),
    )
    return Written(file, proposal, made, (*proposal.to_do, *errors), lines)


def _no_source(name: str) -> Problem:
    path = Path(name)
    if path.is_file():
        return Problem(
            name,
            "",
            f"this is a spec already, or no configuration that is known: paretune plan {shlex.quote(name)}",
        )
    what = (
        "there is no such file"
        if path.suffix in SPEC_SUFFIXES
        else "this is a spec that is shipped with Paretune"
    )
    return Problem(name, "", f"{what}; give data, or a configuration of LLaMA-Factory or ms-swift")


def _output(request: Request, is_foreign: bool) -> Path:
    """The file to write. Raises ``FileExistsError`` where it exists."""
    file = request.output
    if file is None:
        stem = _stem(Path(str(request.source)).expanduser())
        # The other tool's file may have that name.
        file = Path(f"{stem}-paretune.yaml" if is_foreign else f"{stem}.yaml")
    if file.exists() and not request.force:
        raise FileExistsError(f"{file} exists; give another name with --output, or --force to replace it")
    return file


def planned(proposal: Proposal, file: Path) -> Plan:
    """The plan of the spec as it would be in ``file``. Raises ``SpecError`` for one that is too large to check."""
    return planning.make(from_source(source.parse(file, proposal.text)))


def _name(request: Request, carried: CarryOver | None) -> str:
    """What the run is called: as the other tool's file has it, or like the source."""
    if carried is not None and (name := carried.of("").get("name")) is not None:
        return str(name.kept.value)
    return _stem(request.output or Path(str(request.source)).expanduser())


def _name_line(wanted: str, name: str) -> Iterator[str]:
    """That the run can't be called as its source is."""
    if name != wanted:
        yield (
            f"name: {name} for {wanted}, as a run's name has letters from a to z, digits, dots, dashes and "
            "underscores; the spec's line name: may have another"
        )


def _stem(path: Path) -> str:
    """A file's name without its endings; for what is no file, such as a pattern, a name that a file can have."""
    stem = path.resolve().name.partition(".")[0]
    return stem if stem and path.exists() else run_name(path.name.partition(".")[0])


def _possible(proposal: Proposal, made: Plan, file: Path) -> tuple[Proposal, Plan]:
    """The proposal and its plan with those settings as comments that this machine can't do."""
    refused = {problem.path: problem.what for problem in made.errors}
    changed = proposal.with_comments(refused)
    return (changed, planned(changed, file)) if changed != proposal else (proposal, made)


def _within(request: Request, proposal: Proposal, made: Plan, file: Path) -> tuple[Proposal, Plan]:
    """The proposal and its plan with a budget that is predicted to take the wanted minutes at most, as far as its time
    is known, and with the minutes in its text.
    """
    assert request.minutes is not None
    budget, fixed = proposal.ingredients.budget, proposal.ingredients.training_rows is None
    for _ in range(ROUNDS):
        times = made.times()
        known = len(times.cells) - len(times.unknown)
        if not known:
            break
        # The start of the sweep takes its time whatever the budget is; what is unknown counts as what is known.
        wanted = 60 * request.minutes - times.start
        trainings = (times.seconds - times.start) * len(times.cells) / known
        if trainings <= wanted:
            break
        smaller = budget.scaled(max(0.0, wanted) / trainings, fixed)
        if smaller == budget:
            break
        budget = smaller
        proposal = proposal.with_budget(budget, "")
        made = planned(proposal, file)
    return proposal.with_budget(budget, _minutes(made)), made


def _minutes(made: Plan) -> str:
    times = made.times()
    if not times.cells or times.unknown:
        return f"unknown; paretune plan {shlex.quote(made.spec.source.file.name)} --measure predicts them"
    return minutes_between(times.least, times.seconds)


def _budget_lines(request: Request, made: Plan) -> Iterator[str]:
    """The trials that there are, and the minutes that they are predicted to take."""
    if not made.cells:
        return
    steps = ", ".join(dict.fromkeys(str(cell.steps) for cell in made.cells))
    yield (
        f"budget: {made.trials} trials in {counted(len(made.cells), 'method')} of {steps} steps, and {made.finalists} "
        "with other seeds"
    )
    times = made.times()
    yield from time_lines(times, str(made.spec.source.file))
    yield from _minutes_missed(request, times)


def _minutes_missed(request: Request, times: PlanTime) -> Iterator[str]:
    """That the wanted minutes are exceeded, or not yet kept because nothing is known."""
    assert request.minutes is not None
    known = {name: time for name, time in times.cells.items() if time is not None}
    if known and times.seconds > 60 * request.minutes * TOLERANCE:
        longest = max(known, key=lambda name: known[name].seconds)
        part = minutes(known[longest].seconds / times.at_once)
        without = " without those that are unknown" if times.unknown else ""
        yield (
            f"that is more than the {request.minutes:g} minutes wanted,{without} with the smallest budget that can "
            f"compare; {longest} takes {part} of them: fewer methods or a smaller model take less"
        )
    if times.unknown:
        wanted = f"{request.minutes:g} minutes"
        budget = (
            f"the budget for {wanted} takes those for as long as the others"
            if known
            else f"the budget is the usual one, which may take more or less than {wanted}"
        )
        yield f"so {budget}. To measure first, and keep the {wanted}: {request.measuring_command}"


def _made_smaller(request: Request, before: Budget, now: Budget) -> Iterator[str]:
    """What the wanted minutes cost."""
    less = [f"{now.steps} steps instead of {before.steps}"] if now.steps < before.steps else []
    less += [f"{now.trials} trials instead of {before.trials}"] if now.trials < before.trials else []
    seeds = "no other seeds" if now.seeds == 1 else f"{now.seeds} other seeds"
    less += [f"{seeds} instead of {before.seeds}"] if now.seeds < before.seeds else []
    if less:
        yield f"for {request.minutes:g} minutes: {', '.join(less)}; --minutes allows more"
