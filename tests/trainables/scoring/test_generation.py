"""Log-likelihoods and greedy answers: verifying a draft gives what plain decoding gives, token for token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.trials import encoded, make_config, make_policy, run, write_rows
from trainables.config.data import DataConfig
from trainables.data import loading
from trainables.data.rows import Conversation
from trainables.models.architecture.decoding import pad_left
from trainables.scoring.generation import (
    _GumbelNoise,
    end_tokens,
    greedy_answers,
    row_seeds,
    sample_answers,
    verified_prefix,
)
from trainables.scoring.likelihood import log_likelihoods
from trainables.tokenization.encode import IGNORED, Encoded
from trainables.training.policy import Policy

ROOM = 24


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl", 64)


@pytest.fixture(scope="module")
def rows(rows_file: Path) -> tuple[Conversation, ...]:
    return loading.load(make_config(Path("unused"), rows_file).data).train[:40]


@pytest.fixture(scope="module")
def untrained(tiny_model: Path, rows_file: Path) -> Policy:
    """In fp32: a near tie in bf16 could fall one way in a batch and the other way alone."""
    return make_policy(make_config(tiny_model, rows_file, "full", precision="fp32"))


@pytest.fixture(scope="module")
def trained(tiny_model: Path, rows_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """Taught a little, so that it agrees with some references to the end and parts with others on the way."""
    folder = tmp_path_factory.mktemp("taught")
    settings: dict[str, Any] = {"precision": "fp32", "steps": 140, "batch_size": 8, "learning_rate": 5e-3}
    config = make_config(tiny_model, rows_file, "full", eval_rows=4, logging_steps=50, **settings)
    run(config, folder)
    taught = folder / "trials" / config.trial_id() / "model"
    return make_policy(make_config(taught, rows_file, "full", precision="fp32"))


def plainly(policy: Policy, row: Encoded, room: int) -> list[int]:
    """What the model's own greedy generation gives from scratch, alone, without a draft."""
    with policy.evaluating():
        output = policy.causal.generate(
            input_ids=torch.tensor([row.prompt]), max_new_tokens=room, do_sample=False, use_cache=True
        )
    return output[0, len(row.prompt) :].tolist()


def decoded(policy: Policy, tokens: Sequence[list[int]]) -> list[str]:
    return [text.strip() for text in policy.tokenizer.batch_decode(tokens, skip_special_tokens=True)]


# Generation


def test_some_answers_of_the_trained_model_agree_with_the_draft_and_some_do_not(
    trained: Policy, rows: tuple[Conversation, ...]
) -> None:
    """So that the tests below mean something."""
    tokens = encoded(trained, rows, 256)
    ends = set(end_tokens(trained))
    common = []
    for row, found in zip(tokens, log_likelihoods(trained, tokens, 8), strict=True):
        taken = verified_prefix(row.answer, found.greedy_tokens, ends)
        common.append("whole" if taken[-1] in ends else "none" if len(taken) == 1 else "part")
    assert set(common) >= {"whole", "part"}


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_greedy_answers_are_those_of_plain_generation(
    trained: Policy, rows: tuple[Conversation, ...], batch_size: int
) -> None:
    tokens = encoded(trained, rows, 256)
    found = greedy_answers(trained, tokens, log_likelihoods(trained, tokens, batch_size), ROOM, batch_size)
    assert found == decoded(trained, [plainly(trained, row, ROOM) for row in tokens])


@pytest.mark.parametrize("room", [1, 2, 3, 5])
def test_a_long_answer_is_cut_where_plain_generation_cuts_it(
    trained: Policy, rows: tuple[Conversation, ...], room: int
) -> None:
    """The tokens that the draft proved count, too."""
    tokens = encoded(trained, rows, 256)
    found = greedy_answers(trained, tokens, log_likelihoods(trained, tokens, 8), room, 8)
    assert found == decoded(trained, [plainly(trained, row, room) for row in tokens])


def test_the_models_own_generation_settings_are_ignored(
    trained: Policy, rows: tuple[Conversation, ...]
) -> None:
    """Qwen's, for one, ask for sampling and a repetition penalty; scored is the most likely answer."""
    tokens = encoded(trained, rows[:8], 256)
    likelihoods = log_likelihoods(trained, tokens, 8)
    expected = greedy_answers(trained, tokens, likelihoods, ROOM, 8)
    own = trained.causal.generation_config
    before = own.to_dict()
    try:
        own.update(repetition_penalty=5.0, temperature=0.1, top_k=2, do_sample=True, min_new_tokens=9)
        assert greedy_answers(trained, tokens, likelihoods, ROOM, 8) == expected
        assert own.repetition_penalty == 5.0
    finally:
        own.update(**before)


