"""NEFTune: noise on the embeddings changes training, and neither scoring nor what is resumed."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.trials import ScriptedControl, curve, make_config, run, write_rows


def test_noise_changes_training_and_not_the_scores(tiny_model: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl")
    # No weight changes at this rate, so that the scores are those of the base model.
    plain = make_config(tiny_model, rows, steps=1, learning_rate=1e-30)
    noisy = make_config(tiny_model, rows, steps=1, learning_rate=1e-30, stage={"neftune_noise_alpha": 15.0})
    records = [run(config, tmp_path / "run") for config in (plain, noisy)]
    assert records[0].objective == records[1].objective
    assert records[0].quality == records[1].quality
    assert curve(plain, tmp_path / "run") != curve(noisy, tmp_path / "run")
    assert "neftune_noise_alpha" not in plain.canonical()["stage"]


def test_a_resumed_trial_draws_the_noise_that_it_would_have_drawn(tiny_model: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl")
    config = make_config(tiny_model, rows, steps=3, stage={"neftune_noise_alpha": 5.0})
    whole = run(config, tmp_path / "whole")
    interrupted = run(config, tmp_path / "resumed", control=ScriptedControl(interrupt_at=2))
    assert interrupted.status == "interrupted"
    again = run(config, tmp_path / "resumed")
    assert curve(config, tmp_path / "resumed") == curve(config, tmp_path / "whole")
    assert again.objective == whole.objective
