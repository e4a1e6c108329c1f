"""What a spec says in vain: settings that are valid and can't take effect are warnings of the plan, at their lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.specs import ONE, SPEC, plan, problems, spec_folder


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    return spec_folder(tmp_path)


def warnings(path: Path, *sets: str, text: str = SPEC) -> list[str]:
    """The warnings about a spec of trials of 8 steps, as ``path: message``; it must have no errors."""
    planned = plan(path, text, sets)
    assert planned.errors == ()
    return [f"{problem.path}: {problem.what}" for problem in planned.warnings]


def warned(path: Path, *sets: str, text: str = SPEC) -> list[str]:
    """The settings that the warnings are about."""
    return [warning.partition(":")[0] for warning in warnings(path, *sets, text=text)]


# Beyond the end of a trial


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (["train.warmup_steps=7"], []),
        (["train.warmup_steps=8"], ["train.warmup_steps"]),
        (["train.warmup_steps=100", "train.scheduler=constant"], ["train.warmup_steps"]),
        (["train.warmup_ratio=0.1"], []),
        (["train.warmup_ratio=0.9"], ["train.warmup_ratio"]),  # 7.2 steps, rounded up
        (["train.warmup_ratio=0.1", "train.steps=1"], ["train.warmup_ratio"]),
        (["train.eval_steps=8", "train.save_steps=8", "train.logging_steps=8"], []),
        (["train.eval_steps=9"], ["train.eval_steps"]),
        (["train.save_steps=9"], ["train.save_steps"]),
        (["train.logging_steps=9"], ["train.logging_steps"]),
        (["search.grace_steps=7", "search.rungs_by=validation"], []),
        (["search.grace_steps=8"], ["search.grace_steps"]),
        (["train.scheduler=inverse_sqrt"], ["train.scheduler"]),
        (["train.scheduler=inverse_sqrt", "train.warmup_steps=2"], []),
        (["train.scheduler=inverse_sqrt", "train.steps=2000"], []),
    ],
)
def test_what_reaches_beyond_the_end_of_a_trial_is_a_warning(
    workdir: Path, sets: list[str], expected: list[str]
) -> None:
    assert warned(workdir, *sets) == expected


def test_a_warmup_is_compared_with_the_steps_there_are(workdir: Path) -> None:
    (warning,) = problems(workdir, SPEC.replace("steps: 8,", "steps: 8, warmup_steps: 70,"))
    assert warning == (
        "spec.yaml:8 train.warmup_steps: 70 steps of warm-up, and a trial may have only 8: its learning rate rises to "
        "10% of what is given, and no further; give fewer, or warmup_ratio (a share of the steps)"
    )


def test_a_warmup_of_trials_that_train_for_epochs_is_compared_with_their_steps(workdir: Path) -> None:
    epochs = SPEC.replace("steps: 8,", "epochs: 1,")  # 38 rows, 2 in a step
    assert warned(workdir, "train.warmup_steps=18", text=epochs) == []
    (warning,) = warnings(workdir, "train.warmup_steps=19", text=epochs)
    assert "19 steps of warm-up, and a trial may have only 19" in warning


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (["train.warmup_steps={choice: [0, 4, 20]}"], "20 steps of warm-up, and a trial may have only 8"),
        (["train.warmup_steps={int: [0, 20]}"], "20 steps of warm-up, and a trial may have only 8"),
        (["train.warmup_ratio={uniform: [0, 1]}"], "8 steps of warm-up, and a trial may have only 8"),
        (["train.eval_steps={choice: [2, 16]}"], "16 steps, and a trial may have only 8"),
        (["train.save_steps={choice: [null, 16]}"], "16 steps, and a trial may have only 8"),
        (["train.steps={choice: [40, 2]}", "search.grace_steps=3"], "3 steps, and a trial may have only 2"),
        (
            ["train.steps={choice: [40, 2]}", "train.warmup_steps=3"],
            "3 steps of warm-up, and a trial may have only 2",
        ),
        # Neither probe of one domain meets this one of the other, but a trial may.
        (
            ["train.steps={choice: [40, 2, 30]}", "train.warmup_steps={choice: [0, 3, 1]}"],
            "3 steps of warm-up, and a trial may have only 2",
        ),
    ],
)
def test_every_value_that_a_search_may_propose_is_looked_at(
    workdir: Path, sets: list[str], expected: str
) -> None:
    (warning,) = [each for each in warnings(workdir, *sets) if "a trial may have only" in each]
    assert expected in warning


def test_the_shortest_epochs_are_those_of_the_largest_batches(workdir: Path) -> None:
    text = SPEC.replace("steps: 8,", "epochs: {choice: [3, 1, 2]},").replace(
        "batch_size: 2", "batch_size: {choice: [2, 16, 4]}"
    )
    found = [
        warning for warning in warnings(workdir, "train.warmup_steps=5", text=text) if "warm-up" in warning
    ]
    # 38 rows, 16 in a step.
    assert ["5 steps of warm-up, and a trial may have only 3" in each for each in found] == [True]


def test_a_warmup_that_is_too_long_in_one_cell_alone_is_named(workdir: Path) -> None:
    text = SPEC.replace(ONE, "  - {kind: full, train: {steps: 4}}\n  - {kind: lora}\n")
    found = warnings(workdir, "train.warmup_steps=6", text=text)
    assert [warning for warning in found if "warm-up" in warning] == [
        "train.warmup_steps: 6 steps of warm-up, and a trial may have only 4: its learning rate rises to 50% of what "
        "is given, and no further; give fewer, or warmup_ratio (a share of the steps)"
    ]


def test_a_share_given_as_warmup_steps_is_refused_with_the_name_of_the_ratio(workdir: Path) -> None:
    assert problems(workdir, SPEC.replace("steps: 8,", "steps: 8, warmup_steps: 0.1,")) == [
        "spec.yaml:8 train.warmup_steps: got 0.1, which is no number of steps; write warmup_ratio: 0.1"
    ]


def test_a_short_trial_with_asha_is_a_note_where_the_spec_gives_no_grace_period(workdir: Path) -> None:
    planned = plan(workdir, SPEC, ("train.steps=1",))
    note = (
        "sft-full: trials of 1 step are too short to compare them after 2 updates with a rate above 0, so none is "
        "stopped early"
    )
    assert note in planned.notes
    assert not [note for note in plan(workdir, SPEC, ("search.grace_steps=9",)).notes if "too short" in note]


# Made idle by other settings


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (["data.eval_count=10"], "data.eval_fraction: it has no effect: data.eval_count decides which rows"),
        (["data.mix=interleave_under"], "data.mix: it has no effect: there is only one data set"),
        (
            ["model.dtype=float16", "train.precision=fp32"],
            "model.dtype: it has no effect: train.precision: fp32 loads and saves all weights in float32",
        ),
        (["train.packing=true", "train.group_by_length=true"], "train.group_by_length: it has no effect"),
        (
            ["train.retry_out_of_memory=true", "train.batch_size=1"],
            "train.retry_out_of_memory: it has no effect: a batch of 1 can't be halved",
        ),
        (
            ["search.scheduler=none", "search.grace_steps=2"],
            "search.grace_steps: it has no effect: search.scheduler is none",
        ),
        (["search.scheduler=none", "search.reduction_factor=2"], "search.reduction_factor: it has no effect"),
        (
            ["train.compile=on", "train.sharding=fsdp", "resources.workers=2"],
            "train.compile: it has no effect: weights are sharded",
        ),
        (["methods=[{kind: qlora, bits: 8, quant_type: fp4}]"], "methods[0].quant_type: it has no effect"),
        (["methods=[{kind: qlora, int8_threshold: 0}]"], "methods[0].int8_threshold: it has no effect"),
        (["methods=[{kind: freeze, layers: 0, head: true, end: first}]"], "methods[0].end: it has no effect"),
        (
            [
                "stages=[{kind: ppo, reward: commands, kl_horizon: 10}]",
                "data.train=commands",
                "train.learning_rate=1e-4",
            ],
            "stages[0].kl_horizon: it has no effect",
        ),
    ],
)
def test_what_other_settings_leave_nothing_to_decide_is_a_warning(
    workdir: Path, sets: list[str], expected: str
) -> None:
    (warning,) = warnings(workdir, *sets)
    assert warning.startswith(expected)


@pytest.mark.parametrize(
    "sets",
    [
        ["model.dtype=float32", "train.precision=fp32"],
        ["train.compile=on", "train.sharding=fsdp", "resources.workers=auto"],
        ["train.retry_out_of_memory=true", "train.batch_size={choice: [1, 8]}", "search.trials=1"],
        ["methods=[{kind: qlora, bits: {choice: [4, 8]}, quant_type: fp4}]"],
        ["stages=[{kind: ppo, reward: commands, kl_horizon: 10, kl_target: 6}]", "data.train=commands"],
    ],
)
def test_what_takes_effect_in_some_trial_is_no_warning(workdir: Path, sets: list[str]) -> None:
    assert [warning for warning in warnings(workdir, *sets) if "no effect" in warning] == []


def test_a_template_is_in_vain_only_where_no_stage_has_turns(workdir: Path) -> None:
    (workdir / "texts.jsonl").write_text("".join(json.dumps({"text": f"text {n}"}) + "\n" for n in range(60)))
    pretrain = "{kind: pretrain, data: {train: texts.jsonl}}"
    both = SPEC.replace("[{kind: sft}]", f"[{pretrain}, {{kind: sft}}]")
    assert warned(workdir, "data.template=chatml", text=both) == []
    alone = SPEC.replace("[{kind: sft}]", f"[{pretrain}]")
    assert warned(workdir, "data.template=chatml", text=alone) == ["data.template"]
