"""Stages that continue from others: what ``from`` means, which cells wait, and what follows if a chain breaks.

No Ray and no training here; tests/sweeps/planning/test_links.py trains such chains.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from sweeps.planning.plan import Plan
from tests.helpers.searches import search_of
from tests.helpers.specs import SPEC, plan, problems, spec_folder
from tests.sweeps.search.test_searcher import Tune, config_of, end
from trainables.results import read_record

ROWS = [{"prompt": f"say {n}", "chosen": str(n), "rejected": "no"} for n in range(60)]
PAIRS = "data: {train: pairs.jsonl}"
# A range that holds the starting points of both stages.
LINE = SPEC.replace("[1e-4, 5e-3]", "[1e-5, 5e-3]").replace(
    "stages: [{kind: sft}]",
    "stages: [{kind: sft}, {kind: dpo, model: {from: sft}, data: {train: pairs.jsonl}}]",
)


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    spec_folder(tmp_path)
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    return tmp_path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def needs(planned: Plan) -> dict[str, tuple[str, ...]]:
    return {cell.name: cell.depends_on for cell in planned.cells}


# What `from` means


def test_a_stage_means_the_cell_of_the_same_method(workdir: Path) -> None:
    planned = plan(workdir, LINE)
    assert planned.problems == ()
    assert needs(planned) == {
        "sft-full": (),
        "sft-lora": (),
        "dpo-full": ("sft-full",),
        "dpo-lora": ("sft-lora",),
    }


def test_a_cell_means_that_cell_for_every_method(workdir: Path) -> None:
    planned = plan(workdir, LINE.replace("from: sft", "from: sft-lora"))
    assert needs(planned)["dpo-full"] == needs(planned)["dpo-lora"] == ("sft-lora",)


def test_a_stage_may_be_named_and_may_stand_after_the_stage_that_continues_from_it(workdir: Path) -> None:
    text = LINE.replace("{kind: sft}, ", "").replace(
        "pairs.jsonl}}]", "pairs.jsonl}}, {kind: sft, name: first}]"
    )
    planned = plan(workdir, text.replace("from: sft", "from: first"))
    assert needs(planned)["dpo-full"] == ("first-full",)


def test_what_is_compared_beyond_stage_and_method_is_matched(workdir: Path) -> None:
    planned = plan(
        workdir, LINE.replace("{train: rows.jsonl", "{cutoff: {compare: [32, 64]}, train: rows.jsonl")
    )
    assert needs(planned)["dpo-full-cutoff32"] == ("sft-full-cutoff32",)
    assert needs(planned)["dpo-full-cutoff64"] == ("sft-full-cutoff64",)


def test_starts_can_be_compared(workdir: Path) -> None:
    planned = plan(workdir, LINE.replace("from: sft", "from: {compare: [sft-full, sft-lora]}"))
    assert needs(planned)["dpo-full-sft-lora"] == ("sft-lora",)
    assert needs(planned)["dpo-lora-sft-full"] == ("sft-full",)


@pytest.mark.parametrize(
    ("written", "what"),
    [
        (
            "from: sfd",
            "there is no stage, cell, trial or folder sfd; stages of this spec: sft, dpo. Did you mean sft?",
        ),
        ("from: dpo", "dpo-full would continue from itself (dpo-full from dpo-full)"),
        ("from: 3", "got 3; allowed: a stage, a cell, RUN, RUN:CELL, RUN:TRIAL, or a trial's folder"),
        ("from: run", "holds no model: give the folder of a finished trial, or the model folder in it"),
        ("from: nowhere:sft", "there is no stage, cell, trial or folder nowhere:sft"),
        ("from: model", "was not saved by a trial; write model: {path: ...} for any other model"),
        (
            "from: {choice: [sft-full, sft-lora]}",
            "model.from can't be searched, only compared: write {compare: [...]}",
        ),
        (
            "start: {cell: sft-full}",
            "unknown key; allowed: name, path, dtype, attention, kernels, rope, unsafe, quantization, from",
        ),
    ],
)
def test_a_start_that_cannot_be_is_an_error_at_its_line(
    workdir: Path, run: Path, written: str, what: str
) -> None:
    found = problems(workdir, LINE.replace("from: sft", written))
    assert all(problem.startswith("spec.yaml:4 stages[1].model") for problem in found), found
    assert any(what in problem for problem in found), found


@pytest.mark.parametrize(
    ("method", "why"),
    [
        ("{kind: peft, type: prompt_tuning, num_virtual_tokens: 4}", "puts virtual tokens before each text"),
        ("{kind: peft, type: lily}", "PEFT has no merged form of lily"),
    ],
)
def test_no_stage_continues_from_an_adapter_that_cannot_be_merged(
    workdir: Path, method: str, why: str
) -> None:
    text = LINE.replace("{kind: full}", "{kind: full, name: whole}").replace(
        "{kind: lora, rank: {choice: [4, 8]}}", method
    )
    (found,) = problems(workdir, text)
    assert found.startswith("spec.yaml:4 stages[1].model.from: no stage can continue from sft-")
    assert why in found
    assert not problems(workdir, text.replace("from: sft", "from: sft-whole"))


def test_a_circle_is_an_error_that_names_its_cells(workdir: Path) -> None:
    text = LINE.replace("{kind: sft}", "{kind: sft, model: {from: dpo}}")
    (found,) = [problem for problem in problems(workdir, text) if "sft-full would" in problem]
    assert "sft-full would continue from itself (sft-full from dpo-full from sft-full)" in found


def test_a_stage_without_one_cell_of_the_method_asks_for_a_cell(workdir: Path) -> None:
    two = "stages: [{kind: sft, name: a}, {kind: sft, name: b, data: {cutoff: 64}},"
    found = problems(workdir, LINE.replace("stages: [{kind: sft},", two))
    assert any(
        "sft has no single cell of the method full; name one of a-full, a-lora, b-full" in p for p in found
    )


def test_nothing_continues_from_a_reward_model(workdir: Path) -> None:
    text = LINE.replace("{kind: sft}", f"{{kind: reward, {PAIRS}}}").replace("from: sft", "from: reward")
    assert any("reward-full predicts no tokens" in problem for problem in problems(workdir, text))


def test_nothing_but_a_reward_model_rewards(workdir: Path) -> None:
    text = LINE.replace(f"kind: dpo, model: {{from: sft}}, {PAIRS}", "kind: ppo, reward: {from: sft}")
    assert any("sft-full gives no rewards" in problem for problem in problems(workdir, text))


def test_a_reward_adapter_and_the_policy_must_stand_on_the_same_weights(workdir: Path) -> None:
    text = LINE.replace(
        f"{PAIRS}}}]",
        f"{PAIRS}}}, {{kind: reward, {PAIRS}}}, {{kind: ppo, reward: {{from: reward}}, model: {{from: sft}}}}]",
    )

    def about_ppo(text: str) -> list[str]:
        # That these policies have different reward models is a warning of its own.
        return [each for each in problems(workdir, text) if "ppo" in each and "nor a scale" not in each]

    (only,) = about_ppo(text)
    assert "reward-lora gives an adapter on the base model, and ppo-lora starts from sft-lora" in only
    same = text.replace("{kind: reward, data", "{kind: reward, model: {from: sft}, data")
    assert not about_ppo(same)


def test_rows_that_an_earlier_stage_trains_on_are_not_held_out_unnoticed(workdir: Path) -> None:
    found = problems(workdir, LINE.replace("pairs.jsonl}", "pairs.jsonl, eval_fraction: 0.9}"))
    what = (
        "rows that dpo-full is scored on open with a user turn that sft-full trains on; hold out the same prompts in "
        "both"
    )
    assert any(what in problem for problem in found)
    # Nor under another spelling.
    shouted = [{**row, "prompt": f"{row['prompt'].upper()} "} for row in ROWS]
    (workdir / "pairs.jsonl").write_text("\n".join(map(json.dumps, shouted)))
    again = problems(workdir, LINE.replace("pairs.jsonl}", "pairs.jsonl, eval_fraction: 0.9}"))
    assert [problem for problem in again if what in problem] == [
        problem for problem in found if what in problem
    ]


def test_another_template_than_before_is_a_warning(workdir: Path) -> None:
    text = LINE.replace("pairs.jsonl}", "pairs.jsonl, template: chatml}")
    found = problems(workdir, text)
    assert any("is trained with the template of the model, dpo-full with chatml" in p for p in found)


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("default_system: Be kind.", 'data.default_system none, dpo-full with "Be kind."'),
        ("tool_format: qwen", 'data.tool_format none, dpo-full with "qwen"'),
        ("tool_format: omit", None),  # changes no text
    ],
)
def test_another_system_text_or_form_of_tools_than_before_is_a_warning(
    workdir: Path, setting: str, values: str | None
) -> None:
    found = problems(workdir, LINE.replace("pairs.jsonl}", f"pairs.jsonl, {setting}}}"))
    about_it = [problem for problem in found if "sft-full is trained with" in problem]
    assert (f"sft-full is trained with {values}; give both the same" in "".join(about_it)) == bool(values)
    assert bool(about_it) == bool(values)


def test_a_filter_keeps_the_cells_that_its_cells_continue_from(workdir: Path) -> None:
    planned = plan(workdir, LINE, stage="dpo", method="lora")
    assert [cell.name for cell in planned.cells] == ["sft-lora", "dpo-lora"]
    assert planned.selected == ("dpo-lora",)


def test_every_start_has_a_base_row_of_its_own(workdir: Path) -> None:
    assert [base.cell for base in plan(workdir, LINE).bases] == [
        "sft-base",
        "dpo-base-sft-full",
        "dpo-base-sft-lora",
    ]


# Who waits for whom


def proposals(tune: Tune) -> list[dict[str, Any]]:
    """All that can be had now; what is held back isn't asked for again."""
    found = []
    while True:
        tune.count += 1
        config = tune.search.suggest(f"tune-{tune.count}")
        if config is None or config == Searcher.FINISHED:
            return found
        tune.ours[config["trial_id"]] = f"tune-{tune.count}"
        found.append(config)


