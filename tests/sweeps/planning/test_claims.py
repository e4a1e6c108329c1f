"""What `plan` says of the claims of a spec: names that no cell has, and what the spec lacks to answer them."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.statistics import response_curve
from reports.statistics.detectable import detectable_difference
from sweeps.planning.assessment.claim_rows import claim_lines, claims_json
from sweeps.planning.claims import obstacles
from sweeps.planning.plan import Plan
from tests.helpers.specs import ONE, SPEC, plan, spec_folder

SEEDS = SPEC.replace("seeds: 1", "seeds: 3")


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return spec_folder(tmp_path)


def made(workdir: Path, claim: str, text: str = SEEDS, **options: str) -> Plan:
    return plan(workdir, f"{text}claims:\n  - {claim}\n", **options)


def lacks(found: Plan) -> list[str]:
    return [each.what for each in found.warnings if each.path.startswith("claims")]


def test_a_claim_that_can_be_answered_is_no_problem(workdir: Path) -> None:
    found = made(workdir, "{kind: within, a: lora, b: sft-full, margin: 0.02}")
    assert not found.errors
    assert lacks(found) == []


def test_a_name_that_no_cell_has_is_refused_with_the_nearest_one(workdir: Path) -> None:
    (problem,) = made(workdir, "{kind: better, a: loraa, b: full}").errors
    assert problem.path == "claims[0].a"
    assert problem.what.startswith("there is no cell loraa. Did you mean lora?")
    (problem,) = made(workdir, "{kind: flat, of: [lora, ful], margin: 0.1}").errors
    assert problem.path == "claims[0].of[1]"


def test_a_cell_is_named_as_the_report_calls_it(workdir: Path) -> None:
    text = SEEDS.replace(ONE, "  - {kind: full}\n  - {kind: lora, rank: {compare: [4, 8]}}\n")
    assert not made(workdir, "{kind: better, a: lora rank8, b: full}", text).errors


def test_a_claim_about_cells_of_one_seed_lacks_others(workdir: Path) -> None:
    (what,) = lacks(made(workdir, "{kind: better, a: lora, b: full}", SPEC))
    assert what.startswith("this claim can't be answered by this spec: each cell is trained with one seed")


def test_a_claim_about_a_cell_that_the_filter_leaves_out_lacks_that(workdir: Path) -> None:
    (what,) = lacks(made(workdir, "{kind: better, a: lora, b: full}", method="lora"))
    assert "full is not among the cells that run" in what


def test_a_claim_about_best_rates_lacks_trials(workdir: Path) -> None:
    claim = "{kind: best_setting, a: lora, b: full, at_least: 5}"
    (few,) = lacks(made(workdir, claim))
    assert "sft-full has 3 trials" in few
    enough = SEEDS.replace("trials: 3", "trials: 6, scheduler: none")
    assert lacks(made(workdir, claim, enough)) == []
    fixed = enough.replace("learning_rate: {log: [1e-4, 5e-3]}", "learning_rate: 0.001")
    (not_searched,) = lacks(made(workdir, claim, fixed))
    assert "does not search its learning rate" in not_searched


def test_flat_over_a_setting_lacks_what_is_not_searched(workdir: Path) -> None:
    whole = SEEDS.replace("trials: 3", "trials: 6, scheduler: none")
    assert lacks(made(workdir, "{kind: flat, of: [lora], setting: method.rank, margin: 0.1}", whole)) == []
    (what,) = lacks(made(workdir, "{kind: flat, of: [lora], setting: method.alpha, margin: 0.1}", whole))
    assert "sft-lora does not search method.alpha (it searches method.rank, train.learning_rate)" in what


def test_flat_over_a_setting_lacks_trials_for_its_values(workdir: Path) -> None:
    claim = "{kind: flat, of: [lora], setting: method.rank, margin: 0.1}"
    many = SEEDS.replace("trials: 3", "trials: 3, scheduler: none").replace("[4, 8]}}", "[1, 2, 4, 8]}}")
    (what,) = lacks(made(workdir, claim, many))
    assert "sft-lora has 3 trials for 4 values of method.rank, and each needs one (search.trials)" in what
    assert lacks(made(workdir, claim, many.replace("trials: 3", "trials: 4"))) == []


def test_a_margin_in_points_is_refused_where_the_quality_is_a_share(workdir: Path) -> None:
    claim = "{kind: within, a: lora, b: full, margin: 2}"
    (problem,) = made(workdir, claim).errors
    assert problem.path == "claims[0].margin"
    assert problem.what == "got 2, and exact match can't differ by more than 1: 2 points are 0.02"
    # Losses may differ by more.
    assert not made(
        workdir, claim, SEEDS.replace("eval_fraction: 0.4", "eval_fraction: 0.4, quality: loss")
    ).errors


def test_a_rates_curve_is_of_as_many_trials_as_a_report_needs() -> None:
    assert obstacles.LEAST_RATES == response_curve.LEAST_TRIALS


def smallest(workdir: Path, claim: str, text: str = SEEDS) -> float | None:
    (values,) = claims_json(made(workdir, claim, text), detectable_difference)
    found: float | None = values["smallest_margin"]
    return found


def test_the_smallest_margin_grows_with_what_has_to_be_shown(workdir: Path) -> None:
    whole = SEEDS.replace("trials: 3", "trials: 6, scheduler: none")
    one_sided = smallest(workdir, "{kind: within, a: lora, b: full, margin: 0.1}", whole)
    both = smallest(workdir, "{kind: within, a: lora, b: full, margin: 0.1, both: true}", whole)
    values = smallest(workdir, "{kind: flat, of: [lora], setting: method.rank, margin: 0.1}", whole)
    assert one_sided is not None
    assert both is not None
    assert values is not None
    # The values of a setting are compared by one training each.
    assert one_sided < both < values
    rows = made(workdir, "{kind: better, a: lora, b: full}").cells[0].quality_rows
    assert rows is not None
    spread = {"row_variance": 0.2, "seed_sd": 0.02, "seed_degrees": 3}
    assert one_sided == detectable_difference(rows.prompts, 3, 1, **spread, sides=1, power=0.8)
    assert one_sided < detectable_difference(rows.prompts, 3, 1, **spread)


def test_no_margin_is_advised_on_where_a_claim_lacks_more_than_rows(workdir: Path) -> None:
    assert smallest(workdir, "{kind: within, a: lora, b: full, margin: 0.1}", SPEC) is None


def test_a_margin_that_no_rows_are_enough_for_says_up_to_how_many(workdir: Path) -> None:
    found = made(workdir, "{kind: within, a: lora, b: full, margin: 0.0001}")
    (line,) = claim_lines(found, detectable_difference)
    assert line.endswith("no number of rows up to 100,000 is enough with these seeds (finalists.seeds)")


def test_forgetting_lacks_a_second_evaluation_set(workdir: Path) -> None:
    (what,) = lacks(made(workdir, "{kind: forgets_less, a: lora, b: full}"))
    assert "second evaluation set" in what


def test_forgetting_is_of_the_further_set_or_of_the_one_that_is_named(workdir: Path) -> None:
    for name in ("text", "other"):
        (workdir / f"{name}.txt").write_text("\n\n".join(f"{name} {number}" for number in range(40)))
    one = SEEDS.replace("eval_fraction: 0.4", "eval_fraction: 0.4, eval: {mine: null, text: text.txt}")
    assert lacks(made(workdir, "{kind: forgets_less, a: lora, b: full}", one)) == []
    two = one.replace("text: text.txt", "text: text.txt, other: other.txt")
    assert lacks(made(workdir, "{kind: forgets_less, a: lora, b: full, set: other}", two)) == []
    (unnamed,) = lacks(made(workdir, "{kind: forgets_less, a: lora, b: full}", two))
    assert "the claim names none (set: text)" in unnamed
    (unknown,) = lacks(made(workdir, "{kind: forgets_less, a: lora, b: full, set: txt}", two))
    assert "no further evaluation set txt, but text and other. Did you mean text?" in unknown
    another = one.replace("{kind: full}", "{kind: full, data: {eval: {text: other.txt}}}")
    (differs,) = lacks(made(workdir, "{kind: forgets_less, a: lora, b: full}", another))
    assert differs.endswith("lora are scored on other data called text")


def test_a_margin_that_the_test_rows_are_too_few_for_is_named_with_those_that_are_enough(
    workdir: Path,
) -> None:
    found = made(workdir, "{kind: within, a: lora, b: full, margin: 0.1}")
    (line,) = claim_lines(found, detectable_difference)
    assert line.startswith("claims[0]: a margin of 10 points is too small for ")
    (values,) = claims_json(found, detectable_difference)
    assert values["smallest_margin"] > 0.1
    assert f"about {values['enough_test_rows']} test rows are enough" in line
    assert list(claim_lines(made(workdir, "{kind: better, a: lora, b: full}"), detectable_difference)) == []


def test_claims_are_no_part_of_what_a_trial_is(workdir: Path) -> None:
    claimed = made(workdir, "{kind: better, a: lora, b: full}")
    without = plan(workdir, SEEDS)
    assert claimed.fingerprint() == without.fingerprint()
    assert "claims" not in without.resolved()
