"""What a spec needs to know of its rows: their number, their kind, and how many tokens the longest have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeps.drafting.data_target import DataTarget, preview_config
from trainables.data.description import DataDescription
from trainables.models import locate
from trainables.models.folder import ModelError, read_json
from trainables.models.rope_scaling import trained_positions
from trainables.templates import TemplateError

MAX_TOKENS = 16_384  # up to which tokens are counted
# Bytes of text per token, at least: of English it is four, of Chinese about three.
BYTES_PER_TOKEN = 3
TEMPLATE_TOKENS = 32  # of a chat template around a conversation


@dataclass(frozen=True)
class RowFacts:
    """``lengths``: tokens per example, (examples,), as the model counts them or, if ``estimated``, by their bytes.

    ``template``: the chat template that has to be named, because the model has none. ``positions``: the tokens of the
    longest rows that the model was trained on, where that is known.
    """

    rows: int
    training: int
    lengths: np.ndarray
    estimated: bool
    template: str | None = None
    positions: int | None = None

    def mean(self, cutoff: int) -> float:
        """The tokens of an average example that is cut to ``cutoff``."""
        return float(self.lengths.clip(max=cutoff).mean())

    @property
    def longest(self) -> int:
        return int(self.lengths.max())


def row_facts(target: DataTarget, described: DataDescription, stage: str) -> RowFacts:
    """The facts on the rows of a target, whose model need not be on this machine. Raises ``DataError``."""
    rows = described.rows.rows
    training = len(described.split.train) if described.split is not None else len(rows)
    for template in (
        (target.data.template, "default") if target.data.template is None else (target.data.template,)
    ):
        try:
            lengths = _token_lengths(target, stage, template, rows)
        except (
            ModelError,
            TemplateError,
        ):  # a model that is not on this machine; one without a chat template
            continue
        if len(lengths):
            named = template if target.data.template is None else None
            return RowFacts(len(rows), training, lengths, False, named, _positions(target))
    estimated = described.utf8_bytes // BYTES_PER_TOKEN + TEMPLATE_TOKENS
    return RowFacts(len(rows), training, estimated, True)


def _positions(target: DataTarget) -> int | None:
    """The positions that a model on this machine was trained on, unless they are scaled."""
    assert target.model is not None
    if target.model.rope is not None:
        return None
    return trained_positions(read_json(locate.model_folder(target.model) / "config.json"))


def _token_lengths(target: DataTarget, stage: str, template: str | None, rows: object) -> np.ndarray:
    assert target.model is not None
    locate.model_folder(target.model)
    data = target.data.model_copy(update={"template": template})
    config = preview_config(DataTarget(target.name, data, target.model), stage)
    from trainables.trial.tokenizer import tokenizer_of

    tokens = config.stage.tokens(tokenizer_of(config), rows, MAX_TOKENS)  # type: ignore[arg-type]
    return np.asarray(tokens.lengths)
