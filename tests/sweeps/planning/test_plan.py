"""The plan: which cells a spec means, what they are called, their budgets, and what a run may change."""

from __future__ import annotations

import io
import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sweeps.console.plan_table import show_plan
from sweeps.planning.checks.probes import probe_values
from sweeps.planning.conventions import SECOND, THIRD
from sweeps.planning.plan import Cell, Plan, make
from sweeps.planning.plan_json import plan_json
from sweeps.spec.domain_parser import Choice, Log
from sweeps.spec.naming import MAX_LENGTH, distinguishing_tags, is_safe, join_name, safe_name, setting_tag
from sweeps.spec.settings import SearchConfig
from sweeps.spec.spec import read
from tests.helpers import sweeps
from tests.helpers.specs import ONE, SPEC, plan, problems, spec_folder
from trainables.data.loading import load


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return spec_folder(tmp_path)


def methods(*entries: str) -> str:
    """The spec with these methods."""
    return SPEC.replace(ONE, "".join(f"  - {entry}\n" for entry in entries))


NO_TYPE = "its config.json names no model_type, by which a class would be found"
# Given, so that no note says what was chosen for the machine that the tests run on.
RESOURCES = "resources={gpus: 0, cpus: 1, concurrent: 2}"
ENDING_NOTES = (
    "a trial whose training diverges ends early (search.early_exit), but for finalists",
    "trials that end early are not scored on the test rows, and on CPUs their memory is predicted alone "
    "(search.score_stopped)",
)
DATA_NOTES = (
    "rows.jsonl: completion format (detected from its columns: prompt, completion as response)",
    "data rows.jsonl: 38 training, 11 validation and 11 test rows",
    "data rows.jsonl: 100% of the held-out answers have at most 40 characters on one line, so that quality is exact "
    "match (data.quality: another measure)",
)


def names(planned: Plan) -> list[str]:
    assert planned.errors == ()
    return [cell.name for cell in planned.cells]


# Names


def test_cells_are_every_stage_with_every_method(workdir: Path) -> None:
    text = SPEC.replace("[{kind: sft}]", "[{kind: sft}, {kind: sft, train_on_prompt: true}]")
    assert names(plan(workdir, text)) == [
        "sft-full",
        "sft-lora",
        "sft-train_on_prompt-full",
        "sft-train_on_prompt-lora",
    ]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (["{kind: lora}", "{kind: lora, rslora: true}"], ["lora", "lora-rslora"]),
        (["{kind: lora, rslora: false}", "{kind: lora, rslora: true}"], ["lora", "lora-rslora"]),
        (["{kind: freeze, layers: 1}", "{kind: freeze, layers: 2}"], ["freeze-layers1", "freeze-layers2"]),
        (["{kind: qlora}", "{kind: qlora, bits: 8}"], ["qlora-4bit", "qlora-8bit"]),
        (["{kind: qlora, bits: {choice: [4, 8]}}"], ["qlora"]),
        (["{kind: qlora, bits: {compare: [4, 8]}}"], ["qlora-4bit", "qlora-8bit"]),
        (["{kind: lora, rank: {compare: [4, 8]}}"], ["lora-rank4", "lora-rank8"]),
        (["{kind: {compare: [full, lora]}}"], ["full", "lora"]),
        (["{kind: lora, name: mine}", "{kind: lora}"], ["mine", "lora"]),
        (["{kind: lora, name: mine, rank: {compare: [4, 8]}}"], ["mine-rank4", "mine-rank8"]),
        (["{kind: lora}", "{kind: lora, init: pissa}"], ["lora", "lora-pissa"]),
        (
            ["{kind: lora, rank: {choice: [4, 8]}}", "{kind: lora, rank: 16}"],
            ["lora-rank4-8", "lora-rank16"],
        ),
        (
            ["{kind: lora}", "{kind: lora, train: {learning_rate: 1e-3}}"],
            ["lora", "lora-learning_rate0.001"],
        ),
    ],
)
def test_a_method_is_named_by_the_settings_in_which_it_differs(
    workdir: Path, entries: list[str], expected: list[str]
) -> None:
    planned = plan(workdir, methods(*entries))
    assert names(planned) == [f"sft-{name}" for name in expected]
    assert [cell.method for cell in planned.cells] == expected


def test_a_compared_setting_of_all_cells_is_an_axis_at_the_names_end(workdir: Path) -> None:
    planned = plan(workdir, SPEC, ("train.weight_decay={compare: [0, 0.1]}",))
    assert names(planned) == [f"sft-{m}-weight_decay{w}" for m in ("full", "lora") for w in ("0", "0.1")]
    assert [cell.method for cell in planned.cells] == ["full", "full", "lora", "lora"]
    assert {cell.config({"train.learning_rate": 1e-3}).train.weight_decay for cell in planned.cells[:2]} == {
        0,
        0.1,
    }


