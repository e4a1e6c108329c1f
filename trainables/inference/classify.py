"""The labels that a loaded classifier gives to texts and conversations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainables.data.rows import Classified, Message
from trainables.inference.model_pool import LoadedModel
from trainables.models.folder import ModelError
from trainables.stages import Classification


@dataclass(frozen=True)
class GivenLabels:
    """``labels``: those that a text is given, one or, where several may apply, any number. ``probabilities``: of each
    label by name. ``tokens``: how many were read; ``truncated``: whether the text has more than the tokens that
    rows were cut to when the classifier was scored.
    """

    labels: tuple[str, ...]
    probabilities: dict[str, float]
    tokens: int
    truncated: bool


def classify(loaded: LoadedModel, conversations: Sequence[Sequence[Message]]) -> list[GivenLabels]:
    """The labels of each conversation, cut as the rows were by which the classifier was scored.

    Raises ``TemplateError`` for one that can't be rendered, and ``ModelError`` for a model that is no classifier.
    """
    stage, cutoff = loaded.result.config.stage, loaded.result.config.data.scored_cutoff
    if not isinstance(stage, Classification):
        raise ModelError(f"{loaded.result.name} is no classifier")
    rows = [Classified(tuple(messages), ()) for messages in conversations]
    with loaded.active() as policy:
        tokens = stage.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        found = stage.probabilities(policy, rows, cutoff)
    return [
        GivenLabels(given, dict(zip(found.labels, map(float, row), strict=True)), int(length), bool(cut))
        for given, row, length, cut in zip(
            found.given, np.exp(found.logprobs), tokens.lengths, tokens.truncated, strict=True
        )
    ]
