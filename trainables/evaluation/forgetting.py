"""What training cost of what the model knew: the likelihood of a text before and after it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from trainables.config.data import DataConfig
from trainables.data import loading
from trainables.data.errors import DataError
from trainables.data.rows import Text
from trainables.inference.result import Result
from trainables.models.folder import ModelError
from trainables.scoring.likelihood import judge
from trainables.scoring.measures import Measure, Measured, likelihood
from trainables.stages import Pretrain
from trainables.storage import files
from trainables.training.policy import Policy


@dataclass(frozen=True)
class ReferenceTexts:
    """Texts that a model should still know. ``sha256`` is the hash of the file, or of its rows."""

    name: str
    texts: tuple[Text, ...]
    sha256: str

    @classmethod
    def read(cls, name: str) -> ReferenceTexts:
        """A ``.txt`` file as one text, any other text data as its rows. Raises ``DataError``."""
        path = Path(name).expanduser()
        if path.suffix.lower() != ".txt":
            found = loading.whole(DataConfig(train=name), Text)
            return cls(found.name, tuple(found.rows), found.sha256)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"--forgetting {name}: can't be read as a text in UTF-8 ({type(error).__name__})"
            ) from None
        if not text.strip():
            raise DataError(f"--forgetting {name}: there is no text in it")
        return cls(path.name, (Text(text),), files.file_sha256(path))


def before_training(result: Result) -> Result:
    """What the result was made of; below an adapter, the very weights that it stands on, quantized if they are.

    Raises ``ModelError`` for a model that nothing was made into.
    """
    if result.trained_folder is None:
        raise ModelError(
            f"{result.name} is a base model: there is no before, so it can have forgotten nothing"
        )
    if not result.generates_text:
        raise ModelError(
            f"{result.name} is a reward model: it foretells no text, so it can't have forgotten one"
        )
    config = (
        result.config
        if result.is_adapter
        else result.config.model_copy(update={"method": None, "role": "base"})
    )
    return replace(result, name=f"{result.name} before", config=config, trained_folder=None, record=None)


def measure_likelihood(policy: Policy, known: ReferenceTexts, cutoff: int, batch_size: int | None) -> Measured:
    """The likelihood of the texts, whose rows are pieces of at most ``cutoff`` tokens."""
    stage = Pretrain()
    pieces = [
        (number, piece)
        for number, text in enumerate(known.texts)
        for piece in stage.encode(policy.tokenizer, text, cutoff)
    ]
    judged = judge(policy, [piece for _, piece in pieces], batch_size or stage.eval_batch)
    loss, perplexity = likelihood(judged, [None] * len(judged))
    columns = {"text": [number for number, _ in pieces], "tokens": [found.tokens for found in judged]}
    return Measured(columns, (loss, perplexity, _bits(loss, known)), "loss")


def _bits(loss: Measure, known: ReferenceTexts) -> Measure:
    """Bits per byte. A piece's end may be within a character, so all pieces' tokens are taken as of the same size."""
    assert loss.by_row is not None
    assert loss.weights is not None
    total = sum(len(text.text.encode()) for text in known.texts)
    scale = sum(loss.weights) / total / math.log(2)
    rows = tuple(None if nats is None else nats * scale for nats in loss.by_row)
    return replace(
        loss, name="bits_per_byte", value=loss.value * scale, by_row=rows, unit="bits per byte", how=""
    )
