"""Whether checkpoints fit into the time that a scheduler or a cloud gives, and which save_steps bounds the loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.commands.spec_options import with_notice
from sweeps.planning.assessment import notice
from sweeps.planning.assessment.notice import Notice, notice_of
from sweeps.planning.checkpoint_size import checkpoint_bytes
from sweeps.planning.plan import Plan
from sweeps.spec.problems import SpecError
from sweeps.spec.settings import ResourcesConfig
from tests.helpers import specs
from tests.helpers.trials import run, write_rows
from trainables.storage import files
from trainables.system.disk_speed import write_speed
from trainables.training.activity import Activity
from trainables.training.training_callback import NoControl

MIB = 2**20
KNOWN = Notice(10, "resources.notice_seconds")


@pytest.mark.parametrize(
    ("setting", "environment", "expected"),
    [
        (7, {"PARETUNE_NOTICE_SECONDS": "9", "SLURM_JOB_ID": "1"}, Notice(7, "resources.notice_seconds")),
        (None, {"PARETUNE_NOTICE_SECONDS": "9", "SLURM_JOB_ID": "1"}, Notice(9, "PARETUNE_NOTICE_SECONDS")),
        (None, {"SLURM_JOB_ID": "1"}, Notice(30, "Slurm's default of KillWait")),
        (
            None,
            {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},
            Notice(30, "Kubernetes' default of terminationGracePeriodSeconds"),
        ),
        (None, {}, None),
    ],
)
def test_a_notice_is_known_by_the_spec_then_the_environment_then_the_scheduler(
    setting: float | None, environment: dict[str, str], expected: Notice | None
) -> None:
    assert notice_of(ResourcesConfig(notice_seconds=setting), environment) == expected


def test_a_notice_that_is_no_number_is_an_error_that_names_the_variable() -> None:
    with pytest.raises(
        SpecError, match="PARETUNE_NOTICE_SECONDS: a number of seconds is wanted, got '2 min'"
    ):
        notice_of(ResourcesConfig(), {"PARETUNE_NOTICE_SECONDS": "2 min"})


SPEC = """\
name: tiny
model: {path: %s, dtype: bfloat16}
data: {train: rows.jsonl, eval_fraction: 0.25, cutoff: 64}
stages: [{kind: sft}]
methods: [{kind: full}, {kind: lora, rank: 64}]
train: {steps: 3, batch_size: 2, save_steps: 2, learning_rate: 1e-4}
search: {trials: 1, scheduler: none}
finalists: {seeds: 1}
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Plan:
    folder = tmp_path_factory.mktemp("given")
    write_rows(folder / "rows.jsonl")
    return specs.plan(folder, SPEC % tiny_model)


class Following(NoControl):
    """Keeps what a trial tells about itself."""

    def __init__(self) -> None:
        self.activities: list[Activity] = []

    def follow(self, activity: Activity) -> None:
        self.activities.append(activity)


@pytest.mark.parametrize("name", ["sft-full", "sft-lora"])
def test_a_checkpoint_has_the_size_that_was_predicted_by_the_plan_and_by_the_trial(
    plan: Plan, tmp_path: Path, name: str
) -> None:
    cell, control = plan.cell(name), Following()
    config = cell.first()
    run(config, tmp_path, control=control)
    folder = tmp_path / "trials" / config.trial_id() / "checkpoint-2"
    weights = [*folder.glob("*model*.safetensors"), folder / "optimizer.pt"]
    # Files name their tensors, which counts in a model as small as this one.
    size = sum(path.stat().st_size for path in weights)
    assert checkpoint_bytes(cell) == pytest.approx(size, rel=0.1)
    assert control.activities[1].checkpoint_bytes == pytest.approx(size, rel=0.1)
    steps = [
        (seen.phase, seen.step, seen.saved_step) for seen in control.activities if not seen.written_bytes
    ]
    assert steps == [
        ("training", 0, 0),
        ("training", 1, 0),
        ("training", 2, 0),
        ("saving", 2, 0),
        ("training", 2, 2),
        ("training", 3, 2),
        ("saving", 3, 2),
        ("training", 3, 3),
        ("finishing", 3, 3),
    ]
    after = control.activities[-1]
    assert after.checkpoint_bytes == files.folder_bytes(folder.with_name("checkpoint-3"))
    assert after.bytes_per_second is not None