def finish(tune: Tune, run: Path, configs: list[dict[str, Any]], status: str = "done") -> None:
    for number, config in enumerate(configs):
        end(run, config["trial_id"], status, 0.1 * number if status == "done" else None)
        tune.complete(config["trial_id"])


def test_a_cell_begins_when_the_one_it_continues_from_has_ended_whatever_else_runs(
    workdir: Path, run: Path
) -> None:
    tune = Tune(search_of(plan(workdir, LINE), run))
    first = proposals(tune)
    assert {config["cell"] for config in first} == {"sft-base", "sft-full", "sft-lora"}
    full = [config for config in first if config["cell"] == "sft-full"]
    finish(tune, run, full[:-1])
    assert proposals(tune) == []
    finish(tune, run, full[-1:])
    assert [config["cell"] for config in proposals(tune)] == ["dpo-base-sft-full", *["dpo-full"] * 3]


def test_all_trials_of_a_cell_start_from_the_best_of_the_other(workdir: Path, run: Path) -> None:
    tune = Tune(search_of(plan(workdir, LINE), run))
    first = proposals(tune)
    finish(tune, run, first)
    best = [config for config in first if config["cell"] == "sft-full"][-1]["trial_id"]
    for proposed in proposals(tune):
        config = config_of(run, proposed["trial_id"])
        if "full" in config.cell:
            assert config.model.start is not None
            assert config.model.start.trial == best
            assert config.model.start.folder == run / "trials" / best / "model"
            assert config.identity()["start_trial"] == best


