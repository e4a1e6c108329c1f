"""Classification where rows, the spec and the head name labels differently, and the loss of a step that isn't full."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tests.helpers.classified_rows import classified_rows
from tests.helpers.trials import make_config, make_policy
from trainables.data import loading
from trainables.data.formats.class_labels import parse_classes
from trainables.data.parsed_row import SkippedRow
from trainables.scoring.class_probabilities import ClassProbabilities
from trainables.stages import Classification
from trainables.stages.class_trainer import ClassTrainer


def problems(train: list[Any], test: list[Any], **settings: Any) -> list[str]:
    data = loading.Data("rows", train, [], test, False, "0" * 64)
    stage = Classification.model_validate(settings)
    stage = stage.model_copy(update=stage.filled_by(data))
    trial: Any = None
    return [f"{key}: {what}" for key, what in stage.problems(trial, data)]


# A head of several labels on rows of one each


def test_a_row_of_one_label_is_scored_by_a_head_of_several_and_all_that_it_was_given_are_stored(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = {"kind": "classification", "labels": ["a", "b"], "multi_label": True}
    config = make_config(tiny_model, "command-kinds", "lora", stage=stage)
    rows = classified_rows("a", "b")
    logits = np.array([[-1.0, -1.0], [1.0, 1.0]])
    found = ClassProbabilities(logits, ("a", "b"), several=True)
    monkeypatch.setattr(Classification, "probabilities", lambda *_: found)
    data = loading.Data("rows", rows, rows, rows, False, "0" * 64)

    scores = config.stage.score(make_policy(config), data, rows, 64)

    assert [(row.reference, row.prediction) for row in scores.rows] == [
        ('["a"]', "[]"),
        ('["b"]', '["a", "b"]'),
    ]


def test_lists_in_held_out_rows_or_in_a_set_are_refused_by_a_head_of_single_labels() -> None:
    said = problems(classified_rows(*"aabb"), classified_rows("a", ("a", "b"), ()))
    assert said == [
        "multi_label: test rows have lists of labels, and the head is of rows with one; train with multi_label: true, "
        "or give each row one label"
    ]
    assert problems(classified_rows(*"aabb"), classified_rows("a", ("a", "b"), ()), multi_label=True) == []
    single = Classification(labels=("a", "b"), multi_label=False)
    assert "rows have lists of labels" in (single.set_problem(classified_rows("a", ("a",))) or "")
    assert single.model_copy(update={"multi_label": True}).set_problem(classified_rows("a", ("a",))) is None


# The names of labels


@pytest.mark.parametrize("value", [1.0, 3, True, " a ", "1.0", "True"])
def test_a_label_of_the_spec_has_the_name_that_it_has_in_rows(value: Any) -> None:
    (in_rows,), _ = parse_classes(value, "label")
    stage = Classification.model_validate(
        {"labels": [value, "other"], "class_weights": {value: 2, "other": 1}}
    )
    assert stage.labels == (in_rows, "other")
    assert stage.class_weights == {in_rows: 2.0, "other": 1.0}


@pytest.mark.parametrize("value", [None, "", "  ", float("nan"), 0.5, [1]])
def test_what_is_no_label_in_rows_is_none_in_the_spec(value: Any) -> None:
    with pytest.raises(ValidationError, match="a label is a text or a whole number"):
        Classification.model_validate({"labels": [value, "a"]})


def test_weights_of_numbers_are_those_of_their_labels_and_one_given_twice_is_refused() -> None:
    assert Classification.model_validate({"class_weights": {0: 1.0, 1: 5.0}}).class_weights == {
        "0": 1.0,
        "1": 5.0,
    }
    with pytest.raises(ValidationError, match="the label 1 has two weights"):
        Classification.model_validate({"class_weights": {1: 1.0, "1": 5.0}})


def test_nan_is_no_label_and_its_row_is_left_out() -> None:
    with pytest.raises(SkippedRow, match="no label"):
        parse_classes(float("nan"), "label")


def test_labels_that_differ_in_case_alone_are_told_how_to_be_written() -> None:
    (said,) = (
        each for each in problems(classified_rows(*"TTFF"), [], labels=["t", "F"]) if "training rows" in each
    )
    assert "upper and lower case count: t is not T" in said


# What is refused


def test_many_tags_and_labels_that_the_spec_names_are_labels() -> None:
    tags = classified_rows(("a", "b"), ("b", "c"), ("c", "d"))
    assert problems(tags, []) == []
    assert problems(classified_rows(*"abcd"), [], labels=list("abcd")) == []
    (said,) = problems(classified_rows(*"abcd"), [])
    assert "give them where they are labels (labels: [...])" in said


def test_a_label_of_held_out_rows_alone_is_told_with_its_rows_and_what_can_be_done() -> None:
    (said,) = problems(classified_rows(*"aabb"), classified_rows(*"azz"))
    assert said == (
        "labels: test rows have the label z (2 rows), and the head has 2 labels: a, b; add training rows with it, take "
        "its rows out of the data, or give them one of these labels"
    )


# Formulas


def test_the_likelihood_of_a_confident_error_is_the_same_on_both_sides() -> None:
    found = ClassProbabilities(np.array([[60.0], [-60.0]]), ("a",), several=True)
    assert found.likelihoods([(), ("a",)]) == pytest.approx([-60.0, -60.0])


def test_a_step_that_is_not_full_weighs_each_of_its_rows_alike() -> None:
    """Gradients of the batches of a step, of 3 rows and of 1, add up to that of all 4 rows at once."""
    trainer = ClassTrainer.__new__(ClassTrainer)
    trainer.class_weights = None
    torch.manual_seed(0)
    inputs, targets = torch.randn(4, 5), torch.tensor([0, 1, 2, 0])
    batches = [
        {"input_ids": inputs[part], "attention_mask": None, "targets": targets[part]}
        for part in (slice(0, 3), slice(3, 4))
    ]
    gradients = []
    for parts in (batches, [{"input_ids": inputs, "attention_mask": None, "targets": targets}]):
        head = nn.Linear(5, 3)
        nn.init.constant_(head.weight, 0.1)
        nn.init.zeros_(head.bias)

        def model(input_ids: Any, attention_mask: Any, head: nn.Linear = head) -> Any:
            return SimpleNamespace(logits=head(input_ids))

        fetched, count = trainer.get_batch_samples(iter(parts), 2, torch.device("cpu"))
        for batch in fetched:
            trainer.compute_loss(model, batch, num_items_in_batch=count).backward()
        gradients.append(head.weight.grad)

    torch.testing.assert_close(*gradients)