def warnings(plan: Plan, speed: float | None, at_once: int = 1, known: Notice | None = KNOWN) -> list[str]:
    return [str(problem.what) for problem in notice.problems(plan, known, speed, at_once)]


@pytest.fixture
def large(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Full fine-tuning's checkpoints have 1600 MiB, LoRA's 16 MiB; trials of 40 steps."""
    sizes = {"sft-full": 1_600 * MIB, "sft-lora": 16 * MIB}
    monkeypatch.setattr(notice, "checkpoint_bytes", lambda cell: sizes[cell.name])
    return replace(plan, cells=tuple(replace(cell, steps=40) for cell in plan.cells))


def without_saves(plan: Plan) -> Plan:
    cells = [
        replace(cell, tree={**cell.tree, "train": {**cell.tree["train"], "save_steps": None}})
        for cell in plan.cells
    ]
    return replace(plan, cells=tuple(cells))


@pytest.mark.parametrize(
    ("speed", "at_once", "expected"),
    [
        (200 * MIB, 1, []),  # 8 s, which is what 10 s leave
        (199 * MIB, 1, ["10 s of notice (resources.notice_seconds) are too short. "]),
        (400 * MIB, 2, []),
        (250 * MIB, 2, ["takes 6.4 s to write, 13 s for 2 trials", "are too short for all of the 2. "]),
    ],
)
def test_a_notice_that_is_too_short_for_a_checkpoint_is_a_warning_for_its_cell(
    large: Plan, speed: float, at_once: int, expected: list[str]
) -> None:
    said = warnings(large, speed, at_once)
    assert len(said) == bool(expected)
    for part in expected:
        assert part in said[0]
        assert said[0].startswith("sft-full: a checkpoint is predicted to have 1.56 GiB")


def test_the_warning_says_what_is_lost_and_which_save_steps_bound_that(large: Plan) -> None:
    (said,) = warnings(without_saves(large), 100 * MIB)
    assert (
        "up to 5 minutes of training; with save_steps: 4, at most 4 of its 40 steps (10 checkpoints" in said
    )
    assert "15.62 GiB)" in said
    (said,) = warnings(large, 100 * MIB)
    assert said.endswith("trains at most 2 of its 40 steps again (train.save_steps)")


def test_nothing_is_said_where_no_notice_or_no_speed_is_known(large: Plan) -> None:
    assert warnings(large, None) == warnings(large, 1.0, known=None) == []


def test_plan_and_run_measure_the_disk_only_where_a_notice_is_known(
    large: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_JOB_ID", "KUBERNETES_SERVICE_HOST", notice.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    measured: list[Path] = []

    def speed(folder: Path) -> float:
        measured.append(folder)
        return 100.0 * MIB

    monkeypatch.setattr("trainables.system.disk_speed.write_speed", speed)
    assert with_notice(large, str(tmp_path)) is large
    assert measured == []
    monkeypatch.setenv(notice.VARIABLE, "10")
    (warning,) = [
        problem for problem in with_notice(large, str(tmp_path)).warnings if "notice" in problem.what
    ]
    assert measured == [tmp_path]
    assert warning.path == "train.save_steps"
    assert f"at {30 / 1024:.2f} GiB/s as estimated from the disk's speed" in warning.what
    # How fast a store takes checkpoints is measured by nothing.
    (warning,) = [
        problem
        for problem in with_notice(without_saves(large), "s3://bucket/runs").warnings
        if "notice" in problem.what
    ]
    assert "how fast checkpoints reach s3://bucket/runs is not known beforehand" in warning.what
    assert measured == [tmp_path]


def test_the_speed_of_a_disk_is_measured_where_the_run_will_be(tmp_path: Path) -> None:
    speed = write_speed(tmp_path / "runs" / "not there yet")
    assert speed is not None
    assert speed > MIB
    assert list(tmp_path.iterdir()) == []
