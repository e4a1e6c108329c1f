"""Runs with rewards that are functions of one's own: their code is run by what scores, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.evaluation.evaluate import _load_rewards
from sweeps.runs.resolve import resolve
from tests.helpers.own_methods import marked
from tests.helpers.trials import make_config, write_rows
from trainables.evaluation.evaluate import EvaluationTask, Settings, measure
from trainables.evaluation.evaluation_rows import load_held_out
from trainables.inference.model_pool import ModelPool
from trainables.inference.result import Result
from trainables.inference.sampling import Sampling
from trainables.methods import own_imports
from trainables.models.folder import ModelError
from trainables.stages.rewards import own_function

CODE = "def brevity(prompts, answers, columns):\n    return [0.0 for _ in answers]\n"
FUNCTION = "my_rewards:brevity"


@pytest.fixture
def trained(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    """A trial's result whose reward has not been imported in this process; ``ran`` says whether its code was run."""
    monkeypatch.setattr(own_function, "_LOADED", {})
    code, folder = tmp_path / "my_rewards.py", tmp_path / "run" / "trials" / "0123456789ab"
    code.write_text(marked(CODE, tmp_path / "ran"))
    reward = {"kind": "function", "function": FUNCTION, **own_function.load_beside(FUNCTION, tmp_path)}
    stage = {"kind": "grpo", "max_new_tokens": 4, "rewards": [reward]}
    config = make_config(tiny_model, write_rows(tmp_path / "rows.jsonl"), "full", stage=stage)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config.model_dump_json())
    (folder / "model").symlink_to(tiny_model)
    for top in list(own_imports._ACTIVE):
        own_imports._forget(top)
    own_function._LOADED.clear()
    (tmp_path / "ran").unlink()
    return resolve(str(folder), lambda run: [], ["method_code"])


def test_a_result_that_is_chatted_with_served_or_exported_needs_no_rewards(
    trained: Result, tmp_path: Path
) -> None:
    assert not (tmp_path / "ran").exists()
    (tmp_path / "my_rewards.py").write_text("raise RuntimeError\n")
    assert resolve(str(trained.trained_folder), lambda run: [], ["method_code"]).config == trained.config


@pytest.mark.parametrize(
    ("trust", "settings", "runs"),
    [
        (("method_code",), Settings(), True),
        ((), Settings(), False),
        (("method_code",), Settings(sampling=Sampling()), False),
    ],
)
def test_an_evaluation_runs_the_code_of_rewards_where_it_is_trusted(
    trained: Result, tmp_path: Path, trust: tuple[str, ...], settings: Settings, runs: bool
) -> None:
    task = EvaluationTask(trained, load_held_out(trained, "test"), settings)
    _load_rewards([task, None], trust)
    assert (tmp_path / "ran").exists() == runs


@pytest.mark.parametrize(("sampling", "named"), [(None, True), (Sampling(), False)])
def test_rewards_that_would_not_score_the_answers_are_not_said_to_need_trust(
    trained: Result, sampling: Sampling | None, named: bool
) -> None:
    task = EvaluationTask(
        trained, load_held_out(trained, "test"), Settings(sampling=sampling, max_new_tokens=2)
    )
    with ModelPool().load(trained).active() as policy:
        notes = measure(policy, task).notes
    assert any("is run only with --trust method_code" in note for note in notes) == named


def test_an_evaluation_refuses_the_code_of_rewards_that_has_changed(trained: Result, tmp_path: Path) -> None:
    (tmp_path / "my_rewards.py").write_text("raise RuntimeError\n")
    task = EvaluationTask(trained, load_held_out(trained, "test"), Settings())
    with pytest.raises(ModelError, match="has changed since this was planned"):
        _load_rewards([task], ["method_code"])
