"""One cell's Optuna study: what it proposes, that it proposes the same again, and which results it stores."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from sweeps.planning.plan import Cell
from sweeps.search.draws import value_at
from sweeps.search.journal import journal_path, repair_journal
from sweeps.search.study import DIMENSIONS, TRIAL_ID, CellStudy, share_dimensions
from tests.helpers.specs import ONE, SPEC, plan
from trainables.storage.damaged_files import DamagedFile

SAMPLERS = ("tpe", "random", "qmc", "cmaes")
FINITE = SPEC.replace("{log: [1e-4, 5e-3]}", "1e-3")


def cell(workdir: Path, name: str = "sft-lora", text: str = SPEC, **search: Any) -> Cell:
    sets = tuple(f"search.{key}={value}" for key, value in search.items())
    return plan(workdir, text, sets).cell(name)


def finish(study: CellStudy, trial_id: str, objective: float) -> None:
    study.tell(trial_id, "done", objective)


def spend(study: CellStudy) -> list[Any]:
    """Asks until the study has no more; every trial is done before the next is asked for."""
    found = []
    while (config := study.ask()) is not None:
        found.append(config)
        finish(study, config.trial_id(), -config.train.learning_rate * getattr(config.method, "rank", 1))
    return found


def test_the_methods_known_good_value_comes_first(workdir: Path) -> None:
    planned = cell(workdir)
    config = CellStudy(workdir, planned).ask()
    assert config is not None
    assert planned.prior() == {
        "train.learning_rate": config.train.learning_rate,
        "method.rank": config.method.rank,
    }


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_budget_is_spent_to_the_trial_and_no_config_comes_twice(workdir: Path, sampler: str) -> None:
    study = CellStudy(workdir, cell(workdir, trials=12, sampler=sampler))
    ids = [config.trial_id() for config in spend(study)]
    assert len(ids) == len(set(ids)) == 12
    assert len(study.study.trials) == 12


@pytest.mark.parametrize("sampler", [*SAMPLERS, "gp"])
def test_a_finite_space_is_run_whole_and_then_ends(workdir: Path, sampler: str) -> None:
    text = FINITE.replace("rank: {choice: [4, 8]}", "rank: {choice: [2, 4, 8]}, alpha: {choice: [8, 16]}")
    planned = cell(workdir, text=text, trials=50, sampler=sampler)
    study = CellStudy(workdir, planned)
    ran = {(config.method.rank, config.method.alpha) for config in spend(study)}
    assert ran == {(rank, alpha) for rank in (2, 4, 8) for alpha in (8, 16)}
    assert planned.trials == len(study.study.trials) == 6


STEPPED = FINITE.replace("rank: {choice: [4, 8]}", "dropout: {uniform: [0, 0.3], step: 0.1}")


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_values_in_steps_are_written_without_the_rest_of_floating_point(workdir: Path, sampler: str) -> None:
    found = spend(CellStudy(workdir, cell(workdir, text=STEPPED, trials=12, sampler=sampler)))
    assert sorted(config.method.dropout for config in found) == [0.0, 0.1, 0.2, 0.3]


def test_a_value_that_an_earlier_version_kept_with_that_rest_is_not_tried_again(workdir: Path) -> None:
    text = STEPPED.replace("[0, 0.3], step: 0.1", "[0.1, 0.7], step: 0.2")
    study = CellStudy(workdir, cell(workdir, text=text, trials=12))
    kept = {"method.dropout": 0.1 + 0.2}
    study._add(earlier := study.cell.config(kept), kept, "random")
    assert study.config_of(earlier.trial_id()).method.dropout == 0.30000000000000004
    assert sorted(config.method.dropout for config in spend(study)) == [0.1, 0.5, 0.7]


def test_a_cell_with_nothing_to_search_runs_once(workdir: Path) -> None:
    assert len(spend(CellStudy(workdir, cell(workdir, "sft-full", FINITE)))) == 1


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("lag", [0, 2], ids=["one at a time", "three at a time"])
def test_the_same_seed_proposes_the_same_also_when_reopened_before_each_ask(
    workdir: Path, tmp_path: Path, sampler: str, lag: int
) -> None:
    planned = cell(workdir, trials=10, sampler=sampler, seed=3)
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir(), other.mkdir()
    kept = CellStudy(one, planned)
    proposals: tuple[list[Any], list[Any]] = ([], [])
    for number in range(10):
        for place, study in enumerate((kept, CellStudy(other, planned))):
            proposals[place].append(study.ask())
            if number >= lag:
                done = proposals[place][number - lag]
                finish(study, done.trial_id(), -abs(done.train.learning_rate - 1e-3))
    assert proposals[0] == proposals[1]
    assert None not in proposals[0]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_another_seed_proposes_something_else(workdir: Path, tmp_path: Path, sampler: str) -> None:
    found = []
    for seed in (0, 1):
        run = tmp_path / str(seed)
        run.mkdir()
        found.append(spend(CellStudy(run, cell(workdir, trials=4, sampler=sampler, seed=seed)))[1:])
    assert found[0] != found[1]


@pytest.mark.parametrize(("sampler", "common"), [("random", 8), ("tpe", 5), ("qmc", 8)])
def test_cells_draw_the_same_learning_rates_as_long_as_draws_are_random(
    workdir: Path, tmp_path: Path, sampler: str, common: int
) -> None:
    """After the first, which is each method's own good value."""
    rates = []
    for name in ("sft-full", "sft-lora"):
        run = tmp_path / name
        run.mkdir()
        configs = spend(CellStudy(run, cell(workdir, name, trials=8, sampler=sampler)))
        rates.append([config.train.learning_rate for config in configs])
    assert rates[0][1:common] == rates[1][1:common]
    assert rates[0][common:] != rates[1][common:] or common == 8