def test_the_id_of_a_trial_says_what_it_starts_from_and_no_path(workdir: Path, run: Path) -> None:
    config = plan(workdir, LINE).cell("dpo-full").first()

    def starting(trial: str, place: str) -> str:
        assert config.model.start is not None
        start = config.model.start.model_copy(update={"trial": trial, "folder": Path(place)})
        return config.model_copy(
            update={"model": config.model.model_copy(update={"start": start})}
        ).trial_id()

    assert starting("abc", "/here") == starting("abc", "/there") != starting("abd", "/here")


def test_a_line_whose_start_failed_ends_with_rows_that_say_so(workdir: Path, run: Path) -> None:
    text = LINE.replace("pairs.jsonl}}]", "pairs.jsonl}}, {kind: sft, name: again, model: {from: dpo}}]")
    tune = Tune(search_of(plan(workdir, text), run))
    finish(tune, run, [c for c in proposals(tune) if c["cell"] == "sft-full"], "failed")
    assert not [c for c in proposals(tune) if "full" in c["cell"]]
    records = filter(None, (read_record(path) for path in (run / "trials").iterdir()))
    errors = {record.cell: record.error for record in records if record.cell != "sft-full"}
    assert "it continues from the best trial of sft-full, and no trial of that cell is done" in str(
        errors["dpo-full"]
    )
    assert "best trial of dpo-full" in str(errors["again-full"])
    assert set(errors) == {"dpo-full", "dpo-base-sft-full", "again-full", "again-base-dpo-full"}


def test_a_resumed_run_continues_from_the_trial_that_was_chosen(workdir: Path, run: Path) -> None:
    tune = Tune(search_of(plan(workdir, LINE), run))
    finish(tune, run, proposals(tune))
    interrupted = proposals(tune)
    finish(tune, run, interrupted[:2])
    again = Tune(search_of(plan(workdir, LINE), run))
    assert again.search.work.any_remaining()
    assert {c["trial_id"] for c in proposals(again)} == {c["trial_id"] for c in interrupted[2:]}


def test_more_trials_of_the_first_stage_leave_the_second_where_it_started(workdir: Path, run: Path) -> None:
    tune = Tune(search_of(plan(workdir, LINE), run))
    finish(tune, run, proposals(tune))
    started = {config_of(run, c["trial_id"]).model.start for c in proposals(tune) if c["cell"] == "dpo-full"}
    more = Tune(search_of(plan(workdir, LINE, ("search.trials=4",)), run))
    fresh = [config_of(run, c["trial_id"]) for c in proposals(more)]
    assert {config.model.start for config in fresh if config.cell == "dpo-full"} == started
    assert "sft-full" in {config.cell for config in fresh}


def test_nothing_is_left_once_every_line_has_ended(workdir: Path, run: Path) -> None:
    tune = Tune(search_of(plan(workdir, LINE), run))
    while found := proposals(tune):
        finish(tune, run, found)
    assert tune.search.suggest("last") == Searcher.FINISHED
    assert not search_of(plan(workdir, LINE), run).work.any_remaining()
