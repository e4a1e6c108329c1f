"""Whether an exported model answers as the result that was exported: compares log-probabilities of the same tokens.

*Exact* are the log-probabilities of the adapter on its unquantized base model, all in 32 bits. The rules:

1. The merged weights in 32 bits must give the exact values within 1e-4 + 1e-4 times their size, which is float error:
   for SmolLM2-135M the largest difference is 1e-4 and the mean 8e-6. Models that multiply float error (long
   recurrences) may differ by ``FACTOR`` times what their own outputs in 32 bits differ from those in 64.
2. The files must hold the merged weights, rounded to their dtype, bit for bit.
3. The files, loaded by transformers alone in their dtype, must not differ from the exact values by more than ``FACTOR``
   times what rounding to that dtype alone does, both in the mean and at most: the difference of the adapter on its base
   (or of the unmerged weights) run in this dtype. The float error of rule 1 is always allowed.

Rounding a merged weight to 16 bits is an error of the same size as rounding the activations of each layer; ``FACTOR``
allows for both together. A missing layer or a wrong scale differs by far more.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainables import templates
from trainables.data.errors import DataError
from trainables.data.rows import Conversation, Row, Text
from trainables.evaluation import trial_rows
from trainables.inference.result import Result
from trainables.tokenization.encode import encode, prompt_ids

PROMPTS = 8
MAX_TOKENS = 512  # of a prompt with its answer
POSITIONS = 64  # at the end of each prompt, that are compared
ABSOLUTE, RELATIVE = 1e-4, 1e-4
FACTOR = 4.0

BUILT_IN = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("Set an alarm for 4 pm.", "alarm 4pm"),
    ("Name three colours.", "Red, green and blue."),
    ("What is 12 times 12?", "144"),
    ("Translate to German: good morning", "Guten Morgen"),
    ("Write a sentence about the sea.", "The sea was calm, and the boats lay still."),
    ("Who wrote Hamlet?", "William Shakespeare wrote Hamlet."),
    ("Finish: one, two, three,", "four, five, six."),
)


@dataclass(frozen=True)
class Prompts:
    """Token ids of prompts with their answers; ``source`` says what they are: "built-in prompts"."""

    ids: tuple[list[int], ...]
    source: str


@dataclass(frozen=True)
class Difference:
    """The ``largest`` and the mean absolute difference of all compared numbers.

    ``same``: the share of positions with the same most likely token; ``None`` if the numbers are rewards. ``excess``:
    the largest ratio of a difference to the allowed float error, ``ABSOLUTE`` + ``RELATIVE`` x size.
    """

    largest: float
    mean: float
    same: float | None
    excess: float


@dataclass(frozen=True)
class Check:
    """Differences from the exact values: of the merged weights in 32 bits (``sum``; ``None`` if there was nothing to
    merge), by ``rounding`` to ``dtype`` alone, and of the exported ``files``.
    """

    prompts: Prompts
    dtype: str
    sum: Difference | None
    rounding: Difference
    files: Difference
    changed: tuple[str, ...] = ()  # names of weights that differ in the files
    float_error: Difference | None = None  # of the merged weights' outputs in 32 bits, where ``sum`` is large

    @property
    def failure(self) -> str | None:
        """A sentence about what is wrong; ``None`` if nothing is."""
        if self.sum is not None and not (self.sum.excess <= 1 or self._is_float_error(self.sum)):
            return f"merging in 32 bits moves log-probabilities by up to {self.sum.largest:.2g}"
        if self.changed:
            return f"the files hold other weights than the model has: {', '.join(self.changed[:3])}"
        limits = {
            "at most": (self.files.largest, self.rounding.largest),
            "in the mean": (self.files.mean, self.rounding.mean),
        }
        for what, (difference, rounding) in limits.items():
            # Written so that a NaN fails.
            close = difference <= FACTOR * rounding or self.files.excess <= 1
            if not (close or self._is_float_error(self.files)):
                return (
                    f"the exported model differs by {difference:.2g} {what}, rounding to {self.dtype} alone by "
                    f"{rounding:.2g}"
                )
        return None

    def _is_float_error(self, difference: Difference) -> bool:
        """Whether 32 bits alone move the outputs nearly as far."""
        error = self.float_error
        return error is not None and (
            difference.largest <= FACTOR * error.largest and difference.mean <= FACTOR * error.mean
        )


def choose_prompts(result: Result, tokenizer: Any) -> Prompts:
    """Test rows of the trial's own data; built-in prompts if there are none on this machine."""
    cutoff = min(result.config.data.cutoff, MAX_TOKENS)
    rows: Sequence[Row] = ()
    source = "held-out rows of its own data"
    with suppress(DataError):
        test = trial_rows.load_rows(result).test
        rows = [test[index] for index in range(min(PROMPTS, len(test)))]
    if not rows:
        rows = [Conversation(({"role": "user", "content": text},), answer) for text, answer in BUILT_IN]
        source = "built-in prompts"
    return Prompts(tuple(_ids(row, tokenizer, cutoff) for row in rows), source)


