"""Batches: every example occurs once per epoch, grouped by length on request; packed rows are full and independent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.trials import curve, encoded, make_config, make_policy, run
from trainables.data import loading
from trainables.data.rows import Conversation
from trainables.memory.measurement import measure
from trainables.models.architecture.forward_probe import Behaviour
from trainables.stages.causal_lm import SharedRows, _packed_rows
from trainables.tokenization import batching
from trainables.training.trainer_setup import rows_on_disk

LENGTHS = np.random.default_rng(0).integers(5, 300, 400)


@pytest.mark.parametrize("by_length", [True, False])
def test_every_example_occurs_once_per_epoch(by_length: bool) -> None:
    result = batching.example_order(LENGTHS, 400, 8, seed=0, by_length=by_length)
    assert sorted(result) == list(range(400))
    twice = batching.example_order(LENGTHS, 800, 8, seed=0, by_length=by_length)
    assert (np.bincount(twice) == 2).all()


def test_the_seed_decides_the_order() -> None:
    first, again, other = (batching.example_order(LENGTHS, 64, 8, seed, by_length=True) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_grouping_by_length_changes_the_batches_and_not_the_rows_that_are_trained_on() -> None:
    grouped, drawn = (batching.example_order(LENGTHS, 64, 8, 3, by_length) for by_length in (True, False))
    assert sorted(grouped) == sorted(drawn)
    assert batching.padding_share(LENGTHS[grouped], 8) < 0.2 < batching.padding_share(LENGTHS[drawn], 8)


def test_the_longest_row_is_in_the_first_batch() -> None:
    for seed in range(5):
        result = batching.example_order(LENGTHS, 160, 8, seed, by_length=True)
        assert LENGTHS[result].max() in LENGTHS[result[:8]]


def test_rows_of_one_length_do_not_meet_in_every_epoch() -> None:
    """Of 24 rows, 8 at a time, a batch is as random as without grouping, and holds no row twice."""
    lengths = np.arange(24)
    grouped, drawn = (batching.example_order(lengths, 24 * 6, 8, 0, by_length) for by_length in (True, False))
    result = [sorted(grouped[start : start + 8]) for start in range(0, len(grouped), 8)]
    assert all(len(set(batch)) == 8 for batch in result)
    assert sorted(map(str, result)) == sorted(
        str(sorted(drawn[start : start + 8])) for start in range(0, 144, 8)
    )


def test_padding_is_counted_as_a_collator_pads() -> None:
    lengths = np.array([3, 5, 2, 2, 7])
    assert batching.padding_share(lengths, 2) == pytest.approx(1 - 19 / (10 + 4 + 7))
    pairs = np.array([[3, 5], [1, 1]])
    assert batching.padding_share(pairs, 2) == pytest.approx(1 - 10 / 20)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(1, 64), min_size=1, max_size=80), st.integers(64, 200))
def test_packs_hold_every_example_once_and_never_more_than_fits(sizes: list[int], room: int) -> None:
    lengths = np.array(sizes)
    result = batching.best_fit(lengths, range(len(sizes)), room)
    assert sorted(np.concatenate(result)) == list(range(len(sizes)))
    assert max(lengths[pack].sum() for pack in result) <= room
    # First-fit's bound holds for best fit too: no two packs could have been one.
    fill = sorted(lengths[pack].sum() for pack in result)
    assert len(fill) < 2 or fill[0] + fill[1] > room


def test_packing_continues_into_the_next_epoch() -> None:
    result = batching.pack_examples(LENGTHS, 300, 400, seed=0)
    assert len(result) == 400
    counts = np.bincount(np.concatenate(result), minlength=400)
    assert counts.min() >= 1
    assert counts.max() - counts.min() <= 1


def test_filling_longest_first_leaves_no_space_for_another_example() -> None:
    result = batching.fill_longest_first(np.array([60, 25, 7]), 100)
    assert result == [0, 1, 2, 2]


def test_rows_in_an_unlinked_file_stay_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = rows_on_disk({"a": list(range(n)), "b": n} for n in range(3000))
    assert list(tmp_path.iterdir()) == []
    assert result[2999]["b"] == 2999
    assert len(result[2998]["a"]) == 2998


# In training


def packing(model: Path, kind: str, **leaves: Any) -> Any:
    stage = {"kind": kind, **({"train_on_prompt": True} if kind == "sft" else {})}
    return make_config(model, "commands", "full", stage=stage, cutoff=256, eval_rows=4, **leaves)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["sft", "pretrain"])
def test_packed_rows_have_the_same_loss_as_separate_rows(tiny_model: Path, kind: str, attention: str) -> None:
    """The sum over all labels of a packed batch, against the same rows each on its own, in float64."""
    config = packing(tiny_model, kind, precision="fp32", dtype="float32")
    config = config.model_copy(update={"model": config.model.model_copy(update={"attention": attention})})
    policy = make_policy(config)
    model = policy.model.double().eval()
    rows = loading.load(config.data, config.stage.row_type).train[:24]
    tokens = config.stage.tokens(policy.tokenizer, rows, 256)
    dataset, _, _ = _packed_rows(tokens, 256, 4, seed=0)
    batch = SharedRows(0)([dataset[place] for place in range(4)])
    assert max(len(dataset[place]["seq_lengths"]) for place in range(4)) > 1
    with torch.no_grad():
        packed = _sum(model(**batch).logits, batch["labels"])
        alone = 0.0
        for pack in batching.pack_examples(tokens.lengths, 256, 4, seed=0):
            for place in pack:
                one = tokens[int(place)]
                alone += _sum(model(torch.tensor([one.input_ids])).logits, torch.tensor([one.labels]))
    assert packed == pytest.approx(alone, rel=1e-9)


def _sum(logits: Any, labels: Any) -> float:
    """The log-probabilities of all labels together."""
    logprobs, targets = logits[:, :-1].log_softmax(-1), labels[:, 1:]
    labelled = targets != -100
    return logprobs[labelled].gather(1, targets[labelled][:, None]).sum().item()


def test_packed_rows_do_not_change_one_anothers_gradients(tiny_model: Path) -> None:
    """What an example's tokens are changes nothing for the other examples of its row."""
    config = packing(tiny_model, "sft", precision="fp32", dtype="float32")
    policy = make_policy(config)
    row = {"input_ids": [5, 6, 7, 8, 9, 10], "labels": [-100, 6, 7, -100, -100, -100], "seq_lengths": [3, 3]}
    other = row | {"input_ids": [5, 6, 7, 20, 21, 22]}
    losses = [policy.model(**SharedRows(0)([one])).loss.item() for one in (row, other)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("kind", ["sft", "pretrain"])
def test_a_packed_trial_trains_and_its_memory_is_measured_on_a_full_row(
    tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    config = packing(tiny_model, kind, packing=True, steps=4)
    record = run(config, tmp_path)
    assert record.status == "done"
    assert record.padding_share is not None
    assert record.padding_share < 0.1
    assert record.tokens is not None
    assert record.tokens > 4 * 4 * 256 * 0.85
    row_tokens = measure(config).row_tokens
    assert row_tokens is not None
    assert 230 <= row_tokens <= 256


def test_a_packed_trial_sees_more_rows_than_an_unpacked_one(tiny_model: Path, tmp_path: Path) -> None:
    packed, plain = (
        run(packing(tiny_model, "sft", packing=each), tmp_path / str(each)) for each in (True, False)
    )
    assert packed.tokens > 1.5 * plain.tokens  # type: ignore[operator]


@pytest.mark.parametrize(("stage", "least"), [("sft", 0.0), ("dpo", 0.05)])
def test_the_padding_share_is_recorded_and_small_if_examples_share_rows(
    tiny_model: Path, tmp_path: Path, stage: str, least: float
) -> None:
    config = make_config(
        tiny_model, "commands", "lora", stage={"kind": stage}, steps=6, batch_size=16, eval_rows=4, cutoff=128
    )
    record = run(config, tmp_path)
    assert record.padding_share is not None
    assert least < record.padding_share < 0.35
    if stage == "sft":
        assert record.padding_share < 0.12
        matched = config.train.model_copy(update={"group_by_length": True})
        assert run(config.model_copy(update={"train": matched}), tmp_path).padding_share < 0.12  # type: ignore[operator]


def test_examples_that_share_a_row_train_to_the_same_losses_as_padded_ones(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(
        tiny_model, "commands", "full", precision="fp32", dtype="float32", steps=4, eval_rows=4, cutoff=128
    )
    shared = run(config, tmp_path / "shared")
    alone = Behaviour(rows_can_share=False)
    monkeypatch.setattr("trainables.trial.loading.probe", lambda model: alone)
    padded = run(config, tmp_path / "padded")
    losses = [[value for _, value in curve(config, tmp_path / name)] for name in ("shared", "padded")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert shared.tokens == padded.tokens
    assert shared.padding_share < padded.padding_share  # type: ignore[operator]


def test_training_sees_the_rows_in_the_computed_order(tiny_model: Path, tmp_path: Path) -> None:
    """The first loss is that of the first batch."""
    config = make_config(
        tiny_model, "commands", "full", precision="fp32", dtype="float32", eval_rows=4, steps=1
    )
    run(config, tmp_path)
    policy = make_policy(config)
    rows = loading.load(config.data, Conversation).train
    tokens = config.stage.tokens(policy.tokenizer, rows, config.data.cutoff)
    order = batching.example_order(tokens.lengths, 4, 4, config.train.seed)
    from trainables.scoring.likelihood import log_likelihoods

    judged = log_likelihoods(
        policy, encoded(policy, [rows[int(place)] for place in order], config.data.cutoff), 4
    )
    expected = -sum(row.logprob for row in judged) / sum(row.tokens for row in judged)
    ((_, first),) = curve(config, tmp_path)
    assert first == pytest.approx(expected, rel=1e-5)
