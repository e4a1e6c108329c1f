"""The models with names of their own: base or instruct, and numbers that add up to what is published."""

from __future__ import annotations

import pytest

from trainables.models import locate
from trainables.models.catalog import CATALOG, PACKAGED, find_shape
from trainables.models.hub import HuggingFaceModel

# Billions of parameters that the models' cards and papers give, text decoders only.
PUBLISHED = {
    "smollm2-135m": 0.135,
    "smollm2-360m": 0.362,
    "smollm2-1.7b": 1.711,
    "smollm3-3b": 3.075,
    "qwen3-0.6b": 0.596,
    "qwen3-1.7b": 1.721,
    "qwen3-4b": 4.022,
    "qwen3-8b": 8.191,
    "qwen3-14b": 14.768,
    "qwen3-32b": 32.762,
    "qwen2.5-0.5b": 0.494,
    "qwen2.5-1.5b": 1.544,
    "qwen2.5-3b": 3.086,
    "qwen2.5-7b": 7.616,
    "qwen2.5-14b": 14.770,
    "qwen2.5-32b": 32.764,
    "qwen2.5-72b": 72.706,
    "llama-3.2-1b": 1.236,
    "llama-3.2-3b": 3.213,
    "llama-3.1-8b": 8.030,
    "llama-3.1-70b": 70.554,
    "gemma-3-1b": 1.000,
    "mistral-7b": 7.248,
    "mistral-nemo-12b": 12.248,
    "phi-3.5-mini-instruct": 3.821,
    "phi-4": 14.660,
    "phi-4-mini-instruct": 3.836,
    "deepseek-r1-distill-qwen-1.5b": 1.777,
}


@pytest.mark.parametrize(("name", "billions"), PUBLISHED.items())
def test_the_numbers_add_up_to_the_published_parameters(name: str, billions: float) -> None:
    assert (CATALOG | PACKAGED)[name].shape.params / 1e9 == pytest.approx(billions, abs=0.001)


def test_every_name_can_be_fetched_and_no_two_name_the_same_repository() -> None:
    repositories = [known.repository for known in CATALOG.values()]
    assert len(set(repositories)) == len(repositories)
    for name, known in CATALOG.items():
        assert locate.find_source(name) == HuggingFaceModel(known.repository)


def test_base_and_instruct_models_have_different_names() -> None:
    for name, known in CATALOG.items():
        if name.endswith("-base"):
            assert name.removesuffix("-base") in CATALOG
        if name.endswith(("-instruct", "-it")):
            assert known.repository.lower().endswith(("-instruct", "-it", "-instruct-v0.3", "-instruct-2407"))


@pytest.mark.parametrize("name", ["Qwen/Qwen3-8B", "hf:Qwen/Qwen3-8B@main", "qwen3-8b", "QWEN3-8B"])
def test_a_shape_is_found_by_any_of_a_models_names(name: str) -> None:
    assert find_shape(name) == CATALOG["qwen3-8b"].shape


def test_an_unknown_model_has_no_shape() -> None:
    assert find_shape("hf:nobody/nothing") is None
