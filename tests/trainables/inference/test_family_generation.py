"""Families that keep what they need of earlier tokens in other ways than keys and values: their answers are right."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.model_families import make_family
from tests.helpers.small_runs import load_untrained
from tests.helpers.trials import make_config, run
from trainables.inference.generator import Generator, stream_answer
from trainables.inference.model_pool import LoadedModel
from trainables.inference.sampling import Sampling
from trainables.models.architecture.decoding import pad_left
from trainables.models.architecture.generation_probe import Generation, probe_generation
from trainables.scoring.generation import continue_greedily, sample_answers

JOINING, IN_TURNS = Generation(), Generation(joins=False)
FAMILIES = {
    "qwen3": JOINING,
    "gpt_oss": JOINING,  # a sliding window in every other layer
    "bloom": JOINING,  # no positions
    "mamba": IN_TURNS,  # a state in each layer
    "lfm2": IN_TURNS,
    # Padding enters its states, of which it keeps one.
    "recurrent_gemma": Generation(padded=False, takes_turns=False, joins=False),
    "rwkv": Generation(padded=False, joins=False),  # no mask at all, and a state of another name
    "xlstm": Generation(cached=False, padded=False, takes_turns=False, joins=False),  # its cache fails
}
OTHERS = [kind for kind, generation in FAMILIES.items() if generation != JOINING]
LENGTHS = (40, 6, 9)  # tokens of prompts; the first is longer than the families' sliding windows
TOKENS = 6  # of an answer


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Any:
    parent = tmp_path_factory.mktemp("families")
    return lru_cache(lambda kind: load_untrained(parent, make_family(parent / kind, kind)))


def prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(3, 90, (length,), generator=generator).tolist() for length in LENGTHS]


@torch.no_grad()
def recomputed(loaded: LoadedModel, prompt: list[int]) -> list[int]:
    """The greedy answer, each token by plain transformers' forward pass over all tokens before it."""
    tokens = list(prompt)
    for _ in range(TOKENS):
        logits = loaded.shared.policy.causal(input_ids=torch.tensor([tokens]), use_cache=False).logits
        tokens.append(int(logits[0, -1].argmax()))
        if tokens[-1] == loaded.tokenizer.eos_token_id:
            break
    return tokens[len(prompt) :]


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_probe_says_how_a_family_generates(
    family: Any, kind: str, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path))
    model = family(kind).shared.policy.causal
    state = torch.get_rng_state()
    assert probe_generation(model) == FAMILIES[kind]
    assert torch.equal(torch.get_rng_state(), state)
    kept = tmp_path.glob("generation/*/generation.json")
    assert len(list(kept)) == 1


@pytest.mark.parametrize("kind", ["mamba", "recurrent_gemma", "rwkv"])
def test_the_probe_says_the_same_in_16_bits(family: Any, kind: str, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path))
    model = family(kind).shared.policy.causal
    try:
        assert probe_generation(model.to(torch.bfloat16)) == FAMILIES[kind]
    finally:
        model.to(torch.float32)


@pytest.mark.parametrize("kind", FAMILIES)
def test_answers_to_several_prompts_are_those_of_recomputing_every_token(family: Any, kind: str) -> None:
    loaded, generator, answers = family(kind), Generator(), []
    for place, prompt in enumerate(prompts()):
        answers.append(generator.submit(loaded, prompt, Sampling(max_new_tokens=TOKENS)))
        if place:  # two start at once, the third joins them
            generator.step()
        assert generator.count == place + 1
    if FAMILIES[kind].one_at_a_time:
        assert not answers[1].tokens
    while generator.busy:
        generator.step()
    assert [answer.tokens for answer in answers] == [recomputed(loaded, prompt) for prompt in prompts()]


def test_results_on_one_base_that_keeps_one_state_wait_for_one_another(family: Any) -> None:
    loaded, generator = family("recurrent_gemma"), Generator()
    both = [
        generator.submit(each, prompt, Sampling(max_new_tokens=TOKENS))
        for each, prompt in zip((loaded, replace(loaded)), prompts(), strict=False)
    ]
    generator.step()
    assert [len(answer.tokens) for answer in both] == [1, 0]
    while generator.busy:
        generator.step()
    assert [answer.tokens for answer in both] == [recomputed(loaded, prompt) for prompt in prompts()[:2]]


@pytest.mark.parametrize("kind", FAMILIES)
def test_batches_of_answers_are_those_of_recomputing_every_token(family: Any, kind: str) -> None:
    loaded = family(kind)
    with loaded.active() as policy:
        answers = continue_greedily(policy, prompts(), TOKENS, batch_size=3)
    expected = [recomputed(loaded, prompt) for prompt in prompts()]
    found = [answer[: len(other)] for answer, other in zip(answers, expected, strict=True)]
    assert found == expected


@pytest.mark.parametrize("kind", OTHERS)
def test_a_sampled_answer_is_the_same_beside_others_and_alone(family: Any, kind: str) -> None:
    loaded, seeds = family(kind), [5, 6, 7]
    with loaded.active() as policy:
        together = sample_answers(policy, *pad_left(prompts()), TOKENS, TOKENS, 1.0, seeds)
        alone = [
            sample_answers(policy, *pad_left([prompt]), TOKENS, TOKENS, 1.0, [seed])[0]
            for prompt, seed in zip(prompts(), seeds, strict=True)
        ]
    assert torch.equal(together, torch.stack(alone))


@pytest.mark.parametrize("kind", ["recurrent_gemma", "xlstm"])
def test_sampling_settings_and_stops_hold_for_answers_that_are_generated_alone(
    family: Any, kind: str
) -> None:
    loaded, prompt = family(kind), prompts()[1]
    sampling = Sampling(max_new_tokens=8, temperature=1, top_k=20, top_p=0.9, seed=3, frequency_penalty=0.5)
    texts = ["".join(stream_answer(loaded, prompt, sampling)) for _ in range(2)]
    assert texts[0] == texts[1]
    stop = texts[0][2:4]
    stopped = "".join(stream_answer(loaded, prompt, Sampling(**{**vars(sampling), "stop": (stop,)})))
    assert stopped == texts[0][: texts[0].index(stop)]
    generator = Generator()
    cancelled, other = (generator.submit(loaded, prompt, Sampling(max_new_tokens=TOKENS)) for _ in range(2))
    generator.step()
    cancelled.finish_reason = "cancelled"
    while generator.busy:
        generator.step()
    assert (len(cancelled.tokens), other.tokens) == (1, recomputed(loaded, prompt))


@pytest.mark.parametrize("kind", ["mamba", "recurrent_gemma"])
def test_ppo_trains_a_family_whose_rows_are_answered_alone(tmp_path: Path, kind: str) -> None:
    folder = make_family(tmp_path / "model", kind)
    stage = {"kind": "ppo", "reward": "commands", "max_new_tokens": 4, "eval_batch": 4}
    config = make_config(
        folder, "commands", "full", stage=stage, steps=1, eval_rows=4, precision="fp32", dtype="float32"
    )
    record = run(config, tmp_path)
    assert (record.status, record.cached_generation) == ("done", True)
    assert record.padded_generation == FAMILIES[kind].padded
