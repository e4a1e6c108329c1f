"""Settings of the search: what a spec that leaves them out gets, and what a run that an earlier version began keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.planning import identity
from sweeps.spec.settings import SEARCH_VERSION
from sweeps.spec.spec import as_begun, read
from tests.helpers.specs import SPEC, plan, spec_folder
from trainables.config.ending import EndingRules
from trainables.system import capabilities
from trainables.system.capabilities import Capability

BEFORE = {"plan": {"conventions": SEARCH_VERSION - 1, "finalists": {"seeds": 1, "top": 1}}}


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return spec_folder(tmp_path)


def test_stopped_trials_are_not_scored_and_diverged_ones_end_early_by_default(workdir: Path) -> None:
    cell = plan(workdir).cell("sft-lora")
    assert cell.ending == EndingRules(score_stopped=False, early_exit=("diverged",), exit_reports=3)
    scored = plan(workdir, sets=("search.score_stopped=true", "search.early_exit=[]")).cell("sft-lora")
    assert scored.ending == EndingRules(score_stopped=True, early_exit=())


def test_the_only_trial_of_a_cell_runs_to_its_end(workdir: Path) -> None:
    assert plan(workdir, sets=("search.trials=1",)).cell("sft-lora").ending == EndingRules()


def test_a_run_of_an_earlier_version_searches_as_it_did_then(workdir: Path) -> None:
    file = workdir / "spec.yaml"
    file.write_text(SPEC)
    spec = read(file)
    begun = as_begun(spec, BEFORE)
    search = begun.resolved()["search"]
    assert (search["sampler"], search["score_stopped"], search["early_exit"]) == ("tpe", True, [])
    # Its resolved spec has the settings that existed then, at their defaults of then.
    later = {
        "score_stopped",
        "early_exit",
        "exit_reports",
        "prune_dominated",
        "earlier_trials",
        "order",
        "rungs_by",
    }
    before = {
        **begun.resolved(),
        "search": {key: value for key, value in search.items() if key not in later},
    }
    assert identity.changes(before, begun.resolved()) == []
    assert identity.changes(before, spec.resolved()) != []
    current = {"plan": {**BEFORE["plan"], "conventions": SEARCH_VERSION}}
    assert as_begun(spec, current).resolved() == spec.resolved()


def test_what_the_spec_says_holds_in_a_resumed_run_too(workdir: Path) -> None:
    file = workdir / "spec.yaml"
    file.write_text(SPEC)
    search = as_begun(read(file, ["search.sampler=qmc"]), BEFORE).resolved()["search"]
    assert (search["sampler"], search["score_stopped"]) == ("qmc", True)


def test_a_sampler_whose_package_is_missing_is_an_error_with_what_to_install(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = Capability("cmaes", False, "needs `pip install 'paretune[cmaes]'`", needed=False)
    monkeypatch.setattr(capabilities, "check_capability", lambda name: missing)
    (error,) = {
        str(problem).partition(": ")[2] for problem in plan(workdir, sets=("search.sampler=cmaes",)).errors
    }
    assert error == "cmaes needs `pip install 'paretune[cmaes]'`, or take another sampler, such as auto"


@pytest.mark.parametrize(
    ("sets", "setting"),
    [
        (("search.early_exit=[]", "search.exit_reports=4"), "exit_reports"),
        (("search.prune_dominated=true",), "prune_dominated"),
        (("search.earlier_trials=2",), "earlier_trials"),
    ],
)
def test_settings_without_effect_are_warned_of(workdir: Path, sets: tuple[str, ...], setting: str) -> None:
    warnings = [str(warning) for warning in plan(workdir, sets=sets).warnings]
    assert any(f"search.{setting}" in warning and "no effect" in warning for warning in warnings)


def test_a_reason_to_exit_that_does_not_exist_is_an_error(workdir: Path) -> None:
    messages = [str(problem) for problem in plan(workdir, sets=("search.early_exit=[slow]",)).errors]
    assert any("search.early_exit" in message and "diverged" in message for message in messages)
