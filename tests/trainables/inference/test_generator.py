"""Answers generated together: streaming, joining, limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.helpers.small_runs import load_untrained
from tests.helpers.tiny_model import VOCAB
from trainables.inference import generator
from trainables.inference.continuous_batch import Answer, Batch, start_batches
from trainables.inference.generator import (
    AnswerFailed,
    Generator,
    stream_answer,
)
from trainables.inference.model_pool import LoadedModel
from trainables.inference.prompts import (
    PromptTooLong,
    UnknownToken,
    completion_tokens,
    context_length,
    prompt_tokens,
)
from trainables.inference.sampling import Sampling, TokenSampler
from trainables.scoring.generation import continue_greedily
from trainables.training.policy import Policy

QUESTIONS = ("wake me at 7", "play some jazz in the kitchen, and turn the lights down", "stop", "call mum")
SHORT = Sampling(max_new_tokens=12)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> LoadedModel:
    return load_untrained(tmp_path_factory.mktemp("generator"), tiny_model)


def prompts(loaded: LoadedModel) -> list[list[int]]:
    return [prompt_tokens(loaded, [{"role": "user", "content": question}]) for question in QUESTIONS]


def greedy(loaded: LoadedModel, prompt: list[int], count: int) -> str:
    with loaded.active() as policy:
        tokens = continue_greedily(policy, [prompt], count, 1)[0]
    return str(loaded.tokenizer.decode(tokens, skip_special_tokens=True))


def test_a_streamed_answer_is_the_one_that_is_generated_at_once(loaded: LoadedModel) -> None:
    for prompt in prompts(loaded):
        pieces = list(stream_answer(loaded, prompt, SHORT))
        assert "".join(pieces) == greedy(loaded, prompt, 12)
        assert len(pieces) > 1


def test_answers_that_join_at_any_step_are_the_same_as_alone(loaded: LoadedModel) -> None:
    generator, answers = Generator(), []
    lengths = (12, 3, 9, 5)
    for prompt, length in zip(prompts(loaded), lengths, strict=True):
        answers.append(generator.submit(loaded, prompt, Sampling(max_new_tokens=length)))
        generator.step()  # the next one joins while this one is being generated
    while generator.busy:
        generator.step()
    for answer, prompt, length in zip(answers, prompts(loaded), lengths, strict=True):
        with loaded.active() as policy:
            assert answer.tokens == continue_greedily(policy, [prompt], length, 1)[0][: len(answer.tokens)]
        assert answer.finish_reason == ("length" if len(answer.tokens) == length else "stop")


def test_answers_beyond_the_maximum_wait_for_others_to_end(loaded: LoadedModel) -> None:
    generator = Generator(max_concurrent=2)
    answers = [generator.submit(loaded, prompt, Sampling(max_new_tokens=4)) for prompt in prompts(loaded)]
    assert len(generator.step()) == 2
    while generator.busy:
        assert len(generator.step()) <= 2
    assert all(answer.tokens for answer in answers)


def test_a_sampled_answer_depends_on_its_seed_and_not_on_its_batch(loaded: LoadedModel) -> None:
    def drawn(seed: int, *others: int) -> list[int]:
        generator = Generator()
        for other in others:
            generator.submit(
                loaded, prompts(loaded)[1], Sampling(max_new_tokens=8, temperature=1, seed=other)
            )
        answer = generator.submit(
            loaded, prompts(loaded)[0], Sampling(max_new_tokens=8, temperature=1, seed=seed)
        )
        while generator.busy:
            generator.step()
        return answer.tokens

    assert drawn(1) == drawn(1, 5, 6)
    assert drawn(1) != drawn(2)


def test_a_prompt_that_fills_the_context_is_refused(loaded: LoadedModel) -> None:
    with pytest.raises(PromptTooLong, match="the prompt has 300 tokens; tiny takes 256"):
        Generator().submit(loaded, [5] * 300, SHORT)
    answer = Generator().submit(loaded, [5] * 250, SHORT)
    assert answer.sampler.sampling.max_new_tokens == context_length(loaded) - 250


def test_a_text_with_more_characters_than_the_context_can_hold_is_not_tokenized(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = max(map(len, loaded.tokenizer.get_vocab()))
    text, limit = "a" * (256 * longest), f"takes 256 tokens of at most {longest}"
    assert len(completion_tokens(loaded, text, 0)) >= 256
    monkeypatch.setattr(type(loaded.tokenizer), "__call__", lambda *_: pytest.fail("it was tokenized"))
    with pytest.raises(PromptTooLong, match=f"{len(text) + 1} characters; tiny {limit}"):
        completion_tokens(loaded, text + "a", 0)
    with pytest.raises(PromptTooLong, match=limit):
        prompt_tokens(loaded, [{"role": "user", "content": text}, {"role": "assistant", "content": "a"}])


def test_a_prompt_with_a_token_that_has_no_embedding_is_refused(loaded: LoadedModel) -> None:
    for token in (VOCAB, -1):
        with pytest.raises(
            UnknownToken, match=rf"the token {token}; tiny has embeddings for 0 to {VOCAB - 1}"
        ):
            Generator().submit(loaded, [5, token, 5], SHORT)


def generate(loaded: LoadedModel, generator: Generator, length: int = 12) -> list[Answer]:
    """The answers to all questions; the others join the first."""
    sampling, answers = Sampling(max_new_tokens=length), []
    for prompt in prompts(loaded):
        answers.append(generator.submit(loaded, prompt, sampling))
        if len(answers) == 1:
            generator.step()
    while generator.busy:
        generator.step()
    return answers


def test_an_error_while_a_token_is_chosen_fails_its_answer_alone(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [answer.tokens for answer in generate(loaded, Generator())]
    choose = TokenSampler.next_token

    def fail_once(self: TokenSampler, logits: torch.Tensor) -> int:
        if self.counts.total() == 3 and self.sampling.seed == 7:
            raise ArithmeticError("no numbers")
        return choose(self, logits)

    monkeypatch.setattr(TokenSampler, "next_token", fail_once)
    generator = Generator()
    bad = generator.submit(loaded, prompts(loaded)[0], Sampling(max_new_tokens=12, seed=7))
    answers = generate(loaded, generator)
    assert [answer.tokens for answer in answers] == expected
    assert (bad.finish_reason, str(bad.failure), len(bad.tokens)) == ("failed", "no numbers", 3)


@pytest.mark.parametrize("after", [0, 4])
def test_an_error_of_a_batch_fails_the_answers_alone_that_fail_alone(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    expected = [answer.tokens for answer in generate(loaded, Generator())]
    bad_prompt, step, start = prompts(loaded)[2], Batch.step, start_batches

    def refuse(answers: Sequence[Answer]) -> None:
        if any(each.prompt == bad_prompt and len(each.tokens) >= after for each in answers):
            raise IndexError("index out of range")

    def step_without(self: Batch) -> None:
        refuse(self.answers)
        step(self)

    def start_without(policy: Policy, answers: Sequence[Answer], end_ids: Sequence[int]) -> list[Batch]:
        refuse(answers)
        return start(policy, answers, end_ids)

    monkeypatch.setattr(Batch, "step", step_without)
    monkeypatch.setattr(generator, "start_batches", start_without)
    answers = generate(loaded, Generator())
    bad = answers.pop(2)
    assert isinstance(bad.failure, IndexError)
    assert bad.tokens == expected.pop(2)[:after]
    assert [answer.tokens for answer in answers] == expected
    assert all(answer.failure is None for answer in answers)


def test_a_batch_that_fails_once_costs_no_answer(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [answer.tokens for answer in generate(loaded, Generator())]
    join, failures = Batch.join, []

    def fail_first(self: Batch, other: Batch) -> None:
        if not failures:
            failures.append(other)
            raise MemoryError
        join(self, other)

    monkeypatch.setattr(Batch, "join", fail_first)
    assert [answer.tokens for answer in generate(loaded, Generator())] == expected
    assert failures


def test_a_model_that_cannot_be_used_fails_its_own_answers_alone(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, generator = replace(loaded), Generator()
    monkeypatch.setattr(broken, "active", lambda: 1 / 0)
    bad = generator.submit(broken, prompts(loaded)[0], SHORT)
    assert generate(loaded, generator)[0].tokens
    assert isinstance(bad.failure, ZeroDivisionError)


def test_a_failed_answer_says_what_failed_and_where(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TokenSampler, "next_token", lambda *_: 1 / 0)
    expected = r"tiny failed: ZeroDivisionError: division by zero \(continuous_batch.py:\d+ in add_token\)"
    with pytest.raises(AnswerFailed, match=expected):
        list(stream_answer(loaded, prompts(loaded)[0], SHORT))


def test_a_temperature_of_almost_zero_draws_the_most_likely_tokens(loaded: LoadedModel) -> None:
    prompt = prompts(loaded)[0]
    drawn = "".join(stream_answer(loaded, prompt, Sampling(max_new_tokens=8, temperature=1e-320, seed=0)))
    assert drawn == greedy(loaded, prompt, 8)