def test_models_and_data_sets_in_a_list_make_cells_and_base_rows(workdir: Path) -> None:
    (workdir / "other.jsonl").write_text((workdir / "rows.jsonl").read_text())
    sets = ("model=[{path: model}, {path: model, dtype: float32}]",)
    planned = plan(workdir, methods("{kind: full}").replace("{train: rows", "{cutoff: 64, train: rows"), sets)
    assert names(planned) == ["sft-full", "sft-full-float32"]
    assert [base.cell for base in planned.bases] == ["sft-base-bfloat16", "sft-base-float32"]
    listed = "data=[{train: rows.jsonl, eval_fraction: 0.4}, {train: other.jsonl, eval_fraction: 0.4}]"
    assert names(plan(workdir, methods("{kind: full}"), (listed,))) == [
        "sft-full-rows.jsonl",
        "sft-full-other.jsonl",
    ]


def test_base_models_that_differ_in_a_list_are_named_by_it_and_not_by_this_machines_paths(
    workdir: Path,
) -> None:
    (workdir / "more.jsonl").write_text((workdir / "rows.jsonl").read_text())
    both = "train: [rows.jsonl, more.jsonl], num_samples: {compare: [[4, 8], [8, 4]]}"
    planned = plan(workdir, SPEC.replace("train: rows.jsonl", both))
    assert [base.cell for base in planned.bases] == ["sft-base-num_samples4-8", "sft-base-num_samples8-4"]
    lists = "train: {compare: [[rows.jsonl], [more.jsonl]]}"
    planned = plan(workdir, SPEC.replace("train: rows.jsonl", lists))
    assert [base.cell for base in planned.bases] == ["sft-base-trainrows.jsonl", "sft-base-trainmore.jsonl"]


def test_an_entry_overrides_every_option_of_a_compared_model(workdir: Path) -> None:
    sets = ("model=[{path: model}, {path: model, dtype: float32}]",)
    planned = plan(workdir, methods("{kind: full}", "{kind: lora, model: {path: model}}"), sets)
    assert names(planned) == ["sft-full", "sft-full-float32", "sft-lora"]


def test_names_are_unique_and_safe_whatever_settings_differ(workdir: Path) -> None:
    settings = {
        "rank": ["2", "{choice: [2, 4]}"],
        "rslora": ["true", "false"],
        "targets": ["[q_proj]", "all-linear"],
        "alpha": ["0.5", "1e-05"],
    }
    entries = [
        "{kind: lora, "
        + ", ".join(f"{key}: {value}" for key, value in zip(settings, values, strict=True))
        + "}"
        for values in itertools.product(*settings.values())
    ]
    found = names(plan(workdir, methods(*entries)))
    assert len(set(found)) == len(entries)
    assert all(map(is_safe, found))


def test_quantization_is_in_the_names_of_cells_that_would_be_the_same_without_it(workdir: Path) -> None:
    quantized = "model: {quantization: {compare: [none, 4]}}"
    labelled = plan(workdir, methods(f"{{kind: lora, {quantized}}}"))
    assert names(labelled) == ["sft-lora", "sft-qlora-4bit"]
    named = plan(workdir, methods(f"{{kind: lora, name: mine, {quantized}}}"))
    assert names(named) == ["sft-mine-none", "sft-mine-quantization4"]
    assert [cell.method for cell in named.cells] == ["mine", "mine"]


def test_one_method_has_one_name_in_every_stage_and_with_every_model(workdir: Path) -> None:
    text = methods("{kind: lora, rank: {compare: [4, 8]}}").replace(
        "stages: [{kind: sft}]", "stages: [{kind: sft}, {kind: sft, name: other, train: {steps: 4}}]"
    )
    planned = plan(workdir, text, ("model=[{path: model}, {path: model, dtype: float32}]",))
    assert [cell.method for cell in planned.cells] == ["lora-rank4"] * 2 + ["lora-rank8"] * 2 + [
        "lora-rank4"
    ] * 2 + ["lora-rank8"] * 2
    assert len({cell.name for cell in planned.cells}) == 8


def test_a_name_holds_as_much_of_a_path_as_is_needed_to_tell_it_apart() -> None:
    assert distinguishing_tags([{"path": "a/one"}, {"path": "a/two"}]) == ["one", "two"]
    assert distinguishing_tags([{"path": "a/model"}, {"path": "b/model"}]) == ["a-model", "b-model"]


def test_values_that_read_the_same_are_distinguished_by_a_hash_and_never_by_a_counter() -> None:
    first, second = distinguishing_tags([{"path": "a b"}, {"path": "a-b"}])
    assert first != second
    assert distinguishing_tags([{"path": "a-b"}, {"path": "a b"}]) == [second, first]


def test_names_stay_short_and_safe() -> None:
    assert len(join_name("x" * 100, "y" * 100)) <= MAX_LENGTH
    assert safe_name("Qwen/Qwen3 0.6B: (new)") == "Qwen-Qwen3-0.6B-new"
    assert [setting_tag("a", value) for value in (None, False, True, 1e-5, "x/y", [1, 2])] == [
        "",
        "",
        "a",
        "a1e-05",
        "y",
        "a1-2",
    ]


# Overrides by entries


def test_an_entrys_settings_win_over_the_specs_and_a_methods_over_a_stages(workdir: Path) -> None:
    text = methods("{kind: full, train: {steps: 3}}", "{kind: lora}")
    text = text.replace("[{kind: sft}]", "[{kind: sft, train: {steps: 5, weight_decay: 0.2}}]")
    full, lora = plan(workdir, text).cells
    assert (full.steps, lora.steps) == (3, 5)
    assert full.config({"train.learning_rate": 1e-3}).train.weight_decay == 0.2


