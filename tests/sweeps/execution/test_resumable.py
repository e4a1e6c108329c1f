"""What a run may be resumed with, and that a refusal names everything that is not as it was, then and now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from sweeps.cli import app
from sweeps.execution.run_folder import check_resumable, check_spec, prepare
from sweeps.spec.problems import SpecError
from sweeps.spec.spec import read
from tests.helpers.specs import SPEC, plan, spec_folder

ADVICE = "Restore it (RUN/spec.yaml has the spec), or start a new run under another name"


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    spec_folder(tmp_path)
    prepare(plan(tmp_path), tmp_path / "run", resume=False)
    return tmp_path


def refusals(path: Path, *sets: str, text: str = SPEC) -> list[str]:
    """Why the run can't be resumed with this spec; paths relative to the folder."""
    run = path / "run"
    try:
        check_resumable(plan(path, text, sets), run, resume=True)
    except SpecError as error:
        return [
            str(problem).replace(str(run), "RUN").replace(f"{path}/", "").replace(f". {ADVICE}", "")
            for problem in error.problems
        ]
    return []


@pytest.mark.parametrize(
    "sets",
    [
        [],
        ["search.trials=4"],
        ["search.trials=4", "resources.concurrent=2", "question=why", "tracking.wandb=off"],
        ["resources.memory=8GiB", "resources.wait_seconds=5"],
    ],
)
def test_what_changes_no_trial_may_change(workdir: Path, sets: list[str]) -> None:
    assert refusals(workdir, *sets) == []


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (["train.batch_size=4"], ["--set train.batch_size: this run was started with 2, and it is 4 now"]),
        (
            ["train.learning_rate={log: [1e-4, 1e-2]}"],
            [
                "--set train.learning_rate: this run was started with {log: [0.0001, 0.005]}, and it is "
                "{log: [0.0001, 0.01]} now"
            ],
        ),
        (
            ["train.weight_decay=0.1"],
            ["--set train.weight_decay: this run was started with 0.0, and it is 0.1 now"],
        ),
        (
            ["methods[1].rank={choice: [4, 8, 16]}", "search.seed=1"],
            [
                "--set methods[1].rank: this run was started with {choice: [4, 8]}, and it is {choice: [4, 8, 16]} "
                "now",
                "--set search.seed: this run was started with 0, and it is 1 now",
            ],
        ),
        (
            ["methods[1].dora=true"],
            ["--set methods[1].dora: this run was started without it, and it is true now"],
        ),
        (
            ["methods=[{kind: full}]"],
            [
                "--set methods methods[1]: this run was started with {kind: lora, rank: {choice: [4, 8]}}, and it is "
                "not given now"
            ],
        ),
        (["resources.cpus=2"], ["--set resources.cpus: this run was started with 1, and it is 2 now"]),
        (
            ["search.trials=2"],
            ["spec.yaml search.trials: sft-full had 3 trials and now has 2; trials may only grow"],
        ),
    ],
)
def test_a_changed_setting_is_named_with_both_values(
    workdir: Path, sets: list[str], expected: list[str]
) -> None:
    assert refusals(workdir, *sets)[: len(expected)] == expected


def test_a_change_in_the_file_has_its_line(workdir: Path) -> None:
    changed = SPEC.replace("steps: 8", "steps: 9").replace("kind: full", "kind: freeze")
    assert refusals(workdir, text=changed) == [
        "spec.yaml:6 methods[0].kind: this run was started with full, and it is freeze now",
        "spec.yaml:8 train.steps: this run was started with 8, and it is 9 now",
    ]


