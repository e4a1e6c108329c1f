"""How much a model forgot in training: the likelihood of a text before and after."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from trainables.config.data import DataConfig
from trainables.data import converted_rows
from trainables.data.errors import DataError
from trainables.data.rows import Text
from trainables.inference.result import Result
from trainables.models.folder import ModelError
from trainables.scoring.likelihood import log_likelihoods
from trainables.scoring.measures import Measure, MeasuredRows, likelihood_measures
from trainables.stages import Pretrain
from trainables.storage import files
from trainables.training.policy import Policy


@dataclass(frozen=True)
class ReferenceTexts:
    """Texts whose likelihood training should not lower. ``sha256``: the hash of the file, or of its rows."""

    name: str
    texts: tuple[Text, ...]
    sha256: str

    @classmethod
    def read(cls, name: str) -> ReferenceTexts:
        """Reads a ``.txt`` file as one text, any other text data row by row. Raises ``DataError``."""
        path = Path(name).expanduser()
        if path.suffix.lower() != ".txt":
            data = converted_rows.load_uncut(DataConfig(train=name), Text)
            return cls(data.name, tuple(data.rows), data.sha256)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"--forgetting {name}: can't be read as UTF-8 text ({type(error).__name__})"
            ) from None
        if not text.strip():
            raise DataError(f"--forgetting {name}: the file has no text")
        return cls(path.name, (Text(text),), files.file_sha256(path))


def before_training(result: Result) -> Result:
    """The model that the result was trained from; for an adapter, the weights below it, quantized if it was trained on
    quantized ones.

    Raises ``ModelError`` for a base model, which was not trained, and for a reward model, which predicts no text.
    """
    if result.trained_folder is None:
        raise ModelError(
            f"{result.name} is a base model: it was not trained, so there is no forgetting to measure"
        )
    if result.predicts_masked:
        raise ModelError(
            f"{result.name} predicts masked tokens: a text has no likelihood by it, so no forgetting can be measured"
        )
    if not result.generates_text:
        raise ModelError(
            f"{result.name} is a {'classifier' if result.classifies else 'reward model'}: it predicts no text, so "
            "there is no forgetting to measure"
        )
    config = (
        result.config
        if result.is_adapter
        else result.config.model_copy(update={"method": None, "role": "base"})
    )
    return replace(result, name=f"{result.name} before", config=config, trained_folder=None, record=None)


def measure_likelihood(
    policy: Policy, texts: ReferenceTexts, cutoff: int, batch_size: int | None
) -> MeasuredRows:
    """The likelihood of the texts by pieces of at most ``cutoff`` tokens, which are the rows of the measures."""
    stage = Pretrain()
    pieces = [
        (number, piece)
        for number, text in enumerate(texts.texts)
        for piece in stage.encode(policy.tokenizer, text, cutoff)
    ]
    scored = log_likelihoods(policy, [piece for _, piece in pieces], batch_size or stage.eval_batch)
    # Without sizes in bytes there is no third measure: bits per byte is computed over all pieces below.
    loss, perplexity = likelihood_measures(scored, [None] * len(scored))
    # A text longer than the cutoff is several rows: ``text`` says which text a piece is of.
    columns = {"text": [number for number, _ in pieces], "tokens": [piece.tokens for piece in scored]}
    return MeasuredRows(columns, (loss, perplexity, _bits_per_byte(loss, texts)), "loss")


def _bits_per_byte(loss: Measure, texts: ReferenceTexts) -> Measure:
    """The loss in bits per byte. All tokens count for the same number of bytes: a piece may end within a character."""
    assert loss.by_row is not None
    assert loss.weights is not None
    total = sum(len(text.text.encode()) for text in texts.texts)
    # nats per token x tokens per byte / ln 2.
    scale = sum(loss.weights) / total / math.log(2)
    rows = tuple(None if nats is None else nats * scale for nats in loss.by_row)
    return replace(
        loss, name="bits_per_byte", value=loss.value * scale, by_row=rows, unit="bits per byte", how=""
    )