def test_epochs_in_an_entry_replace_the_specs_steps(workdir: Path) -> None:
    (cell,) = plan(workdir, methods("{kind: full, train: {epochs: 2}}")).cells
    train = cell.config({"train.learning_rate": 1e-3}).train
    assert (train.steps, train.epochs) == (None, 2)
    assert cell.steps == train.total_steps(len(load(cell.config(_first(cell)).data).train))


def _first(cell: Cell) -> dict[str, Any]:
    """The first values that are tried in a cell's space."""
    return {leaf: domain.probes()[0] for leaf, domain in cell.space.items()}


def test_an_entrys_search_is_its_cells(workdir: Path) -> None:
    planned = plan(workdir, methods("{kind: full, search: {trials: 1, scheduler: none}}", "{kind: lora}"))
    assert [(cell.trials, cell.rungs != ()) for cell in planned.cells] == [(1, False), (3, True)]


# Quantization


@pytest.mark.parametrize("written", ["4", "{bits: 4}", "{bits: 4, quant_type: nf4}"])
def test_quantization_of_the_model_makes_lora_a_qlora(workdir: Path, written: str) -> None:
    planned = plan(workdir, methods(f"{{kind: lora, model: {{quantization: {written}}}}}", "{kind: full}"))
    assert names(planned) == ["sft-qlora-4bit", "sft-full"]
    method = planned.cells[0].config({"train.learning_rate": 1e-3}).method
    assert (method.kind, method.bits) == ("qlora", 4)  # type: ignore[union-attr]
    assert "quantization" not in planned.cells[0].tree["model"]


def test_quantization_that_agrees_with_qloras_settings_is_allowed(workdir: Path) -> None:
    text = methods("{kind: qlora, bits: 8}", "{kind: lora}").replace(
        "path: model", "path: model, quantization: 8"
    )
    assert problems(workdir, text.replace("  - {kind: lora}\n", "")) == []


def test_quantization_that_differs_from_qloras_own_bits_is_refused_at_the_bits(workdir: Path) -> None:
    text = methods("{kind: qlora, bits: 8}").replace("path: model", "path: model, quantization: 4")
    assert problems(workdir, text) == [
        "spec.yaml:6 methods[0].bits: 8 here, but model.quantization says 4. Keep one of the two"
    ]


@pytest.mark.parametrize("kind", ["full", "freeze"])
def test_quantization_with_a_method_that_trains_the_base_is_refused(workdir: Path, kind: str) -> None:
    text = methods(f"{{kind: {kind}}}", "{kind: lora}").replace("path: model", "path: model, quantization: 4")
    assert problems(workdir, text) == [
        f"spec.yaml:2 model.quantization: {kind} trains the base model's weights, which quantization freezes. "
        "Use lora, qlora or peft"
    ]


def test_an_entry_can_take_quantization_back(workdir: Path) -> None:
    text = methods("{kind: full, model: {quantization: null}}", "{kind: lora}")
    text = text.replace("path: model", "path: model, quantization: 4")
    assert names(plan(workdir, text)) == ["sft-full", "sft-qlora-4bit"]


def test_pissa_on_a_quantized_base_is_refused_with_the_reason(workdir: Path) -> None:
    (problem,) = problems(workdir, methods("{kind: qlora, init: pissa}"))
    assert problem.startswith(
        "spec.yaml:6 methods[0]: init: pissa takes the adapter's start out of the base's"
    )


# Spaces and budgets


def test_a_cell_turns_proposed_values_into_a_trial(workdir: Path) -> None:
    cell = plan(workdir, SPEC).cell("sft-lora")
    assert cell.space == {"method.rank": Choice((4, 8)), "train.learning_rate": Log(1e-4, 5e-3)}
    config = cell.config({"method.rank": 8, "train.learning_rate": 1e-3})
    assert (config.method.rank, config.train.learning_rate) == (8, 1e-3)  # type: ignore[union-attr]
    assert (config.cell, config.method_name, config.role) == ("sft-lora", "lora", "search")
    assert config.model.fingerprint is not None
    assert config.data.sha256 is not None
    assert config.data.train == str(workdir / "rows.jsonl")
    assert config.trial_id() != cell.config({"method.rank": 4, "train.learning_rate": 1e-3}).trial_id()


def test_the_same_spec_elsewhere_plans_the_same_trials(workdir: Path, tmp_path: Path) -> None:
    values = {"method.rank": 8, "train.learning_rate": 1e-3}
    other = plan(spec_folder(tmp_path / "elsewhere"), SPEC)
    assert (
        other.cell("sft-lora").config(values).trial_id()
        == plan(workdir, SPEC).cell("sft-lora").config(values).trial_id()
    )
    assert other.fingerprint() == plan(workdir, SPEC).fingerprint()


