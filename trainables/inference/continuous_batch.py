"""Continuous batching: answers are generated together, and each joins and leaves the batch at any step (Yu et al.,
2022, "Orca").

transformers' own implementation runs paged attention with a large, fixed number of positions per step: made for GPUs,
and many times slower on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from trainables.inference.sampling import Sampling, TokenSampler
from trainables.models.architecture.decoding import JoinedRows, Rows
from trainables.training.policy import Policy


@dataclass
class Answer:
    """An answer that is being generated: the token ids of its ``prompt`` and its ``tokens`` so far.

    ``finish_reason`` is ``None`` until it ends: ``stop`` after an end token or a stop text, ``length`` at its maximum
    number of tokens, ``cancelled`` by the caller, ``failed`` by the ``failure``.
    """

    prompt: list[int]
    sampler: TokenSampler
    tokens: list[int]
    finish_reason: str | None = None
    failure: Exception | None = None

    @classmethod
    def start(cls, prompt: list[int], sampling: Sampling) -> Answer:
        """An answer without tokens yet."""
        return cls(prompt, TokenSampler(sampling), [])

    def add_token(self, logits: Tensor, end_ids: Sequence[int]) -> None:
        """Chooses the next token by ``logits`` (vocab); one of ``end_ids`` ends the answer.

        An error while it is chosen fails this answer and none of those that are generated together with it.
        """
        try:
            self.tokens.append(self.sampler.next_token(logits))
        except Exception as error:
            self.fail(error)
            return
        if self.tokens[-1] in end_ids:
            self.finish_reason = "stop"
        elif len(self.tokens) >= self.sampler.sampling.max_new_tokens:
            self.finish_reason = "length"

    def fail(self, error: Exception) -> None:
        """Ends the answer by an error."""
        self.finish_reason, self.failure = "failed", error


class Batch:
    """Answers of one policy that take their steps together: ``rows`` are their prompts and tokens, in their order."""

    def __init__(self, answers: list[Answer], rows: Rows, end_ids: Sequence[int]) -> None:
        self.answers, self.rows, self.end_ids = answers, rows, end_ids
        self._add_tokens()

    def step(self) -> None:
        """Adds a token to every answer."""
        self.rows.step([answer.tokens[-1] for answer in self.answers])
        self._add_tokens()

    def _add_tokens(self) -> None:
        for answer, logits in zip(self.answers, self.rows.logits, strict=True):
            answer.add_token(logits, self.end_ids)

    def without_finished(self) -> Batch | None:
        """This batch with its unfinished answers alone; ``None`` if there are none."""
        unfinished = [row for row, answer in enumerate(self.answers) if answer.finish_reason is None]
        if not unfinished:
            return None
        if len(unfinished) < len(self.answers):
            assert isinstance(self.rows, JoinedRows)  # others have one answer each
            self.rows.keep(unfinished)
            self.answers = [self.answers[row] for row in unfinished]
        return self

    def join(self, other: Batch) -> None:
        """Adds the answers of another batch of the same policy, both of :class:`JoinedRows`."""
        assert isinstance(self.rows, JoinedRows)
        assert isinstance(other.rows, JoinedRows)
        self.rows.join(other.rows)
        self.answers += other.answers


def start_batches(policy: Policy, answers: Sequence[Answer], end_ids: Sequence[int]) -> list[Batch]:
    """Runs the model on the prompts, and on tokens that the answers have, and gives every answer its next token.

    One batch where the model's rows can join one another, else one per answer (see ``models.generation_probe``).
    """
    texts = [answer.prompt + answer.tokens for answer in answers]
    if policy.generates.joins:
        return [Batch(list(answers), JoinedRows(policy.causal, texts), end_ids)]
    alone = policy.generates.start_alone
    return [
        Batch([answer], alone(policy.causal, text), end_ids)
        for answer, text in zip(answers, texts, strict=True)
    ]
