"""Loading of models whose files hold something else than the class that loads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.helpers.family_sizes import LAYERS
from tests.helpers.model_families import make_family
from tests.helpers.tiny_model import make_model
from tests.helpers.trials import make_config, write_rows
from trainables.models.architecture.decoder_layers import decoder_layers
from trainables.models.architecture.model_classes import class_problem
from trainables.models.folder import ModelError, read_architecture
from trainables.runner.run import TrialContext, run_trial
from trainables.trial.loading import load_base


@pytest.fixture
def incomplete(tmp_path: Path) -> Path:
    """A model whose file lacks a matrix."""
    folder = make_model(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("stage", ["sft", "reward"])
def test_weights_that_the_files_lack_are_named_and_not_drawn_at_random(incomplete: Path, stage: str) -> None:
    with pytest.raises(
        ModelError, match=r"lack 1 of the \d+ weights .*, such as model.layers.1.mlp.up_proj.weight"
    ):
        load_base(make_config(incomplete, "commands", "full", stage={"kind": stage}), incomplete)


def test_a_reward_models_head_may_be_new(tiny_model: Path) -> None:
    config = make_config(tiny_model, "commands", "full", stage={"kind": "reward"})
    assert load_base(config, tiny_model).score.weight.shape[0] == 1


@pytest.mark.parametrize("kind", ["bert-generation", "xlnet"])
def test_a_model_that_sees_later_tokens_is_refused_before_the_first_step(tmp_path: Path, kind: str) -> None:
    config = make_config(make_family(tmp_path / kind, kind), "commands", "full", dtype="float32")
    record = run_trial(config, TrialContext(tmp_path))
    assert (record.status, record.steps) == ("failed", None)
    assert "predicts a token from those after it, as an encoder does" in str(record.error)


def test_a_text_part_that_could_not_be_loaded_again_is_refused() -> None:
    assert "can't load the text part of mllama" in str(class_problem({"model_type": "mllama"}))
    assert class_problem({"model_type": "llama4"}) is None
    assert class_problem({"model_type": "gemma3"}) is None


def test_the_layers_of_a_config_that_does_not_state_them_are_counted_in_the_files(tmp_path: Path) -> None:
    folder = make_family(tmp_path / "bart", "bart")
    assert read_architecture(folder).layers == LAYERS


def test_the_decoders_layers_are_not_those_of_a_tower_for_images_that_has_as_many(tmp_path: Path) -> None:
    folder = make_family(tmp_path / "phi4_multimodal", "phi4_multimodal")
    model = load_base(make_config(folder, "commands", "full"), folder)
    assert list(decoder_layers(model)) == list(model.model.layers)


def test_a_decoder_whose_config_counts_its_layers_twice_has_them_found(tmp_path: Path) -> None:
    folder = make_family(tmp_path / "model", "longcat_flash")
    model = load_base(make_config(folder, "commands", "full"), folder)
    assert list(decoder_layers(model)) == list(model.model.layers)


def test_rounding_to_8_bits_by_all_tokens_makes_no_encoder_of_a_decoder(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl")
    config = make_config(make_family(tmp_path / "olmo3", "olmo3"), rows, "qlora-8bit", dtype="float32")
    record = run_trial(config, TrialContext(tmp_path))
    assert record.status == "done", record.error
