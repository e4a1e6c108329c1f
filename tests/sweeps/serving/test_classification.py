"""``POST /classify``: what a request may hold, and the labels that a loaded classifier answers with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sweeps.commands.model_options import served_results
from sweeps.serving.classification import ClassifyRequest, classify_response
from tests.helpers.trials import make_config, run
from trainables import results
from trainables.data.embedded.command_kinds import KINDS
from trainables.inference.classify import classify
from trainables.inference.model_pool import LoadedModel, ModelPool
from trainables.models.folder import ModelError

LABELS = sorted(set(KINDS.values()))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A run with a classifier and a reward model."""
    folder = tmp_path_factory.mktemp("classes") / "run"
    sizes: dict[str, Any] = {"eval_rows": 8, "eval_fraction": 0.95, "cutoff": 64}
    stage = {"kind": "classification", "labels": LABELS, "multi_label": False}
    for data, each in (("command-kinds", stage), ("commands", {"kind": "reward"})):
        run(make_config(tiny_model, data, "lora", stage=each, **sizes), folder, memory_gauge=None)
    results.write_tables(folder)
    return folder


@pytest.fixture(scope="module")
def classifier(trained: Path) -> LoadedModel:
    (found,) = served_results([f"{trained}:classification-lora"], lambda run: [], None, None)
    return ModelPool().load(found)


def test_a_reward_model_is_not_served(trained: Path) -> None:
    with pytest.raises(ModelError, match="is a reward model"):
        served_results([f"{trained}:reward-lora"], lambda run: [], None, None)


def test_texts_and_a_conversation_get_the_labels_that_the_trial_gave_them(
    trained: Path, classifier: LoadedModel
) -> None:
    import json

    import pyarrow.parquet as pq

    (trial,) = (
        folder
        for folder in (trained / "trials").iterdir()
        if "classification" in (folder / "config.json").read_text()
    )
    rows = pq.read_table(trial / "predictions.parquet").to_pylist()

    found = classify(classifier, [json.loads(row["prompt"]) for row in rows])

    assert [each.labels[0] for each in found] == [row["prediction"] for row in rows]
    assert all(sum(each.probabilities.values()) == pytest.approx(1) for each in found)
    (long,) = classify(classifier, [[{"role": "user", "content": "Why? " * 500}]])
    assert (long.truncated, long.tokens <= 64) == (True, True)


def test_the_response_names_the_likeliest_label_and_all_probabilities(classifier: LoadedModel) -> None:
    request = ClassifyRequest.model_validate({"model": "m", "input": ["Warmer", "Lock it"]})

    response = classify_response("m", classify(classifier, request.conversations()), several=False)

    assert [entry["index"] for entry in response["data"]] == [0, 1]
    for entry in response["data"]:
        assert entry["num_classes"] == len(entry["probs"]) == len(LABELS)
        assert entry["label"] == max(entry["probabilities"], key=entry["probabilities"].get)
    assert response["usage"]["prompt_tokens"] > 0


def test_a_request_holds_texts_or_one_conversation() -> None:
    read = ClassifyRequest.model_validate
    one = {"role": "user", "content": "Hi"}
    assert read({"model": "m", "input": "Hi"}).conversations() == [[one]]
    assert read({"model": "m", "messages": [one]}).conversations() == [[one]]
    for body in ({}, {"input": "a", "messages": [one]}, {"input": []}, {"input": ["a"] * 1025}, {"input": 3}):
        with pytest.raises(ValidationError):
            read({"model": "m", **body})