def test_a_data_folder_is_where_relative_data_is_looked_for(workdir: Path) -> None:
    (workdir / "data").mkdir()
    (workdir / "rows.jsonl").rename(workdir / "data" / "rows.jsonl")
    assert plan(workdir, SPEC).cells[0].tree["data"]["train"] == str(workdir / "data" / "rows.jsonl")
    (workdir / "data").rename(workdir / "rows")
    planned = plan(workdir, SPEC, ("data.folder=rows",))
    assert planned.cells[0].tree["data"]["train"] == str(workdir / "rows" / "rows.jsonl")
    assert planned.cells[0].tree["data"]["folder"] is None  # there is no dataset_info.json in it
    (workdir / "rows" / "dataset_info.json").write_text('{"mine": {"file_name": "rows.jsonl"}}')
    named = plan(workdir, SPEC, ("data.folder=rows", "data.train=mine"))
    assert named.cells[0].tree["data"]["folder"] == str(workdir / "rows")
    assert named.cells[0].tree["data"]["sha256"] == planned.cells[0].tree["data"]["sha256"]


def test_probes_hold_every_end_and_choice_and_all_at_their_last() -> None:
    space = {("method", "rank"): Choice((4, 8, 16)), ("train", "learning_rate"): Log(0.1, 0.2)}
    assert list(probe_values(space)) == [
        {"method.rank": 4, "train.learning_rate": 0.1},
        {"method.rank": 8, "train.learning_rate": 0.1},
        {"method.rank": 16, "train.learning_rate": 0.1},
        {"method.rank": 4, "train.learning_rate": 0.2},
        {"method.rank": 16, "train.learning_rate": 0.2},
    ]
    assert list(probe_values({})) == [{}]


def test_a_space_with_fewer_configs_than_trials_runs_all_of_them_and_is_noted(workdir: Path) -> None:
    sets = ("train.learning_rate=1e-3", RESOURCES)
    planned = plan(workdir, methods("{kind: lora, rank: {choice: [4, 8]}}"), sets)
    assert planned.cells[0].trials == planned.trials == 2
    assert "sft-lora: the search space holds 2 configs, so 2 of 3 trials run" in planned.notes
    (cell,) = plan(workdir, methods("{kind: full}"), ("train.learning_rate=1e-3",)).cells
    assert (cell.size(), cell.trials) == (1, 1)


def test_rungs_are_those_of_rays_scheduler() -> None:
    from ray.tune.schedulers.async_hyperband import _Bracket

    for steps, grace, factor in itertools.product((1, 2, 7, 40, 81, 100), (1, 3, 10), (2, 3, 4)):
        ours = SearchConfig(order="depth", grace_steps=grace, reduction_factor=factor).rungs(steps)
        if grace >= steps:
            assert ours == ()
            continue
        rays = [rung for rung, _ in _Bracket(grace, steps, factor, 0)._rungs]
        # At the last step there is nothing left to stop. Ray's logarithm may lose that rung, or keep it.
        assert list(ours) == sorted(rung for rung in rays if rung < steps)


def test_the_first_rung_is_at_half_of_the_steps_and_there_is_none_without_a_scheduler(
    workdir: Path,
) -> None:
    in_depth = SearchConfig(order="depth")
    assert in_depth.rungs(40) == (20,)
    assert in_depth.rungs(2) == (1,)
    assert SearchConfig(scheduler="none").rungs(40) == ()
    assert SearchConfig().rungs(40) == (20,)
    early = SearchConfig(grace_steps=4)
    assert early.rungs(40) == (4, 12)
    # Where one of three is left after the first rung, there is nothing to compare at another.
    assert plan(workdir, SPEC, ("train.steps=40", "search.grace_steps=4")).cells[0].rungs == (4,)
    assert SearchConfig(trials=1).rungs(40) == ()


@pytest.mark.parametrize(
    ("sets", "comparisons"),
    [
        # The loss of a step is that before its update: steps 3 and 4 are the first two after two updates.
        (("train.steps=8",), {4: "training"}),
        (("train.steps=19",), {9: "training"}),
        (("train.steps=29", "search.grace_steps=3"), {4: "training"}),
        (("train.steps=8", "search.order=depth"), {4: "training"}),
        # The first update of a warm-up has rate 0.
        (("train.steps=12", "train.warmup_steps=1"), {6: "training"}),
        (("train.steps=20", "train.warmup_ratio=0.1"), {10: "training"}),
        (("train.steps=16", "train.warmup_steps={int: [0, 2]}"), {8: "training"}),
        # Where half of a trial is too short for that, its validation rows are compared, or nothing is.
        (("train.steps=7",), {3: "validation"}),
        (("train.steps=9", "train.warmup_steps=2"), {4: "validation"}),
        (("train.steps=3",), {}),
        (("train.steps=10", "train.warmup_steps=4"), {}),
        (("train.steps=5", "search.rungs_by=validation"), {2: "validation"}),
        (("train.steps=8", "search.trials=1"), {}),
    ],
)
def test_trials_are_compared_once_they_differ_in_more_than_rounding(
    workdir: Path, sets: tuple[str, ...], comparisons: dict[int, str]
) -> None:
    planned = plan(workdir, SPEC, (*sets, RESOURCES))
    assert planned.cells[0].comparisons == comparisons
    short = "too short to compare them after 2 updates with a rate above 0, so none is stopped early"
    said = any(short in note for note in planned.notes)
    assert said == (not comparisons and planned.cells[0].trials > 1)