def test_a_row_whose_answer_was_cut_off_is_answered_in_full(
    trained: Policy, rows: tuple[Conversation, ...]
) -> None:
    whole = encoded(trained, rows[:6], 256)
    cut = [
        replace(
            row, input_ids=row.input_ids[: row.prompt_tokens + 2], labels=row.labels[: row.prompt_tokens + 2]
        )
        for row in whole
    ]
    answers = [
        greedy_answers(trained, tokens, log_likelihoods(trained, tokens, 6), ROOM, 6)
        for tokens in (whole, cut)
    ]
    assert answers[0] == answers[1]


def test_rows_are_answered_in_their_own_order(trained: Policy, rows: tuple[Conversation, ...]) -> None:
    tokens = encoded(trained, rows, 256)
    forwards = greedy_answers(trained, tokens, log_likelihoods(trained, tokens, 8), ROOM, 8)
    tokens = tokens[::-1]
    assert greedy_answers(trained, tokens, log_likelihoods(trained, tokens, 8), ROOM, 8) == forwards[::-1]


@pytest.mark.parametrize(
    ("draft", "choices", "expected"),
    [
        ([5, 6, 7], [5, 6, 7], [5, 6, 7]),  # all the way, with no end: the model has to go on by itself
        ([5, 6, 7], [9, 6, 7], [9]),  # another choice at once; what follows in the draft proves nothing
        ([5, 6, 7], [5, 6, 9], [5, 6, 9]),
        ([5, 0, 7], [5, 0, 7], [5, 0]),  # the end ends it, whatever the draft has behind it
        ([5, 6, 7], [5, 0, 7], [5, 0]),  # the model ends where the draft goes on
        ([0], [0], [0]),
        ([5], [6], [6]),
    ],
)
def test_the_draft_verifies_tokens_up_to_the_first_that_differs_or_the_end(
    draft: list[int], choices: list[int], expected: list[int]
) -> None:
    assert verified_prefix(draft, choices, ends={0}) == expected


def test_answers_end_at_the_tokenizers_end_token_and_at_the_models_own(
    tiny_model: Path, rows_file: Path
) -> None:
    policy = make_policy(make_config(tiny_model, rows_file, None))
    assert end_tokens(policy) == [policy.tokenizer.eos_token_id]
    policy.causal.generation_config.eos_token_id = [7, policy.tokenizer.eos_token_id]
    assert end_tokens(policy) == sorted({7, policy.tokenizer.eos_token_id})


# Likelihood


def naively(policy: Policy, row: Encoded) -> tuple[float, list[int]]:
    """Summed log-probability of the labelled tokens and the first choices, from the whole block of logits."""
    ids = torch.tensor([row.input_ids])
    with policy.evaluating():
        logprobs = torch.log_softmax(policy.model(input_ids=ids).logits.double(), dim=-1)[0]
    places = [place for place, label in enumerate(row.labels) if label != IGNORED]
    total = sum(logprobs[place - 1, row.input_ids[place]].item() for place in places)
    return total, [int(logprobs[place - 1].argmax()) for place in places]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_log_likelihoods_are_those_of_a_plain_log_softmax(
    trained: Policy, rows: tuple[Conversation, ...], batch_size: int, whole: bool
) -> None:
    tokens = encoded(trained, rows[:16], 256)
    if whole:  # nothing predicts the first token
        tokens = [replace(row, labels=[IGNORED, *row.input_ids[1:]]) for row in tokens]
    for row, found in zip(tokens, log_likelihoods(trained, tokens, batch_size), strict=True):
        logprob, choices = naively(trained, row)
        assert found.logprob == pytest.approx(logprob, rel=1e-4)
        assert found.greedy_tokens == choices
        assert found.tokens == sum(label != IGNORED for label in row.labels)


def test_log_likelihoods_cap_the_logits_where_the_model_does(
    untrained: Policy, rows: tuple[Conversation, ...]
) -> None:
    """Gemma 2's cap: logits become cap * tanh(logits / cap)."""
    (row,) = encoded(untrained, rows[:1], 256)
    untrained.causal.config.final_logit_softcapping = 0.5
    try:
        (found,) = log_likelihoods(untrained, [row], 1)
    finally:
        del untrained.causal.config.final_logit_softcapping
    with untrained.evaluating():
        logits = untrained.model(input_ids=torch.tensor([row.input_ids])).logits.double()[0]
    logprobs = torch.log_softmax(0.5 * torch.tanh(logits / 0.5), dim=-1)
    places = range(row.prompt_tokens, len(row.input_ids))
    assert found.logprob == pytest.approx(
        sum(logprobs[p - 1, row.input_ids[p]].item() for p in places), rel=1e-5
    )