def test_a_change_is_named_before_anything_is_planned(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.planning.plan.make", lambda *given, **options: pytest.fail("planned"))
    text = SPEC.replace("steps: 8", "steps: 9").replace("{path: model}", "{path: elsewhere}")
    (workdir / "spec.yaml").write_text(text)
    (workdir / "run").rename(workdir / "tiny")
    command = ["run", str(workdir / "spec.yaml"), "--output", str(workdir), "--resume"]
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert "spec.yaml:8 train.steps: this run was started with 8, and it is 9 now" in done.output
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*")} == before
    (workdir / "tiny").rename(workdir / "run")
    spec = read(workdir / "spec.yaml", ["resources.cpus=2"])
    with pytest.raises(SpecError) as refused:
        check_spec(spec, workdir / "run")
    assert {(problem.where.rpartition("/")[2], problem.path) for problem in refused.value.problems} == {
        ("spec.yaml:2", "model.path"),
        ("spec.yaml:8", "train.steps"),
        ("--set resources.cpus", "resources.cpus"),
    }
    (workdir / "spec.yaml").write_text(SPEC)
    check_spec(read(workdir / "spec.yaml", ["search.trials=9", "finalists.seeds=3"]), workdir / "run")
    check_spec(read(workdir / "spec.yaml"), workdir / "no-run")


def test_a_setting_that_is_written_at_its_default_is_the_same_spec(workdir: Path) -> None:
    assert refusals(workdir, "train.weight_decay=0.0") == []


def test_a_run_of_an_earlier_version_is_resumed_though_there_are_more_settings_now(workdir: Path) -> None:
    """An earlier version knew no defaults that the spec doesn't give, and had another hash of the spec."""
    run, yaml = workdir / "run", YAML(typ="safe")
    resolved = yaml.load((run / "resolved.yaml").read_text())
    written = yaml.load(SPEC)
    for section in ("model", "data", "train", "search"):
        resolved[section] = {key: resolved[section][key] for key in written[section]}
    yaml.dump(resolved, run / "resolved.yaml")
    environment = json.loads((run / "environment.json").read_text())
    environment["plan"] = {**environment["plan"], "fingerprint": "another"}
    environment["plan"].pop("files")
    (run / "environment.json").write_text(json.dumps(environment))
    assert refusals(workdir) == []
    assert refusals(workdir, "data.strict=true") == [
        "--set data.strict: this run was started without it, and it is true now"
    ]
    (run / "resolved.yaml").unlink()
    (refusal,) = refusals(workdir)
    assert refusal.startswith("spec.yaml: the spec is not the one this run was started with")


def test_changed_rows_name_their_file(workdir: Path) -> None:
    rows = workdir / "rows.jsonl"
    before = len(rows.read_text())
    line = '\n{"prompt": "one more", "completion": "row"}'
    rows.write_text(rows.read_text() + line)
    assert refusals(workdir) == [
        f"spec.yaml:3 data.train: rows.jsonl has changed since this run was started: it had {before:,} bytes and has "
        f"{before + len(line):,}. Restore it, or start a new run under another name"
    ]


def test_of_several_files_the_one_that_has_changed_is_named(workdir: Path) -> None:
    (workdir / "more.jsonl").write_text(
        '{"prompt": "a", "completion": "b"}\n{"prompt": "c", "completion": "d"}'
    )
    (workdir / "held.jsonl").write_text(
        "\n".join(json.dumps({"prompt": f"q{n}", "completion": f"{n}"}) for n in range(8))
    )
    text = SPEC.replace(
        "{train: rows.jsonl, eval_fraction: 0.4}", "{train: [rows.jsonl, more.jsonl], eval: held.jsonl}"
    )
    prepare(plan(workdir, text), workdir / "several", resume=False)
    (workdir / "held.jsonl").write_text((workdir / "held.jsonl").read_text().replace("q1", "q9"))
    with pytest.raises(SpecError) as refused:
        check_resumable(plan(workdir, text), workdir / "several", resume=True)
    assert [problem.what.partition(". ")[0] for problem in refused.value.problems] == [
        "held.jsonl has changed since this run was started"
    ]
    assert refused.value.problems[0].path == "data.eval"


def test_another_model_is_named(workdir: Path) -> None:
    config = workdir / "model" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "torch_dtype": "float32"}))
    assert refusals(workdir) == [
        "spec.yaml:2 model: the files of model are not those this run was started with. Restore it, or start a new run "
        "under another name"
    ]