@pytest.mark.parametrize(
    ("sets", "rungs", "words"),
    [
        (("search.grace_steps=1",), (4,), "after 1 step trials of sft-full would differ by rounding"),
        (("search.grace_steps=1",), (4,), "; they are first compared at step 4"),
        (("search.grace_steps=1", "train.warmup_steps=4"), (), "; none is compared on its way"),
    ],
)
def test_a_first_rung_of_the_spec_that_is_too_early_is_moved_with_a_warning(
    workdir: Path, sets: tuple[str, ...], rungs: tuple[int, ...], words: str
) -> None:
    planned = plan(workdir, SPEC, (*sets, RESOURCES))
    assert planned.cells[0].rungs == rungs
    assert any("search.grace_steps" in str(each) and words in each.what for each in planned.warnings)
    fine = plan(workdir, SPEC, ("search.grace_steps=4", RESOURCES))
    assert not [each for each in fine.warnings if "grace_steps" in str(each)]


def test_a_run_of_an_earlier_version_compares_its_trials_where_it_did(workdir: Path) -> None:
    sets = ("train.steps=4", "search.order=depth", "search.rungs_by=validation")
    assert plan(workdir, SPEC, sets, conventions=SECOND).cells[0].rungs == (1, 3)
    assert plan(workdir, SPEC, sets).cells[0].rungs == (2,)
    assert plan(workdir, SPEC, ("train.steps=60",), conventions=THIRD).cells[0].rungs == (6,)


def test_a_prior_holds_the_searched_leaves_alone_moved_into_the_space(workdir: Path) -> None:
    planned = plan(workdir, SPEC)
    assert planned.cell("sft-full").prior() == {"train.learning_rate": 2e-4}
    assert planned.cell("sft-lora").prior() == {"method.rank": 8, "train.learning_rate": 2e-3}
    narrow = plan(workdir, SPEC, ("train.learning_rate.log=[1e-5, 1e-4]", "methods[1].rank.choice=[32, 64]"))
    assert narrow.cell("sft-lora").prior() == {"method.rank": 32, "train.learning_rate": 1e-4}
    fixed = plan(workdir, SPEC, ("train.learning_rate=1e-3", "methods[1].rank=4"))
    assert fixed.cell("sft-lora").prior() == {}


def test_the_base_model_is_a_row_of_each_stage_and_is_not_trained(workdir: Path) -> None:
    (base,) = plan(workdir, SPEC).bases
    assert (base.cell, base.role, base.method, base.method_name) == ("sft-base", "base", None, "base")
    assert base.train.learning_rate == 1e-4
    assert base.model.fingerprint is not None


# Unfair comparisons


def test_cells_that_train_on_different_numbers_of_rows_are_a_warning(workdir: Path) -> None:
    planned = plan(workdir, methods("{kind: full}", "{kind: lora, train: {steps: 4}}"))
    (warning,) = planned.problems
    assert not warning.error
    assert str(warning).replace(f"{workdir}/", "") == (
        "spec.yaml:4 stages[0]: trials train on different numbers of rows (steps x batch_size x "
        "gradient_accumulation): 16 in sft-full; 8 in sft-lora. Train all on the same number, "
        "or the one that trains longest may win for that alone"
    )
    assert len(planned.cells) == 2


def test_accumulation_that_makes_up_for_fewer_rows_at_a_time_is_fair(workdir: Path) -> None:
    entry = "{kind: lora, train: {batch_size: 1, gradient_accumulation: 2}}"
    assert problems(workdir, methods("{kind: full}", entry)) == []


def test_a_searched_batch_size_is_a_warning_with_its_range(workdir: Path) -> None:
    (warning,) = problems(workdir, methods("{kind: full}"), "train.batch_size={choice: [2, 4]}")
    assert "16 to 32 in sft-full" in warning


def test_cells_with_different_numbers_of_trials_are_a_warning(workdir: Path) -> None:
    (warning,) = problems(workdir, methods("{kind: full}", "{kind: lora, search: {trials: 5}}"))
    assert "cells have different numbers of trials: 3 in sft-full; 5 in sft-lora" in warning


def test_two_names_for_one_training_are_a_warning(workdir: Path) -> None:
    (warning,) = problems(workdir, methods("{kind: lora}", "{kind: lora, rank: 8}"))
    assert "sft-lora and sft-lora-rank8 train the same thing under two names. Remove one" in warning


# Filters


@pytest.mark.parametrize(
    ("stage", "method", "expected"),
    [
        (None, "lora", ["sft-lora"]),
        (None, "qlora", ["sft-qlora-4bit", "sft-qlora-8bit"]),
        (None, "qlora-4bit", ["sft-qlora-4bit"]),
        (None, "4bit", ["sft-qlora-4bit"]),
        (None, "mine", ["sft-mine"]),
        (None, "freeze", ["sft-mine"]),
        (None, "sft-full", ["sft-full"]),
        ("sft", "full", ["sft-full"]),
    ],
)
def test_a_filter_matches_a_name_or_a_part_of_it_or_a_kind(
    workdir: Path, stage: str | None, method: str, expected: list[str]
) -> None:
    compared = "{kind: qlora, bits: {compare: [4, 8]}}"
    text = methods("{kind: full}", "{kind: lora}", compared, "{kind: freeze, name: mine}")
    assert names(plan(workdir, text, stage=stage, method=method)) == expected