def test_log_likelihoods_do_not_depend_on_the_blocks_of_logits(
    trained: Policy, rows: tuple[Conversation, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = encoded(trained, rows[:8], 256)
    whole = log_likelihoods(trained, tokens, 8)
    monkeypatch.setattr("trainables.scoring.likelihood.LOGITS_AT_ONCE", 5)
    for one, other in zip(log_likelihoods(trained, tokens, 8), whole, strict=True):
        assert one.greedy_tokens == other.greedy_tokens
        assert one.logprob == pytest.approx(other.logprob, rel=1e-5)


def test_a_row_without_an_answer_has_a_log_likelihood_of_zero(
    trained: Policy, rows: tuple[Conversation, ...]
) -> None:
    full, other = encoded(trained, rows[:2], 256)
    empty = replace(other, labels=[IGNORED] * len(other.labels))
    first, second = log_likelihoods(trained, [full, empty], 2)
    assert first.greedy_tokens == log_likelihoods(trained, [full], 1)[0].greedy_tokens
    assert (second.logprob, second.tokens, second.greedy_tokens) == (0.0, 0, [])


def test_the_scored_loss_is_the_loss_that_trl_trains_on(
    tiny_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    """One step over every training row, without a change to the weights yet: the first loss of the curve."""
    from tests.helpers.trials import curve

    for method in ("full", "lora"):
        batch = {"batch_size": len(loading.load(DataConfig(train=str(rows_file), eval_fraction=0.25)).train)}
        config = make_config(tiny_model, rows_file, method, precision="fp32", steps=1, **batch)
        run(config, tmp_path)
        policy = make_policy(config)
        likelihoods = log_likelihoods(
            policy, encoded(policy, loading.load(config.data).train, config.data.cutoff), 16
        )
        loss = -sum(row.logprob for row in likelihoods) / sum(row.tokens for row in likelihoods)
        ((_, trained_on),) = curve(config, tmp_path)
        assert trained_on == pytest.approx(loss, rel=1e-5)


def test_the_quality_of_the_embedded_data_is_the_share_of_exact_matches(
    tiny_model: Path, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    config = make_config(tiny_model, "commands", None, eval_rows=8)
    record = run(config, tmp_path)
    table = pq.read_table(tmp_path / "trials" / config.trial_id() / "predictions.parquet").to_pylist()
    assert record.quality_name == "exact_match"
    assert record.quality == sum(row["prediction"] == row["reference"] for row in table) / 8
    assert [row["row"] for row in table] == [*range(8)]
    assert json.loads(table[0]["prompt"])[-1]["role"] == "user"


def test_data_without_one_right_answer_is_scored_by_its_loss(
    tiny_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    config = make_config(tiny_model, rows_file, None)
    record = run(config, tmp_path)
    policy = make_policy(config)
    likelihoods = log_likelihoods(
        policy, encoded(policy, loading.load(config.data).test, config.data.cutoff), 64
    )
    assert (record.quality_name, record.quality_higher_is_better) == ("loss", False)
    expected = -sum(row.logprob for row in likelihoods) / sum(row.tokens for row in likelihoods)
    assert record.quality == pytest.approx(expected, rel=1e-6)


# Drawn answers


def drawn(policy: Policy, prompts: list[list[int]], numbers: list[int], **options: Any) -> list[list[int]]:
    ids, mask = pad_left(prompts, policy.tokenizer.pad_token_id)
    own = [row_seeds(0, number, 1)[0] for number in numbers]
    settings = {"max_new_tokens": 6, "min_new_tokens": 6, "temperature": 1.0, **options}
    return sample_answers(policy, ids, mask, seeds=own, **settings).tolist()


def test_a_sampled_answer_depends_on_its_own_seed_and_not_on_the_rows_beside_it(untrained: Policy) -> None:
    prompts = [[5, 6, 7, 8], [9, 10], [11, 12, 13]]
    together = drawn(untrained, prompts, [0, 1, 2])
    assert [drawn(untrained, [prompts[n]], [n])[0] for n in range(3)] == together
    assert drawn(untrained, prompts, [3, 4, 5]) != together
    assert drawn(untrained, [[5, 6, 7, 8]] * 2, [0, 7])[0] == together[0]


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_answers_are_sampled_from_the_softmax_of_the_logits(temperature: float) -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -torch.inf]]).expand(4000, 4)
    noise = _GumbelNoise(row_seeds(0, 0, 4000), temperature, "cpu")
    found = noise(torch.empty(0), logits).argmax(1).bincount(minlength=4) / 4000
    torch.testing.assert_close(found, (logits[0] / temperature).softmax(0), atol=0.025, rtol=0)