TWO_SPACES = """\
  - {kind: lora, name: narrow, rank: {choice: [4, 8, 16, 32]}, dropout: {uniform: [0.0, 0.3]}}
  - {kind: lora, name: wide, alpha: {choice: [8, 16]}, rank: {choice: [4, 8, 16, 32]}, dropout: {uniform: [0.0, 0.3]}}
"""


@pytest.mark.parametrize(("sampler", "common"), [("random", 7), ("qmc", 7), ("tpe", 5), ("gp", 5)])
def test_cells_draw_the_same_values_of_every_setting_that_they_share(
    workdir: Path, sampler: str, common: int
) -> None:
    """After the first, which is each method's own good value; whatever else each cell searches."""
    planned = plan(workdir, SPEC.replace(ONE, TWO_SPACES), ("search.trials=7", f"search.sampler={sampler}"))
    studies = [CellStudy(workdir, cell) for cell in planned.cells]
    share_dimensions(studies)
    narrow, wide = (
        [(c.train.learning_rate, c.method.rank, c.method.dropout) for c in spend(s)] for s in studies
    )
    assert len(set(narrow)) == 7
    assert narrow[1:common] == wide[1:common]


def test_a_quasi_random_search_that_has_begun_keeps_its_sequence(workdir: Path) -> None:
    """Also where it began in a version in which each cell had a sequence of its own."""
    narrow, wide = plan(
        workdir, SPEC.replace(ONE, TWO_SPACES), ("search.trials=6", "search.sampler=qmc")
    ).cells
    whole, half = workdir / "whole", workdir / "half"
    whole.mkdir(), half.mkdir()
    expected = spend(CellStudy(whole, narrow))
    begun = CellStudy(half, narrow)
    for _ in range(3):
        finish(begun, begun.ask().trial_id(), 0.0)  # type: ignore[union-attr]
    again = CellStudy(half, narrow)
    share_dimensions([again, CellStudy(half, wide)])
    assert spend(again) == expected[3:]


