"""Whether an exported model answers as what it was made of does: log-probabilities of the same tokens, compared.

The rule. *Exact* is the adapter on its unquantized base, all in 32 bits.

1. The sum of both in 32 bits must give the exact log-probabilities within 1e-4 + 1e-4 of their size: float error.
   SmolLM2-135M's are at most 1e-4 off, 8e-6 in the mean.
2. The files must hold the sum, rounded to their dtype, bit for bit.
3. The files, loaded by transformers alone in the dtype they have, must be no further from the exact ones than
   ``FACTOR`` times what that dtype does to the model by itself, in the mean and at most: that is the adapter on its
   base (or the whole weights as they were), run in this dtype. The float error of 1 is always allowed.

Rounding a sum to 16 bits is an error of the same size as rounding the activations in each layer; ``FACTOR`` leaves room
for the two together. A layer that was left out or a wrong scale is far beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainables import templates
from trainables.data.errors import DataError
from trainables.data.rows import Conversation, Row, Text
from trainables.evaluation import trial_rows
from trainables.inference.result import Result
from trainables.tokenization.encode import encode

PROMPTS = 8
TOKENS = 512  # of a prompt with its answer
POSITIONS = 64  # the last of them are compared
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
    """Token ids, each with an answer; ``source`` says where they are from."""

    ids: tuple[list[int], ...]
    source: str


@dataclass(frozen=True)
class Difference:
    """Of all compared numbers: the greatest absolute difference and the mean; ``same`` is the share of positions with
    the same most likely token, ``None`` where the numbers are rewards. ``excess``: by how much of ``ABSOLUTE`` +
    ``RELATIVE`` x size the worst is used up.
    """

    greatest: float
    mean: float
    same: float | None
    excess: float


@dataclass(frozen=True)
class Check:
    """``sum`` is of the merging in 32 bits, ``rounding`` what the dtype does by itself, ``files`` what was exported;
    each to the exact ones. ``None``: there was nothing to merge.
    """

    prompts: Prompts
    dtype: str
    sum: Difference | None
    rounding: Difference
    files: Difference
    changed: tuple[str, ...] = ()  # weights that the files have otherwise than they were given

    @property
    def failure(self) -> str | None:
        """What is wrong, in a sentence; ``None`` if nothing is."""
        if self.sum is not None and not self.sum.excess <= 1:
            return f"merging in 32 bits moves log-probabilities by up to {self.sum.greatest:.2g}"
        if self.changed:
            return f"the files hold other weights than they were given: {', '.join(self.changed[:3])}"
        limits = {
            "at most": (self.files.greatest, self.rounding.greatest),
            "in the mean": (self.files.mean, self.rounding.mean),
        }
        for what, (found, own) in limits.items():
            if not (found <= FACTOR * own or self.files.excess <= 1):
                return (
                    f"the exported model differs by {found:.2g} {what}; {self.dtype} by itself by {own:.2g}"
                )
        return None


def choose_prompts(result: Result, tokenizer: Any) -> Prompts:
    """Held-out rows of the trial's own data; built-in ones where that isn't here, or there is no trial."""
    cutoff = min(result.config.data.cutoff, TOKENS)
    try:
        test = trial_rows.load_rows(result).test
        rows: Sequence[Row] = [test[place] for place in range(min(PROMPTS, len(test)))]
        source = "held-out rows of its own data"
    except DataError:
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
    except (
        ValueError,
        templates.TemplateError,
    ):  # a template that renders a prompt differently once it is answered
        return templates.prompt_ids(tokenizer, row.prompt)[:cutoff]


def changed_weights(given: Any, found: Any) -> tuple[str, ...]:
    """The names of weights that two models of one dtype don't have alike, bit for bit."""
    ours, theirs = given.state_dict(), found.state_dict()
    same = (name for name, weight in ours.items() if name in theirs and torch.equal(weight, theirs[name]))
    return tuple(sorted({*ours, *theirs} - set(same)))


@torch.no_grad()
def model_outputs(model: Any, prompts: Prompts, generates_text: bool) -> list[Tensor]:
    """For each prompt the log-probabilities of all tokens at its last positions, (positions, vocab); or its reward."""
    model.eval()
    found = []
    for ids in prompts.ids:
        logits = model(input_ids=torch.tensor([ids], device=model.device)).logits[0].float().cpu()
        # A clone: what is kept isn't a view of all positions.
        found.append(logits[-POSITIONS:].log_softmax(-1).clone() if generates_text else logits.reshape(1, -1))
    return found


def compare(found: Sequence[Tensor], expected: Sequence[Tensor], generates_text: bool) -> Difference:
    """How far two models' answers to the same prompts are apart."""
    gaps = [(one - other).abs() for one, other in zip(found, expected, strict=True)]
    allowed = [ABSOLUTE + RELATIVE * other.abs() for other in expected]
    pairs = list(zip(found, expected, strict=True))
    same = torch.cat([one.argmax(-1) == other.argmax(-1) for one, other in pairs]).float().mean().item()
    return Difference(
        greatest=_largest(gaps),
        mean=torch.cat([gap.flatten() for gap in gaps]).mean().item(),
        same=same if generates_text else None,
        excess=_largest([gap / room for gap, room in zip(gaps, allowed, strict=True)]),
    )


def _largest(values: Sequence[Tensor]) -> float:
    """NaN where there is one: no number is then small enough."""
    return torch.stack([value.max() for value in values]).max().item()