def test_a_filter_that_matches_nothing_lists_the_choices(workdir: Path) -> None:
    assert [str(problem) for problem in plan(workdir, SPEC, method="loar").problems] == [
        "--method loar: no cell matches; choose from full, lora. Did you mean lora?"
    ]
    (problem,) = plan(workdir, SPEC, stage="dpo").problems
    assert str(problem) == "--stage dpo: no cell matches; choose from sft"


# Resuming


def test_a_plan_with_more_trials_has_the_same_fingerprint(workdir: Path) -> None:
    # A run that is resumed keeps the cores that were chosen for it, whatever else changes.
    planned = plan(workdir, SPEC, ("resources.cpus=1",))
    unchanged = (
        "search.trials=30",
        "question=why?",
        "tracking.wandb=off",
        "resources.concurrent=1",
        "methods[0].search.trials=5",
        "train.weight_decay=0.0",
    )
    for override in unchanged:
        changed = plan(workdir, SPEC, ("resources.cpus=1", override))
        assert changed.fingerprint() == planned.fingerprint(), override


def test_any_other_change_changes_the_fingerprint(workdir: Path) -> None:
    planned = plan(workdir, SPEC)
    changes = (
        "search.seed=1",
        "search.sampler=random",
        "train.steps=9",
        "methods[1].rank=8",
        "train.learning_rate.log[1]=1e-2",
        "resources.workers=2",
        "name=other",
        "model.dtype=float32",
        "data.cutoff=64",
        "methods[0].search.seed=5",
    )
    prints = [plan(workdir, SPEC, (override,)).fingerprint() for override in changes]
    assert len({planned.fingerprint(), *prints}) == len(changes) + 1


def test_the_resolved_spec_holds_defaults_overrides_and_domains_and_plans_the_same(workdir: Path) -> None:
    from ruamel.yaml import YAML

    planned = plan(workdir, SPEC, ("train.steps=4",))
    resolved = planned.resolved()
    assert resolved["train"]["steps"] == 4
    assert resolved["train"]["optimizer"] == "adamw"
    assert resolved["train"]["learning_rate"] == {"log": [1e-4, 5e-3]}
    assert resolved["search"]["sampler"] == "auto"
    text = io.StringIO()
    YAML(typ="safe").dump(resolved, text)
    again = plan(workdir, text.getvalue())
    assert again.fingerprint() == planned.fingerprint()
    assert again.bases == planned.bases
    for cell, same in zip(planned.cells, again.cells, strict=True):
        assert (cell.name, cell.space, cell.trials, cell.rungs) == (
            same.name,
            same.space,
            same.trials,
            same.rungs,
        )
        assert cell.config(_first(cell)).trial_id() == same.config(_first(cell)).trial_id()


# Output for people and programs


def test_the_plan_as_json_says_all_that_a_run_would_do(workdir: Path) -> None:
    planned = plan_json(plan(workdir, SPEC, ("search.trials=4",)))
    assert json.loads(json.dumps(planned)) == planned
    assert planned["name"] == "tiny"
    assert planned["trials"] == 8
    assert planned["problems"] == []
    assert planned["base"] == [
        {"cell": "sft-base", "stage": "sft", "method": "base", "model": "model", "data": "rows.jsonl"}
    ]
    assert planned["cells"][1] == {
        "cell": "sft-lora",
        "stage": "sft",
        "method": "lora",
        "model": "model",
        "data": "rows.jsonl",
        "trials": 4,
        "steered_from_trial": None,
        "steps": 8,
        "rungs": [4],
        "space": {"method.rank": "choice [4, 8]", "train.learning_rate": "log [0.0001, 0.005]"},
        "prior": {"method.rank": 8, "train.learning_rate": 0.002},
        "predicted_peak_bytes": None,
        "predicted": None,
        "not_predicted": NO_TYPE,
        "mixture": {},
        "mixtures": [],
        "evaluation_sets": [],
        "memory": None,
        "needs": [],
        "trial_minutes": None,
        "minutes": None,
        "least_minutes": None,
        "time_source": None,
        "set_minutes": None,
    }
    assert planned["time"]["unknown"] == ["sft-full", "sft-lora"]


def test_problems_in_json_tell_errors_from_warnings(workdir: Path) -> None:
    found = plan_json(plan(workdir, SPEC, ("methods[0].train.steps=4", "methods[1].rank=0")))["problems"]
    assert found == [
        {
            "where": "--set methods[1].rank",
            "line": None,
            "column": None,
            "path": "methods[1].rank",
            "severity": "error",
            "message": "got 0; allowed: a whole number, at least 1",
            "fix": None,
        }
    ]
    (warning,) = plan_json(plan(workdir, SPEC, ("methods[0].train.steps=4",)))["problems"]
    assert warning["severity"] == "warning"


def test_a_plan_with_an_error_keeps_the_cells_without_one(workdir: Path) -> None:
    planned = plan(workdir, SPEC, ("methods[1].rank=0",))
    assert [cell.name for cell in planned.cells] == ["sft-full"]
    assert len(planned.errors) == 1