@pytest.mark.parametrize("sampler", ["random", "qmc"])
def test_what_random_and_qmc_propose_depends_on_the_number_and_not_on_results(
    workdir: Path, tmp_path: Path, sampler: str
) -> None:
    planned = cell(workdir, trials=8, sampler=sampler)
    reported, untold = tmp_path / "reported", tmp_path / "untold"
    reported.mkdir(), untold.mkdir()
    waiting = CellStudy(untold, planned)
    assert spend(CellStudy(reported, planned)) == [waiting.ask() for _ in range(8)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_failures_do_not_keep_a_sampler_from_proposing(workdir: Path, sampler: str) -> None:
    study = CellStudy(workdir, cell(workdir, trials=6, sampler=sampler))
    for _ in range(6):
        config = study.ask()
        assert config is not None
        study.tell(config.trial_id(), "failed", None)
    assert len({tuple(trial.params.values()) for trial in study.study.trials}) == 6


@pytest.mark.parametrize("status", ["out_of_memory", "failed"])
def test_tpe_keeps_away_from_what_did_not_come_to_an_end(workdir: Path, status: Any) -> None:
    text = SPEC.replace("batch_size: 2", "batch_size: {choice: [2, 4, 8, 16]}")
    study = CellStudy(workdir, cell(workdir, "sft-full", text, trials=40))
    tried = []
    while (config := study.ask()) is not None:
        tried.append(config.train.batch_size)
        well = config.train.batch_size < 8
        study.tell(config.trial_id(), "done" if well else status, 0.5 if well else None)
    assert sum(size >= 8 for size in tried[20:]) < 10  # by chance it were 10; TPE left to itself takes all 20


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_cell_in_which_nothing_fits_ends_like_any_other(workdir: Path, sampler: str) -> None:
    study = CellStudy(workdir, cell(workdir, trials=6, sampler=sampler))
    while (config := study.ask()) is not None:
        study.tell(config.trial_id(), "out_of_memory", None, excess=0.5)
    assert study.ended()
    assert [trial.constraints for trial in study.study.trials] == [{"memory": 0.5}] * 6


@pytest.mark.parametrize(
    ("sampler", "origins"),
    [
        ("tpe", ["start", *["random"] * 4, "results", "results"]),
        ("random", ["start", *["random"] * 6]),
        ("qmc", ["start", *["quasi-random"] * 6]),
    ],
)
def test_a_study_keeps_where_each_trials_settings_come_from(
    workdir: Path, sampler: str, origins: list[str]
) -> None:
    study = CellStudy(workdir, cell(workdir, trials=7, sampler=sampler))
    spend(study)
    assert [trial.user_attrs["origin"] for trial in study.study.trials] == origins


def test_what_is_left_of_a_finite_space_is_no_draw(workdir: Path) -> None:
    study = CellStudy(workdir, cell(workdir, text=FINITE, trials=6, sampler="qmc"))
    spend(study)
    origins = [trial.user_attrs["origin"] for trial in study.study.trials]
    assert origins[0] == "start"
    assert set(origins) <= {"start", "quasi-random", "rest"}


@pytest.mark.parametrize(
    ("distribution", "values"),
    [
        (FloatDistribution(1e-4, 1e-2, log=True), [1e-4, 10**-3.5, 1e-3, 10**-2.5]),
        (FloatDistribution(0.0, 2.0), [0.0, 0.5, 1.0, 1.5]),
        (FloatDistribution(0.0, 0.3, step=0.1), [0.0, 0.1, 0.2, 0.3]),
        (IntDistribution(2, 8, step=2), [2, 4, 6, 8]),
        (IntDistribution(1, 4), [1, 2, 3, 4]),
        (CategoricalDistribution(["a", None, 8, 16]), ["a", None, 8, 16]),
    ],
)
def test_quarters_of_a_domain_have_a_quarter_of_its_values(distribution: Any, values: list[Any]) -> None:
    found = [value_at(distribution, share) for share in (0.0, 0.25, 0.5, 0.75)]
    assert found == (pytest.approx(values) if isinstance(values[0], float) else values)
    assert distribution._contains(distribution.to_internal_repr(value_at(distribution, 1 - 1e-12)))


def test_whole_numbers_on_a_log_scale_have_their_width_of_it() -> None:
    drawn = [value_at(IntDistribution(1, 8, log=True), share / 1000) for share in range(1000)]
    assert set(drawn) == set(range(1, 9))
    assert drawn == sorted(drawn)
    assert drawn.count(2) / 1000 == pytest.approx(math.log(2.5 / 1.5) / math.log(8.5 / 0.5), abs=2e-3)


def test_qmc_covers_choices_and_numbers(workdir: Path) -> None:
    found = spend(CellStudy(workdir, cell(workdir, trials=16, sampler="qmc")))[1:]
    assert {config.method.rank for config in found} == {4, 8}
    thirds = [int((config.train.learning_rate / 1e-4) ** (1 / 1.3)) for config in found]
    assert min(thirds) < 3 < max(thirds)


def test_tpe_leans_to_where_it_was_good(workdir: Path) -> None:
    # Less learning rate and rank is better here.
    found = spend(CellStudy(workdir, cell(workdir, trials=40, sampler="tpe")))
    assert sum(config.train.learning_rate < 5e-4 for config in found[20:]) > 12


def test_lists_as_choices_come_back_as_lists(workdir: Path) -> None:
    text = FINITE.replace("rank: {choice: [4, 8]}", "targets: {choice: [all-linear, [embed_tokens, q_proj]]}")
    found = [config.method.targets for config in spend(CellStudy(workdir, cell(workdir, text=text)))]
    assert sorted(found, key=str) == [("embed_tokens", "q_proj"), "all-linear"]


def test_trials_get_the_state_in_their_study_that_matches_how_they_ended(workdir: Path) -> None:
    study = CellStudy(workdir, cell(workdir, trials=6))
    ids = [study.ask().trial_id() for _ in range(6)]  # type: ignore[union-attr]
    study.report(ids[1], 2, 0.25)
    study.report(ids[1], 6, 0.5)
    study.report(ids[1], 6, 0.75)  # a resumed trial says it again
    endings = [("done", 0.9), ("stopped", 0.5), ("out_of_memory", None), ("failed", None), ("done", None)]
    for trial_id, (status, objective) in zip(ids, endings, strict=False):
        study.tell(trial_id, status, objective)  # type: ignore[arg-type]
    states = [trial.state.name for trial in study.study.trials]
    assert states == ["COMPLETE", "PRUNED", "PRUNED", "FAIL", "FAIL", "RUNNING"]
    assert [trial.constraints for trial in study.study.trials] == [{}, {}, {"memory": 1.0}, {}, {}, {}]
    assert study.study.trials[0].value == 0.9
    assert study.study.trials[1].intermediate_values == {2: 0.25, 6: 0.5}
    assert study.study.trials[1].value == 0.5
    study.tell(ids[0], "failed", None)
    assert study.study.trials[0].state == TrialState.COMPLETE  # told once


def test_unfinished_trials_are_listed_whole_also_after_reopening(workdir: Path) -> None:
    planned = cell(workdir)
    study = CellStudy(workdir, planned)
    first, second = study.ask(), study.ask()
    assert first is not None
    finish(study, first.trial_id(), 0.5)
    assert CellStudy(workdir, planned).unfinished() == [second]


def test_anybody_can_read_the_study_with_optuna(workdir: Path) -> None:
    planned = cell(workdir)
    spend(CellStudy(workdir, planned))
    backend = optuna.storages.journal.JournalFileBackend(str(journal_path(workdir, planned.name)))
    study = optuna.load_study(study_name=planned.name, storage=optuna.storages.JournalStorage(backend))
    assert [set(trial.params) for trial in study.trials] == [{"method.rank", "train.learning_rate"}] * 3
    assert [trial.number for trial in study.trials] == [0, 1, 2]
    assert all(len(trial.user_attrs[TRIAL_ID]) == 12 for trial in study.trials)
    assert study.best_trial.value == max(trial.value for trial in study.trials)


def test_a_killed_drivers_lock_and_half_line_do_not_spoil_the_journal(workdir: Path) -> None:
    planned = cell(workdir)
    first = CellStudy(workdir, planned).ask()
    path = journal_path(workdir, planned.name)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 6, "worker')
    path.with_name(f"{path.name}.lock").symlink_to(path)
    study = CellStudy(workdir, planned)
    assert study.unfinished() == [first]
    second = study.ask()
    assert CellStudy(workdir, planned).unfinished() == [first, second]


def test_mending_leaves_a_whole_journal_and_one_that_is_not_there_alone(tmp_path: Path) -> None:
    repair_journal(tmp_path / "none.journal")
    (tmp_path / "one.journal").write_bytes(b"{}\n{}\n")
    repair_journal(tmp_path / "one.journal")
    assert (tmp_path / "one.journal").read_bytes() == b"{}\n{}\n"


def test_the_journal_of_a_search_names_no_trial_outside_of_the_run(workdir: Path) -> None:
    planned = cell(workdir)
    study = CellStudy(workdir, planned)
    config = study.ask()
    assert config is not None
    study.journal.write_text(study.journal.read_text().replace(config.trial_id(), "../../x"))
    with pytest.raises(DamagedFile, match=r"journal is damaged.*could lead out"):
        CellStudy(workdir, planned).proposed()


def with_dimensions(workdir: Path, kept: Any) -> Cell:
    """A cell whose journal has these dimensions."""
    planned = cell(workdir, trials=4, sampler="qmc")
    CellStudy(workdir, planned).study.set_user_attr(DIMENSIONS, kept)
    return planned


@pytest.mark.parametrize("kept", [["method.rank"], ["gone", "method.rank"]])
def test_settings_that_the_kept_order_of_a_quasi_random_search_lacks_come_after_it(
    workdir: Path, kept: list[str]
) -> None:
    study = CellStudy(workdir, with_dimensions(workdir, kept))
    share_dimensions([study])
    assert study.dimensions == (*kept, "train.learning_rate")
    assert len(spend(study)) == 4


@pytest.mark.parametrize("kept", ["train.learning_rate", ["method.rank", 3], {"method.rank": 0}, 7, None])
def test_an_order_that_is_no_list_of_settings_is_a_damaged_journal(workdir: Path, kept: Any) -> None:
    planned = with_dimensions(workdir, kept)
    with pytest.raises(DamagedFile, match=r"journal is damaged: its dimensions are .* no list of settings"):
        CellStudy(workdir, planned)
