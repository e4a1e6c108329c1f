"""Loading of models whose files hold something else than the class that loads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.helpers.tiny_model import make_model
from tests.helpers.trials import make_config
from trainables.models.folder import ModelError
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