@pytest.mark.parametrize("terminal", [False, True])
def test_a_plan_of_errors_alone_counts_no_trials(workdir: Path, terminal: bool) -> None:
    planned = plan(workdir, SPEC, ("methods[0].train.steps=0", "methods[1].rank=0"))
    assert (planned.cells, len(planned.errors)) == ((), 2)
    out = io.StringIO()
    show_plan(planned, Console(file=out, width=120, force_terminal=terminal))
    assert "0 trials" not in out.getvalue()
    assert "0 cells" not in out.getvalue()
    assert "search space" not in out.getvalue()  # no table without a row


def test_without_a_terminal_the_plan_is_one_line_each(workdir: Path) -> None:
    out = io.StringIO()
    show_plan(plan(workdir, SPEC, (RESOURCES,)), Console(file=out, width=40))
    assert out.getvalue().splitlines() == [
        "sft-full: 3 trials of 8 steps; stopped early if behind at step 4; "
        "searches train.learning_rate log [0.0001, 0.005]; first trial: learning_rate 0.0002; predicted peak unknown",
        "sft-lora: 3 trials of 8 steps; stopped early if behind at step 4; searches method.rank choice [4, 8], "
        "train.learning_rate log [0.0001, 0.005]; first trial: rank 8, learning_rate 0.002; predicted peak unknown",
        "sft-base: the base model, scored without training",
        "6 trials in 2 cells, and 1 starting model to score without training",
        "a cell is one combination of stage, method, model and data; each has a search of its own",
        "the minutes of sft-full, sft-lora are unknown: no such trial has run on this machine. paretune plan "
        f"{workdir}/spec.yaml --measure trains a few steps of each, about a minute for a small model, and predicts "
        "them",
        "random search: the 3 trials of a cell are each method's starting point and quasi-random draws; from 8 trials "
        "a cell on, results would steer it",
        *ENDING_NOTES,
        "of a cell's 3 trials, all train to step 4 (compared by training loss), the best 1 to step 8; "
        "search.scheduler: none trains all to their end",
        *DATA_NOTES,
        f"the predicted peak of sft-full, sft-lora is unknown: {NO_TYPE}",
    ]


def test_on_a_terminal_the_plan_is_a_table_with_every_cell(workdir: Path) -> None:
    out = io.StringIO()
    show_plan(plan(workdir, SPEC), Console(file=out, width=120, force_terminal=True))
    assert all(name in out.getvalue() for name in ("sft-full", "sft-lora", "sft-base", "choice [4, 8]"))


def test_every_config_that_a_space_can_give_is_valid(workdir: Path) -> None:
    text = methods(
        "{kind: qlora, bits: {choice: [4, 8]}, rank: {int: [2, 6], step: 2}, dora: {choice: [true, false]}}"
    )
    (cell,) = plan(workdir, text, ("train.learning_rate=1e-3",)).cells
    points = list(itertools.product([4, 8], [2, 4, 6], [True, False]))
    ids = {
        cell.config(dict(zip(("method.bits", "method.rank", "method.dora"), point, strict=True))).trial_id()
        for point in points
    }
    assert len(ids) == len(points) == cell.size() == math.prod((2, 3, 2))


