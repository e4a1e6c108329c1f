"""RoPE scaling: each kind's positions against its formula, scaled once whatever a trial starts from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.model_families import make_family
from tests.helpers.specs import SPEC, plan, problems, spec_folder
from tests.helpers.trials import make_config, run, write_rows
from trainables.config.model import ModelConfig
from trainables.config.rope import Rope
from trainables.models.rope_scaling import scaling_problem
from trainables.trial.config import TrialConfig
from trainables.trial.loading import load_base, model_config


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl")


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    return spec_folder(tmp_path)


def with_rope(config: TrialConfig, rope: Any, **data: Any) -> TrialConfig:
    model = ModelConfig.model_validate({**config.model.model_dump(), "rope": rope})
    return config.model_copy(update={"model": model, "data": config.data.model_copy(update=data)})


def frequencies(config: TrialConfig, folder: Path) -> torch.Tensor:
    return load_base(config, folder).model.rotary_emb.inv_freq


def known(folder: Path) -> int:
    return int(model_config(ModelConfig(path=folder), folder, 64).max_position_embeddings)


def test_linear_scaling_divides_every_frequency(tiny_model: Path, rows: Path) -> None:
    config = make_config(tiny_model, rows)
    plain = frequencies(config, tiny_model)
    scaled = frequencies(with_rope(config, {"kind": "linear", "factor": 4}), tiny_model)
    torch.testing.assert_close(scaled, plain / 4)


def test_dynamic_scaling_keeps_known_positions_and_grows_the_base_beyond(
    tiny_model: Path, rows: Path
) -> None:
    config = make_config(tiny_model, rows)
    model = load_base(with_rope(config, {"kind": "dynamic", "factor": 2}), tiny_model)
    plain, rotary = frequencies(config, tiny_model), model.model.rotary_emb
    torch.testing.assert_close(rotary.inv_freq, plain)
    size, length = 2 * len(plain), 2 * known(tiny_model)
    rotary(torch.zeros(1, 1, 1), torch.arange(length)[None])
    theta = model.config.rope_parameters["rope_theta"]
    # NTK-aware: base x (factor x length / known - (factor - 1)) ^ (size / (size - 2)).
    base = theta * (2 * length / known(tiny_model) - 1) ** (size / (size - 2))
    torch.testing.assert_close(rotary.inv_freq, base ** (-torch.arange(0, size, 2) / size))


def test_yarn_keeps_high_frequencies_and_divides_low_ones(tiny_model: Path, rows: Path) -> None:
    config = make_config(tiny_model, rows)
    model = load_base(with_rope(config, {"kind": "yarn", "factor": 4}), tiny_model)
    plain, scaled = frequencies(config, tiny_model), model.model.rotary_emb.inv_freq
    ratio = plain / scaled
    assert ratio[0] == pytest.approx(1)  # turns often within the positions that are known
    assert torch.all(ratio.diff() >= -1e-5)
    assert ratio.max() <= 4 + 1e-4
    assert model.model.rotary_emb.attention_scaling == pytest.approx(0.1 * math.log(4) + 1)


def test_llama3_divides_the_waves_that_are_longer_than_the_known_positions(
    tiny_model: Path, rows: Path
) -> None:
    config = make_config(tiny_model, rows)
    plain = frequencies(config, tiny_model)
    scaled = frequencies(with_rope(config, {"kind": "llama3", "factor": 8}), tiny_model)
    waves = 2 * math.pi / plain
    short, long = waves < known(tiny_model) / 4, waves > known(tiny_model)
    torch.testing.assert_close(scaled[short], plain[short])
    torch.testing.assert_close(scaled[long], plain[long] / 8)


@pytest.mark.parametrize(("cutoff", "factor"), [(100, 1), (8192, 1), (8193, 2), (20_000, 3)])
def test_without_a_factor_it_follows_from_the_cutoff(cutoff: int, factor: float) -> None:
    assert Rope(kind="yarn").factor_for(cutoff, 8192) == factor


@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn", "llama3"])
def test_a_trial_trains_with_scaled_positions_and_records_the_scaling(
    tiny_model: Path, rows: Path, tmp_path: Path, kind: str
) -> None:
    record = run(with_rope(make_config(tiny_model, rows), {"kind": kind, "factor": 2}), tmp_path)
    assert (record.status, record.rope) == ("done", f"{kind} x 2")


def test_weights_trained_with_scaled_positions_are_not_scaled_twice(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config = with_rope(make_config(tiny_model, rows, "full"), {"kind": "linear", "factor": 2})
    record = run(config, tmp_path)
    trained = tmp_path / "trials" / record.trial_id / "model"
    saved = model_config(ModelConfig(path=trained), trained, 64)
    assert saved.rope_parameters["factor"] == 2
    again = model_config(config.model, trained, 64)
    assert again.rope_parameters == saved.rope_parameters
    assert again.max_position_embeddings == saved.max_position_embeddings == 2 * known(tiny_model)


def test_positions_that_are_already_scaled_are_refused() -> None:
    config = {"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}
    message = scaling_problem(config, Rope(kind="linear"))
    assert message == "its positions are already scaled (llama3, factor 8); leave model.rope out"
    assert scaling_problem({"max_position_embeddings": 4096, "rope_theta": 1e4}, Rope(kind="linear")) is None


def with_positions(path: Path, positions: int) -> None:
    import json

    file = path / "model" / "config.json"
    parameters = {"rope_type": "default", "rope_theta": 1e4}
    known = {"max_position_embeddings": positions, "rope_parameters": parameters}
    file.write_text(json.dumps(json.loads(file.read_text()) | known))


def test_a_cutoff_beyond_the_known_positions_is_a_warning(workdir: Path) -> None:
    with_positions(workdir, 512)
    planned = plan(workdir, SPEC, ("data.cutoff=1000",))
    assert planned.errors == ()
    (warning,) = planned.warnings
    assert (
        "1000 tokens, but the model was trained on 512 positions; scale them (model: {rope: yarn})"
        in warning.what
    )
    assert plan(workdir, SPEC, ("data.cutoff=1000", "model.rope=yarn")).problems == ()


def test_virtual_tokens_take_positions_and_learned_positions_end(workdir: Path, tmp_path: Path) -> None:
    with_positions(workdir, 512)
    methods = "methods:\n  - {kind: peft, type: prompt_tuning, num_virtual_tokens: 20}\n"
    text = SPEC[: SPEC.index("methods:")] + methods + SPEC[SPEC.index("train: {steps") :]
    fits = "data.cutoff=492"
    assert not [each for each in plan(workdir, text, (fits,)).problems if "positions" in each.what]
    (warning,) = (
        each for each in plan(workdir, text, ("data.cutoff=493",)).warnings if "positions" in each.what
    )
    assert "493 tokens after 20 virtual ones, but the model was trained on 512 positions" in warning.what
    gpt2 = make_family(tmp_path / "gpt2", "gpt2")  # of 256 positions
    learned = ("model.path=" + str(gpt2), "data.cutoff=237")
    (error,) = (each for each in plan(workdir, text, learned).errors if "positions" in each.what)
    assert "the model has embeddings of 256 positions; give a cutoff of at most 236" in error.what
    within = (learned[0], "data.cutoff=236")
    assert not [each for each in plan(workdir, text, within).problems if "positions" in each.what]


def test_scaling_that_does_nothing_is_a_warning(workdir: Path) -> None:
    with_positions(workdir, 512)
    (warning,) = plan(workdir, SPEC, ("data.cutoff=100", "model.rope=linear")).warnings
    assert (
        "rows of 100 tokens fit the 512 positions that the model was trained on, so nothing is scaled"
        in warning.what
    )


@pytest.mark.parametrize(("wrong", "meant"), [("yam", "yarn"), ("dynatic", "dynamic"), ("liner", "linear")])
def test_a_misspelled_kind_gets_the_nearest(workdir: Path, wrong: str, meant: str) -> None:
    with_positions(workdir, 512)
    (message,) = problems(workdir, SPEC, f"model.rope={wrong}")
    assert f"model.rope: got '{wrong}'; allowed: none, linear, dynamic, yarn, llama3" in message
    assert message.endswith(f"Did you mean {meant}?")


def test_kinds_can_be_compared(workdir: Path) -> None:
    with_positions(workdir, 512)
    text = SPEC.replace(
        "{path: model}", "{path: model, rope: {compare: [none, linear, {kind: yarn, factor: 4}]}}"
    )
    cells = [cell.name for cell in plan(workdir, text, ("data.cutoff=1000",)).cells if "full" in cell.name]
    assert cells == ["sft-full-none", "sft-full-linear", "sft-full-yarn-factor4"]
