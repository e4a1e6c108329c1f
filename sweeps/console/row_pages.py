"""Pages of a data set's rows as models see them, for ``paretune data --json --rows-from N``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from trainables.data.converted_rows import UncutData
from trainables.data.description import example_row
from trainables.data.loading import Data
from trainables.data.rows import Labelled
from trainables.system.wording import counted
from trainables.templates import TemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from trainables.tokenization.encode import Encoded
    from trainables.trial.config import TrialConfig

FORMAT = 1  # of the JSON; it counts up where a key changes its meaning or goes
Part = Literal["training", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
PREFERENCE_SIDES = ("chosen", "rejected")


@dataclass(frozen=True)
class Page:
    """Which rows are shown: ``count`` of them from number ``start`` on, counted from 0, of one part of the data."""

    start: int
    count: int
    part: Part = "training"

    def places(self, rows: Sequence[Any]) -> range:
        return range(min(self.start, len(rows)), min(self.start + self.count, len(rows)))


def encoded_page(config: TrialConfig, page: Page) -> dict[str, Any]:
    """The rows of a page with their tokens, read and encoded as a trial's stage does.

    Only the page's rows are encoded. Raises ``DataError`` and ``ModelError``.
    """
    from trainables.data.loading import load
    from trainables.trial.tokenizer import tokenizer_of  # which imports torch

    data = load(config.data, config.stage.row_type)
    parts, tokenizer = parts_of(data), tokenizer_of(config)
    rows = parts[page.part]
    cutoff = config.data.cutoff if page.part == "training" else config.data.scored_cutoff
    return {
        **_head(page, data, parts),
        "stage": config.stage.kind,
        "model": config.model.label,
        "cutoff_tokens": cutoff,
        "rows": [
            _row_json(rows, place) | _encoded_json(config, tokenizer, rows[place], page, cutoff)
            for place in page.places(rows)
        ],
    }


def plain_page(data: Data | UncutData, stage: str | None, page: Page) -> dict[str, Any]:
    """The rows of a page without a model: their texts, and which of them would be learned."""
    parts = parts_of(data)
    rows = parts[page.part]
    shown = [_row_json(rows, place) for place in page.places(rows)]
    return {**_head(page, data, parts), "stage": stage, "model": None, "cutoff_tokens": None, "rows": shown}


def parts_of(data: Data | UncutData) -> Mapping[Part, Any]:
    """The rows by part of the data; of data that can't be split, all are training rows."""
    if isinstance(data, UncutData):
        return {"training": data.rows, "validation": (), "test": ()}
    return {"training": data.train, "validation": data.validation, "test": data.test}


def _head(page: Page, data: Data | UncutData, parts: Mapping[Part, Any]) -> dict[str, Any]:
    sizes = {part: len(rows) for part, rows in parts.items()}
    return {
        "format": FORMAT,
        "data": data.name,
        "part": page.part,
        "sizes": sizes,
        "rows_from": page.start,
        "total_rows": sizes[page.part],
        "notes": list(data.notes),
        "problems": list(data.warnings),
    }


def _row_json(rows: Any, place: int) -> dict[str, Any]:
    """A row as it was read: where it stands, its messages before the answers, and its answers."""
    row = rows[place]
    shown = example_row(row, rows.where(place))
    answers = [{"part": part, "text": text, "characters": len(text)} for part, text in shown.learned]
    return {
        "number": place,
        "where": rows.where(place),
        "label": row.label if isinstance(row, Labelled) else None,
        "messages": [{"role": role, "content": text} for role, text in shown.context],
        "answers": answers,
        "tools": getattr(row, "tools", None),
    }


def _encoded_json(
    config: TrialConfig, tokenizer: PreTrainedTokenizerBase, row: Any, page: Page, cutoff: int
) -> dict[str, Any]:
    """The row's examples; none, with the reason, where nothing of it is learned or it can't be rendered."""
    from trainables.tokenization.token_table import encode_row

    scoring = page.part != "training"
    try:
        examples = encode_row(config.stage, tokenizer, row, cutoff, scoring)
    except TemplateError as error:
        return {"examples": [], "left_out": True, "warnings": [], "error": str(error)}
    if not examples:
        left_out = f"{config.stage.nothing_left}, and it is left out"
        return {"examples": [], "left_out": True, "warnings": [left_out], "error": None}
    sides = PREFERENCE_SIDES if config.stage.examples_per_row == len(PREFERENCE_SIDES) else ()
    shown = [
        _example_json(tokenizer, example, sides[number] if number < len(sides) else None)
        for number, example in enumerate(examples)
    ]
    warnings = list(dict.fromkeys(remark for example in examples for remark in example.remarks))
    if cut := sum(example.truncated for example in examples):
        warnings.append(f"{counted(cut, 'example')} of it cut to {cutoff} tokens")
    return {"examples": shown, "left_out": False, "warnings": warnings, "error": None}


def _example_json(tokenizer: PreTrainedTokenizerBase, example: Encoded, side: str | None) -> dict[str, Any]:
    from trainables.trial.preview import token_pieces

    pieces = [
        {"text": str(tokenizer.decode(ids)), "loss": learned, "tokens": len(ids)}
        for ids, learned in token_pieces(example)
    ]
    return {
        "side": side,
        "tokens": len(example.input_ids),
        "prompt_tokens": example.prompt_tokens,
        "loss_tokens": sum(piece["tokens"] for piece in pieces if piece["loss"]),
        "cut": example.truncated,
        "pieces": pieces,
    }