def test_a_stage_that_compares_begins_with_a_tenth_of_the_methods_learning_rate(workdir: Path) -> None:
    rows = [{"prompt": f"say {n}", "completion": str(n), "label": n % 2 == 0} for n in range(60)]
    (workdir / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    planned = plan(
        workdir, SPEC.replace("kind: sft", "kind: kto"), ("train.learning_rate={log: [1e-5, 1e-2]}",)
    )
    assert planned.cell("kto-lora").prior()["train.learning_rate"] == pytest.approx(2e-4)
    assert planned.cell("kto-full").prior()["train.learning_rate"] == pytest.approx(2e-5)


def test_kto_of_answers_that_are_all_good_is_refused(workdir: Path) -> None:
    rows = [{"prompt": f"say {n}", "completion": str(n), "label": True} for n in range(60)]
    (workdir / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    first = plan(workdir, SPEC.replace("kind: sft", "kind: kto")).errors[0]
    assert first.path == "stages[0].kind"
    assert first.what.startswith(
        "every training row is labelled true, and kto needs good and bad answers; add bad"
    )


def test_kto_with_one_row_a_worker_is_refused(workdir: Path) -> None:
    rows = [{"prompt": f"say {n}", "completion": str(n), "label": n % 2 == 0} for n in range(60)]
    (workdir / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    planned = plan(workdir, SPEC.replace("kind: sft", "kind: kto"), ("train.batch_size=1",))
    assert [problem.what for problem in planned.errors] == ["kto needs at least 2 rows for each of 1 workers"]
    assert plan(workdir, SPEC.replace("kind: sft", "kind: kto")).errors == ()


def test_an_epoch_of_long_texts_is_all_their_pieces(workdir: Path, tiny_model: Path) -> None:
    texts = [{"text": f"{number} " + "some words of a story " * 20} for number in range(60)]
    (workdir / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    spec = f"""
name: pieces
model: {{path: {tiny_model}}}
data: {{train: texts.jsonl, eval_count: 20, cutoff: 32}}
stages: [{{kind: pretrain}}]
methods: [{{kind: full}}]
train: {{epochs: 1, batch_size: 4, learning_rate: 1.0e-3}}
search: {{trials: 1}}
"""
    (cell,) = plan(workdir, spec).cells
    assert cell.steps > 3 * -(-40 // 4)


@pytest.mark.parametrize(
    ("written", "backend", "bits"),
    [("{bnb: 4}", "bnb", 4), ("{bitsandbytes: 8}", "bnb", 8), ("{hqq: 3, group_size: 32}", "hqq", 3)],
)
def test_a_quantizer_may_be_named_with_its_bits(workdir: Path, written: str, backend: str, bits: int) -> None:
    planned = plan(workdir, methods(f"{{kind: lora, model: {{quantization: {written}}}}}"))
    assert planned.errors == ()
    method: Any = planned.cells[0].first().method
    assert (method.kind, method.backend, method.bits) == ("qlora", backend, bits)


def test_quantizers_can_be_compared_with_none(workdir: Path) -> None:
    compared = "{compare: [none, {bnb: 4}, {hqq: 4}, {bnb: 8}]}"
    planned = plan(workdir, methods(f"{{kind: lora, model: {{quantization: {compared}}}}}"))
    assert names(planned) == ["sft-lora", "sft-qlora-4bit", "sft-qlora-hqq4bit", "sft-qlora-8bit"]
    assert [cell.method for cell in planned.cells] == ["lora", "qlora-4bit", "qlora-hqq4bit", "qlora-8bit"]


def test_checkpointing_can_be_compared(workdir: Path) -> None:
    text = methods("{kind: lora}").replace(
        "batch_size: 2,", "batch_size: 2, gradient_checkpointing: {compare: [true, false]},"
    )
    assert names(plan(workdir, text)) == ["sft-lora-gradient_checkpointing", "sft-lora"]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("bnb", "got bnb; allowed: none, 8, 4, or {bnb: 8}, {hqq: 8}, {eetq: 8}. Did you mean bnb?"),
        ("{bnb: 4, hqq: 4}", "which gives the quantizer or the bits twice"),
        ("{hqq: 4, bits: 3}", "which gives the quantizer or the bits twice"),
        ("{eetq: 4}", "bits: eetq has 8 bits, not 4"),
    ],
)
def test_a_quantization_that_makes_no_sense_is_refused(workdir: Path, written: str, message: str) -> None:
    found = problems(workdir, methods(f"{{kind: lora, model: {{quantization: {written}}}}}"))
    assert any(message in one for one in found), found


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "model.attention=flash_attention_2",
            "model.attention: flash_attention_2 doesn't work on this machine: needs",
        ),
        ("model.kernels=liger", "model.kernels: liger doesn't work on this machine: needs"),
        ("model.kernels=unsloth", "model.kernels: unsloth doesn't work on this machine: needs"),
        ("model.attention=flashattn2", "Did you mean flash_attention_2?"),
        ("model.kernels=liger_kernel", "Did you mean liger?"),
    ],
)
def test_a_feature_that_this_machine_lacks_is_refused_with_what_to_do(
    workdir: Path, override: str, message: str
) -> None:
    found = problems(workdir, SPEC, override)
    assert len(found) == 1, found
    assert message in found[0]


def test_a_quantizer_that_is_not_installed_is_refused_at_its_line(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainables.system import capabilities

    absent = capabilities.Capability("hqq", False, "needs `pip install 'paretune[hqq]'`", needed=False)
    monkeypatch.setattr(capabilities, "check_capability", lambda name: absent)
    (message,) = problems(workdir, methods("{kind: qlora, backend: hqq}"))
    assert message == (
        "spec.yaml:6 methods[0].backend: hqq doesn't work on this machine: needs `pip install 'paretune[hqq]'`"
    )


@pytest.mark.parametrize(
    ("setting", "meant"),
    [
        ("model.attention=fa2", "flash_attention_2"),
        ("model.attention=flashattn2", "flash_attention_2"),
        ("model.attention=flash_attn", "flash_attention_2"),
        ("model.attention=disabled", "eager"),
        ("model.kernels=liger_kernel", "liger"),
        ("model.rope=yam", "yarn"),
        ("model.rope=dynatic", "dynamic"),
        ("model.quantization=bitsandbytes", "bnb"),
    ],
)
def test_names_from_other_tools_get_a_suggestion(tmp_path: Path, setting: str, meant: str) -> None:
    message = [str(problem) for problem in plan(spec_folder(tmp_path), sets=(setting,)).errors]
    assert message
    assert all(f"Did you mean {meant}?" in text for text in message)


@pytest.mark.parametrize(
    "method",
    [
        "{kind: lora, dora: true}",
        "{kind: lora, modules_to_save: [embed_tokens]}",
        "{kind: freeze, modules: [lm_head]}",
    ],
)
def test_memory_that_no_formula_describes_is_that_of_a_traced_step(
    tmp_path: Path, tiny_model: Path, method: str
) -> None:
    text = sweeps.SPEC.replace("{kind: full}", method)
    planned = make(read(str(sweeps.write_spec(tmp_path, tiny_model, text))))
    assert not planned.errors
    first, second = plan_json(planned)["cells"]
    assert (first["predicted"]["source"], second["predicted"]["source"]) == ("traced", "formula")
    assert first["predicted_peak_bytes"] > 0
