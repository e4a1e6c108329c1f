"""Answers generated together: streaming, joining, limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.small_runs import load_untrained
from trainables.inference.generator import (
    Generator,
    PromptTooLong,
    context_length,
    prompt_tokens,
    stream_answer,
)
from trainables.inference.model_pool import LoadedModel
from trainables.inference.sampling import Sampling
from trainables.scoring.generation import continue_greedily

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
