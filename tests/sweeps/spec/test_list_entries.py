"""Errors in the entries of a list of mappings, such as a stage's rewards, are told one by one, where they are."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from sweeps.spec import source
from sweeps.spec.messages.validation_messages import ErrorTranslator
from sweeps.spec.schema import validate_node
from sweeps.spec.tree import Branch, build_node
from trainables.config.data import DataConfig
from trainables.stages import Classification
from trainables.stages.grpo.settings import GRPOSettings


def told_of_data(text: str) -> list[str]:
    """What a spec is told with this section ``data``: ``path: message``."""
    return told_of(DataConfig, "data", text)


def told_of(cls: type[BaseModel], section: str, text: str) -> list[str]:
    spec = source.parse(Path("spec.yaml"), f"{section}: {text}\n")
    node = build_node(spec.tree[section], (section,))
    assert isinstance(node, Branch)
    _, problems = validate_node(spec, cls, node)
    return [f"{problem.path}: {problem.what}" for problem in problems]


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ("{mine: 3}", "data.eval.mine: got 3; allowed: a text"),
        ("{mine: a.jsonl, other: {file: b.jsonl}}", "data.eval.other: got {file: b.jsonl}; allowed: a text"),
        ("{mine: a.jsonl, other: [b.jsonl, 3]}", "data.eval.other: got [b.jsonl, 3]; allowed: a text"),
    ],
)
def test_what_is_wrong_with_an_evaluation_set_is_told_once_at_its_name(sets: str, message: str) -> None:
    assert told_of_data(f"{{train: a.jsonl, eval: {sets}}}") == [message]


@pytest.mark.parametrize("sets", ["[a.jsonl, b.jsonl]", "{mine: a.jsonl, other: [b.jsonl, c.jsonl]}"])
def test_an_evaluation_set_may_be_of_several_files(sets: str) -> None:
    assert told_of_data(f"{{train: d.jsonl, eval: {sets}}}") == []


@pytest.mark.parametrize(
    ("weight", "allowed"), [("x", "a number"), (".inf", "a finite number"), ("[1]", "a number")]
)
def test_a_weight_of_a_label_that_is_none_is_told_with_what_it_has_to_be(weight: str, allowed: str) -> None:
    text = f"{{kind: classification, labels: [hot, cold], class_weights: {{hot: {weight}, cold: 1}}}}"
    (message,) = told_of(Classification, "stage", text)
    assert message.startswith("stage.class_weights.hot: got ")
    assert message.endswith(f"; allowed: {allowed}")


def told(entries: str) -> list[str]:
    """What a spec is told whose only stage has these rewards, one entry a line: ``line path: message``."""
    text = f"stages:\n  - kind: grpo\n    rewards:\n{entries}"
    spec = source.parse(Path("spec.yaml"), text)
    stage = build_node(spec.tree["stages"][0], ("stages", 0))
    assert isinstance(stage, Branch)
    with pytest.raises(ValidationError) as caught:
        GRPOSettings.model_validate(stage.plain())
    found = ErrorTranslator(spec, elsewhere={"reward_weight": "stages[].reward_weight (ppo, grpo)"}).problems(
        caught.value, GRPOSettings, stage
    )
    return [f"{problem.line} {problem.path}: {problem.what}" for _, problem in found]


def test_every_wrong_entry_is_told_at_its_own_line() -> None:
    entries = """\
      - {kind: regex, pattern: "^on", wieght: 2}
      - {kind: regex, patern: "^on"}
      - {kind: regex, pattern: "("}
      - {kind: rule, rule: commands, wieght: 2}
"""
    first, missing, unknown, expression, rule = told(entries)
    assert first.startswith("4 stages[0].rewards[0].wieght: unknown key. Did you mean weight?")
    assert missing.startswith("5 stages[0].rewards[1].pattern: not given")
    assert unknown.startswith("5 stages[0].rewards[1].patern: unknown key. Did you mean pattern?")
    assert expression.startswith("6 stages[0].rewards[2].pattern: '(' is no regular expression")
    assert rule.startswith("7 stages[0].rewards[3].wieght: unknown key. Did you mean weight?")


def test_a_kind_that_is_wrong_or_missing_is_told_with_the_kinds_there_are() -> None:
    wrong, missing, text = told("      - {kind: regx}\n      - {pattern: x}\n      - commands\n")
    assert wrong.startswith(
        "4 stages[0].rewards[0]: got kind: regx. Did you mean regex? Allowed: one of rule, regex"
    )
    assert missing.startswith("5 stages[0].rewards[1]: no kind is given. Give one of rule, regex")
    assert text == "6 stages[0].rewards[2]: got commands; allowed: a mapping"


@pytest.mark.parametrize("weight", ["{choice: [0.1, 0.5]}", "{compare: [0.1, 0.5]}"])
def test_a_setting_of_an_entry_can_not_be_searched_and_the_message_says_what_can(weight: str) -> None:
    (message,) = told(f'      - {{kind: regex, pattern: "^on", weight: {weight}}}\n')
    assert message.startswith(
        "4 stages[0].rewards[0].weight: a setting inside rewards can't be a domain; write rewards:"
    )


def test_a_value_of_another_type_is_told_with_what_is_allowed() -> None:
    (message,) = told('      - {kind: regex, pattern: "^on", weight: much}\n')
    assert message == '4 stages[0].rewards[0].weight: got the text "much"; allowed: a number'
