"""What a plan says of rewards: functions beside the spec, further rewards, and what they can't be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeps.execution.input_files import find_input_files
from tests.helpers.specs import own_spec_folder, plan, problems
from trainables.stages.rewards.stage import own_rewards

SPEC = """\
name: tiny
model: {path: model}
data: {train: prompts.jsonl, eval_fraction: 0.4, reward_columns: [worth]}
stages:
  - kind: grpo
    max_new_tokens: 4
    rewards: REWARDS
methods: [{kind: lora, rank: 4}]
train: {steps: 2, batch_size: 2, learning_rate: 1e-4}
search: {trials: 1}
finalists: {seeds: 1}
"""
OWN = '[{kind: function, function: "my_rewards:brevity"}]'
CODE = "def brevity(prompts, answers, columns):\n    return [0.0 for _ in answers]\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = "".join(f'{{"prompt": "say {n}", "reference": "{n}", "worth": {n}}}\n' for n in range(40))
    (own_spec_folder(tmp_path, monkeypatch) / "prompts.jsonl").write_text(rows)
    (tmp_path / "my_rewards.py").write_text(CODE)
    return tmp_path


def spec(rewards: str = OWN) -> str:
    return SPEC.replace("REWARDS", rewards)


def test_a_plan_says_that_a_reward_is_foreign_code_and_where_it_is(folder: Path) -> None:
    planned = plan(folder, spec())
    assert not [problem for problem in planned.problems if problem.error]
    (note,) = [note for note in planned.notes if "code of yours" in note]
    assert note.startswith(
        f"the reward my_rewards:brevity is code of yours, not Paretune's: {folder}/my_rewards.py"
    )
    (cell,) = planned.cells
    (reward,) = own_rewards(cell.first().stage)
    assert reward.code_path == folder / "my_rewards.py"
    assert len(str(reward.code_sha256)) == 64


def test_the_code_goes_to_the_nodes(folder: Path) -> None:
    config = plan(folder, spec()).cells[0].first()
    copied = [Path(path) for inputs in find_input_files([config]) for path, _ in inputs.files.values()]
    assert folder / "my_rewards.py" in copied


def test_rows_keep_the_columns_that_rewards_are_given(folder: Path) -> None:
    from trainables.data.loading import load

    config = plan(folder, spec()).cells[0].first()
    row: Any = load(config.data, config.stage.row_type).train[0]
    assert row.columns == f'{{"worth": {row.reference}}}'


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        (OWN.replace("brevity", "brevty"), "has no function brevty. Did you mean brevity?"),
        (OWN.replace("my_rewards:", "my_reward:"), "there is no module my_reward beside the spec"),
        ('[{kind: function, function: "my_rewards:brevity", code_path: x}]', "planning sets code_path"),
        (f"{{choice: [{OWN}]}}", "rewards can only be compared"),
        (
            "{choice: [[{kind: regex, pattern: a}], [{kind: regex, pattern: b}]]}",
            "rewards can only be compared",
        ),
        (
            "[{kind: regex, pattern: a}]\n    reward: commands\n    reward_weight: {choice: [1, 10]}",
            "reward_weight can only be",
        ),
        ("[{kind: regex, pattern: a, weight: 0}]", "all weights are 0: nothing is rewarded"),
        ("[{kind: json}, {kind: regex, pattern: a, weight: 0}]", "the reward regex has weight 0"),
        ("[{kind: json}]\n    min_new_tokens: 2", "grpo can't forbid early ends"),
        ("[{kind: json}]", "data.reward_columns: it has no effect: only functions among"),
        ("[{kind: regexp, pattern: a}]", "regexp"),
        ("[{kind: rule, rule: commands}]", "needs a command as reference"),
    ],
)
def test_what_a_reward_cannot_be_is_a_problem_of_its_line(folder: Path, rewards: str, message: str) -> None:
    found = problems(folder, spec(rewards))
    assert [problem for problem in found if message in problem and problem.startswith("spec.yaml:")], found


def test_a_column_that_no_file_has_is_refused(folder: Path) -> None:
    found = problems(folder, spec().replace("[worth]", "[wroth]"))
    assert "spec.yaml:3 data.reward_columns: no file has a column wroth" in found[0]


def test_cells_with_other_rewards_are_said_not_to_be_comparable(folder: Path) -> None:
    rewards = "{compare: [[{kind: regex, pattern: a}], [{kind: regex, pattern: b, weight: 2}]]}"
    found = [
        problem for problem in problems(folder, spec(rewards)) if "neither a zero nor a scale" in problem
    ]
    assert '1 x regex "a"' in found[0]
    assert '2 x regex "b"' in found[0]


def test_a_column_of_a_name_that_functions_are_given_anyway_is_refused(folder: Path) -> None:
    found = problems(folder, spec().replace("[worth]", "[reference]"))
    assert "reward_columns has reference, which functions are given of every row" in found[0]


def test_cells_that_weigh_one_reward_otherwise_are_said_not_to_be_comparable(folder: Path) -> None:
    compared = spec("[]\n    reward: commands\n    reward_weight: {compare: [1, 10]}")
    commands = compared.replace("prompts.jsonl", "commands").replace(", reward_columns: [worth]", "")
    found = problems(folder, commands)
    assert any("neither a zero nor a scale" in each and "by 10 x commands" in each for each in found), found
