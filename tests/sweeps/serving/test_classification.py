"""``POST /classify``: what a request may hold, and the labels that a loaded classifier answers with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError
from ray import serve
from starlette.testclient import TestClient

from sweeps.commands.model_options import served_results
from sweeps.serving.access import Access
from sweeps.serving.classification import ClassifyRequest, classify_response
from sweeps.serving.classification_queue import ClassificationQueue
from sweeps.serving.replica import Api, ReplicaConfig, app
from tests.helpers.tiny_encoders import make_encoder
from tests.helpers.trials import make_config, run
from trainables import results
from trainables.data.embedded.command_kinds import KINDS
from trainables.inference.classify import classify
from trainables.inference.model_pool import LoadedModel, ModelPool
from trainables.models.folder import ModelError
from trainables.stages import Pretrain

KEY = "a-key-of-the-test"
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


# Over HTTP, without Ray


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A classifier on an encoder, as a replica loads it."""
    folder = tmp_path_factory.mktemp("encoder")
    stage = {"kind": "classification", "labels": LABELS, "multi_label": False}
    sizes: dict[str, Any] = {"eval_rows": 8, "eval_fraction": 0.95, "cutoff": 64, "dtype": "float32"}
    model = make_encoder(folder / "model", "bert")
    run(make_config(model, "command-kinds", "lora", stage=stage, **sizes), folder / "run", memory_gauge=None)
    results.write_tables(folder / "run")
    (found,) = served_results([f"{folder / 'run'}:classification-lora"], lambda run: [], None, None)
    return ModelPool().load(found)


@pytest.fixture
def client(encoder: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """Asks a replica that holds the encoder, once as the classifier that it is and once as a model of masked tokens."""
    masked_config = encoder.result.config.model_copy(update={"stage": Pretrain(objective="mlm")})
    ingress: Any = Api.func_or_class
    replica = object.__new__(ingress)  # as Ray would have made and filled it
    replica.config, replica.classifying = ReplicaConfig((), Access(KEY)), ClassificationQueue(4)
    replica.loaded = {
        "labels": encoder,
        "masked": replace(encoder, result=replace(encoder.result, config=masked_config)),
    }
    monkeypatch.setattr(serve, "get_replica_context", lambda: SimpleNamespace(servable_object=replica))
    return TestClient(app, headers={"authorization": f"Bearer {KEY}"})


@pytest.mark.parametrize("path", ["/classify", "/v1/classify"])
def test_an_encoder_classifies_texts_and_a_conversation_over_http(
    client: TestClient, encoder: LoadedModel, path: str
) -> None:
    texts = ["Set an alarm for 7", "Warmer, please"]

    several = client.post(path, json={"model": "labels", "input": texts}).json()
    one = client.post(
        path, json={"model": "labels", "messages": [{"role": "user", "content": texts[1]}]}
    ).json()

    expected = classify(encoder, [[{"role": "user", "content": text}] for text in texts])
    assert [entry["label"] for entry in several["data"]] == [each.labels[0] for each in expected]
    for entry, each in zip(several["data"], expected, strict=True):
        assert entry["probabilities"] == pytest.approx(each.probabilities, abs=1e-5)
    assert one["data"][0]["probabilities"] == pytest.approx(several["data"][1]["probabilities"], abs=1e-5)
    assert several["usage"]["prompt_tokens"] == sum(each.tokens for each in expected)


@pytest.mark.parametrize(
    ("path", "body", "status", "what"),
    [
        ("/classify", {"model": "masked", "input": "Hi"}, 400, "masked is no classifier"),
        ("/classify", {"model": "other", "input": "Hi"}, 404, "there is no model 'other'"),
        ("/classify", {"model": "labels"}, 400, "give input, a text or a list of texts, or messages"),
        (
            "/v1/completions",
            {"model": "labels", "prompt": "Hi"},
            400,
            "is a classifier",
        ),
        ("/v1/completions", {"model": "masked", "prompt": "Hi"}, 400, "predicts masked tokens"),
    ],
)
def test_what_a_model_cannot_answer_is_refused_over_http(
    client: TestClient, path: str, body: dict[str, Any], status: int, what: str
) -> None:
    answer = client.post(path, json=body)

    assert answer.status_code == status
    assert what in answer.json()["error"]["message"]


def test_labels_are_given_to_those_with_the_key_alone(client: TestClient) -> None:
    refused = client.post(
        "/classify", json={"model": "labels", "input": "Hi"}, headers={"authorization": "Bearer other"}
    )

    assert (refused.status_code, "API key" in refused.text) == (401, True)
