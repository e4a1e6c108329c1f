"""What `plan` says of the differences that a comparison could tell, from the rows that there are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reports.statistics.detectable import detectable_difference
from sweeps import cli
from sweeps.planning.assessment.power import power, power_lines
from tests.helpers.specs import SPEC, plan, spec_folder

WITH_FINALISTS = SPEC.replace("finalists: {seeds: 1}\n", "")


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return spec_folder(tmp_path)


def lines(workdir: Path, text: str = SPEC, *sets: str) -> list[str]:
    return list(power_lines(plan(workdir, text, sets), detectable_difference))


def test_a_plan_says_what_its_test_rows_could_tell_and_what_more_would(workdir: Path) -> None:
    (found,) = power(plan(workdir, SPEC, ("data.eval_rows=4",)), detectable_difference)
    # Two in five of 60 rows are held out, about half of them for testing.
    assert (found.rows, found.seeds, found.pairs) == (4, 1, 1)
    assert 6 <= found.held_out <= 18
    assert list(found.differences) == sorted({4, found.held_out, 100})
    assert found.differences[100] == pytest.approx(
        100 * detectable_difference(100, 1, 1, row_variance=0.2, seed_sd=0)
    )
    sentence, assumed = lines(workdir, SPEC, "data.eval_rows=4")
    assert sentence.startswith(
        "sft: 4 test rows, 2 cells: differences in exact match under about 65 points will"
    )
    assert f"all {found.held_out} held-out rows (data.eval_rows) would see" in sentence
    assert sentence.endswith("100 rows would see 13")
    assert assumed == "assumed for exact match: two cells differ in 1 of 5 rows; found in 4 of 5 cases"


def test_finalists_bring_the_seeds_error_which_more_rows_do_not_lessen(workdir: Path) -> None:
    sentence, assumed = lines(workdir, WITH_FINALISTS)
    assert "test rows, 3 seeds, 2 cells" in sentence
    assert sentence.endswith("no number of rows would see less than 6.8, more seeds would (finalists.seeds)")
    assert "seeds spread by 2 points" in assumed


def test_no_number_of_rows_would_see_less_than_what_is_said_to_be_the_least(workdir: Path) -> None:
    (found,) = power(plan(workdir, WITH_FINALISTS, ()), detectable_difference)
    rate = {"row_variance": 0.2, "seed_sd": 0.02, "seed_degrees": 3}
    seen = [100 * detectable_difference(rows, 3, 1, **rate) for rows in (50, 100, 300, 1000, 3000, 10**6)]  # type: ignore[arg-type]
    assert min(seen) >= 0.98 * found.limit


def test_all_pairs_of_cells_are_corrected_for(workdir: Path) -> None:
    four = SPEC.replace("- {kind: full}", "- {kind: full}\n  - {kind: freeze, layers: 1}")
    assert "3 cells" in lines(workdir, four)[0]
    assert lines(workdir, four)[1].endswith("found in 4 of 5 cases, corrected for 3 pairs")


def test_losses_are_counted_in_shares_of_the_loss(workdir: Path) -> None:
    sentence, assumed = lines(workdir, WITH_FINALISTS, "data.quality=loss")
    assert " % of the loss will stay unsettled" in sentence
    assert assumed.startswith(
        "assumed for loss: a row's loss differs by half of the mean loss (sd), seeds spread by 3 %"
    )


def test_the_command_shows_it_and_its_json_has_the_numbers(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workdir)
    (workdir / "spec.yaml").write_text(SPEC)
    shown = CliRunner().invoke(cli.app, ["plan", "spec.yaml"])
    assert lines(workdir)[0] in shown.stdout
    found = json.loads(CliRunner().invoke(cli.app, ["plan", "spec.yaml", "--json"]).stdout)["power"]
    assert [(each["cells"], each["unit"]) for each in found] == [(["sft-full", "sft-lora"], "points")]
    assert found[0]["differences"][str(found[0]["test_rows"])] > found[0]["limit"]
