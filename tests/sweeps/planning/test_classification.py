"""Plans with classifiers: labels are taken from the rows, and what can't be classified is refused with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reports.statistics.detectable import detectable_difference
from sweeps.planning.assessment.power import power, power_lines
from tests.helpers.specs import ONE, SPEC, plan, problems, spec_folder
from trainables.stages import Classification

LORA = "  - {kind: lora, rank: 4}\n"
CLASSIFYING = SPEC.replace("{kind: sft}", "{kind: classification}").replace(ONE, LORA)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    path = spec_folder(tmp_path)
    write(path, "hot", "cold")
    return path


def write(path: Path, *labels: str) -> None:
    rows = [json.dumps({"text": f"say {n}", "label": labels[n % len(labels)]}) for n in range(60)]
    (path / "rows.jsonl").write_text("\n".join(rows))


def planned_stage(path: Path, text: str) -> Classification:
    stage = plan(path, text).cells[0].first().stage
    assert isinstance(stage, Classification)
    return stage


def test_the_labels_are_those_of_the_rows_in_alphabetical_order_or_those_of_the_spec(folder: Path) -> None:
    stage = planned_stage(folder, CLASSIFYING)
    assert (stage.labels, stage.multi_label) == (("cold", "hot"), False)
    ordered = CLASSIFYING.replace("{kind: classification}", "{kind: classification, labels: [hot, cold]}")
    assert planned_stage(folder, ordered).labels == ("hot", "cold")


def test_a_trial_has_another_id_where_its_head_has_another_order(folder: Path) -> None:
    ordered = CLASSIFYING.replace("{kind: classification}", "{kind: classification, labels: [hot, cold]}")
    ids = {plan(folder, text).cells[0].first().trial_id() for text in (CLASSIFYING, ordered)}
    assert len(ids) == 2


def test_one_label_alone_and_labels_that_only_held_out_rows_have_are_refused(folder: Path) -> None:
    (folder / "eval.jsonl").write_text(
        "\n".join(
            json.dumps({"text": f"ask {n}", "label": label}) for n, label in enumerate(["hot", "wet"] * 4)
        )
    )
    unknown = CLASSIFYING.replace("eval_fraction: 0.4", "eval: eval.jsonl")
    assert any(
        "the label wet (" in each and "and the head has 2 labels" in each
        for each in problems(folder, unknown)
    )
    write(folder, "hot")
    assert any("every training row has the label hot" in each for each in problems(folder, CLASSIFYING))


def test_texts_that_are_no_labels_are_refused(folder: Path) -> None:
    write(folder, *(f"answer {n}" for n in range(60)))
    assert any("these are texts of their own and no labels" in each for each in problems(folder, CLASSIFYING))


def test_a_mixture_that_lacks_a_label_or_has_others_is_refused_where_weights_are_searched(
    folder: Path,
) -> None:
    write(folder, *["hot"] * 9, "cold")
    rows = [json.dumps({"text": f"ask {n}", "label": ["hot", "cold", "wet"][n % 3]}) for n in range(60)]
    (folder / "b.jsonl").write_text("\n".join(rows))
    both = "train: [rows.jsonl, b.jsonl], mix: interleave_over"
    text = CLASSIFYING.replace("train: rows.jsonl", f"{both}, weights: {{choice: [[1, 1], [60, 1]]}}")
    assert problems(folder, text) == []
    # One row in 600 is of the second data set, which alone has the label wet.
    text = text.replace("interleave_over", "interleave_under").replace("[60, 1]", "[600, 1]")
    (said,) = problems(folder, text)
    assert "with data.weights [600, 1], no training row has the label wet; leave it out" in said


def test_weights_of_labels_that_are_numbers_are_given_by_these_numbers(folder: Path) -> None:
    rows = [json.dumps({"text": f"say {n}", "label": n % 2}) for n in range(60)]
    (folder / "rows.jsonl").write_text("\n".join(rows))
    weighted = "{kind: classification, class_weights: {0: 1.0, 1: 5.0}}"
    stage = planned_stage(folder, CLASSIFYING.replace("{kind: classification}", weighted))
    assert (stage.labels, stage.class_weights) == (("0", "1"), {"0": 1.0, "1": 5.0})


def test_no_stage_continues_from_a_classifier_and_none_is_rewarded_by_one(folder: Path) -> None:
    stages = "stages:\n  - {kind: classification}\n  - {kind: %s}\n"
    text = CLASSIFYING.replace("stages: [{kind: classification}]\n", stages)
    continued = problems(folder, text % "classification, name: again, model: {from: classification}")
    assert any("predicts no tokens, so no stage can continue from it" in each for each in continued)
    rewarded = problems(folder, text % "ppo, reward: {from: classification}, max_new_tokens: 4")
    assert any("gives no rewards; name a cell of a reward stage" in each for each in rewarded)


def test_a_rare_label_of_the_test_rows_hides_larger_differences(folder: Path) -> None:
    def detectable(*labels: str) -> float:
        write(folder, *labels)
        (found,) = power(plan(folder, CLASSIFYING), detectable_difference)
        return found.differences[found.rows]

    even = detectable("hot", "cold")
    uneven = detectable("hot", "hot", "hot", "cold")

    assert uneven > even
    sentence = next(power_lines(plan(folder, CLASSIFYING), detectable_difference))
    assert " test rows of 2 labels (the rarest has " in sentence
    assert "differences in macro f1 under about" in sentence


@pytest.mark.parametrize(
    "method",
    [
        "peft, type: adaption_prompt, adapter_len: 3, adapter_layers: 1",
        "peft, type: trainable_tokens, token_indices: [5]",
    ],
)
def test_a_type_of_adapter_beside_which_no_new_head_trains_is_refused(folder: Path, method: str) -> None:
    text = CLASSIFYING.replace("lora, rank: 4", method)

    assert any(
        "PEFT neither trains nor saves a new head for rewards or labels" in each
        for each in problems(folder, text)
    )
    (folder / "rows.jsonl").write_text(
        "\n".join(json.dumps({"prompt": f"say {n}", "completion": str(n)}) for n in range(60))
    )
    assert not problems(folder, text.replace("classification", "sft"))