def _ids(row: Row, tokenizer: Any, cutoff: int) -> list[int]:
    if isinstance(row, Text) or tokenizer.chat_template is None:
        text = row.text if isinstance(row, Text) else str(row.prompt[-1]["content"])
        return list(tokenizer(text)["input_ids"][:cutoff])
    answers = (getattr(row, name, None) for name in ("answer", "chosen", "completion", "reference"))
    whole = Conversation(row.prompt, next(filter(None, answers), ""), tools=getattr(row, "tools", None))
    try:
        return encode(whole, tokenizer, cutoff).input_ids
    # The template renders a prompt differently once it has an answer.
    except (ValueError, templates.TemplateError):
        return prompt_ids(tokenizer, row.prompt)[:cutoff]


def changed_weights(model: Any, loaded: Any) -> tuple[str, ...]:
    """The names of weights that are not equal bit for bit in two models of one dtype, or missing in one of them."""
    expected, actual = model.state_dict(), loaded.state_dict()
    same = (name for name, weight in expected.items() if name in actual and torch.equal(weight, actual[name]))
    return tuple(sorted({*expected, *actual} - set(same)))


@torch.no_grad()
def model_outputs(model: Any, prompts: Prompts, generates_text: bool) -> list[Tensor]:
    """For each prompt the log-probabilities at its last positions, (positions, vocab); or its reward, (1, 1)."""
    model.eval()
    outputs = []
    for ids in prompts.ids:
        # Some families' caches can't take a whole text at once.
        output = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False)
        logits = output.logits[0].float().cpu()
        # Cloned, because a view would keep the logits of all positions in memory.
        outputs.append(
            logits[-POSITIONS:].log_softmax(-1).clone() if generates_text else logits.reshape(1, -1)
        )
    return outputs


def compare(outputs: Sequence[Tensor], exact: Sequence[Tensor], generates_text: bool) -> Difference:
    """How far two models' outputs for the same prompts are apart."""
    pairs = list(zip(outputs, exact, strict=True))
    gaps = [(output - reference).abs() for output, reference in pairs]
    allowed = [ABSOLUTE + RELATIVE * reference.abs() for reference in exact]
    same = torch.cat([output.argmax(-1) == reference.argmax(-1) for output, reference in pairs])
    return Difference(
        largest=_largest(gaps),
        mean=torch.cat([gap.flatten() for gap in gaps]).mean().item(),
        same=same.float().mean().item() if generates_text else None,
        excess=_largest([gap / limit for gap, limit in zip(gaps, allowed, strict=True)]),
    )


def _largest(values: Sequence[Tensor]) -> float:
    """The maximum; NaN if there is one, so that it exceeds no limit unnoticed."""
    return torch.stack([value.max() for value in values]).max().item()
