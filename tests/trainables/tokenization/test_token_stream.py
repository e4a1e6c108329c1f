"""``packing: stream``: documents become one stream of tokens that is cut into full blocks."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.specs import SPEC, problems, spec_folder
from tests.helpers.tiny_model import make_tokenizer
from tests.helpers.trials import ScriptedControl, curve, make_config, run
from trainables.data.rows import Text
from trainables.memory.measurement import measure
from trainables.stages import Pretrain
from trainables.tokenization import token_stream
from trainables.tokenization.encode import IGNORED, has_start_token
from trainables.trial import preview

TEXTS = [Text("abc " * count) for count in (3, 40, 1, 9)]  # the second is in several pieces
SIZE = 16


def make_tokens(bos: str | None) -> tuple[Any, Any]:
    tokenizer = make_tokenizer()
    tokenizer.bos_token = bos
    return tokenizer, Pretrain().tokens(tokenizer, TEXTS, SIZE)


@pytest.mark.parametrize("bos", ["<|im_start|>", None])
def test_blocks_are_the_documents_one_after_another_each_with_its_end(bos: str | None) -> None:
    tokenizer, tokens = make_tokens(bos)
    starts = has_start_token(tokenizer)
    assert starts == (bos is not None)
    documents = [
        [
            *([tokenizer.bos_token_id] if starts else []),
            *tokenizer(row.text, add_special_tokens=False)["input_ids"],
            tokenizer.eos_token_id,
        ]
        for row in TEXTS
    ]
    epoch = sum(map(len, documents))
    assert token_stream.block_count(tokens, SIZE, starts) == epoch // SIZE
    count = 3 * epoch // SIZE
    cut = list(token_stream.blocks(tokens, SIZE, count, 0, starts))
    assert all(len(ids) == len(labels) == SIZE for ids, labels in cut)
    stream = np.concatenate([ids for ids, _ in cut]).tolist()
    order = np.random.default_rng([0, 3, 0]).permutation(len(TEXTS))
    assert stream[:epoch] == [token for place in order for token in documents[place]]
    second = np.random.default_rng([0, 3, 1]).permutation(len(TEXTS))
    assert stream[epoch : 2 * epoch] == [token for place in second for token in documents[place]]
    labels = np.concatenate([labels for _, labels in cut]).tolist()
    first = tokenizer.bos_token_id if starts else None
    assert labels == [IGNORED if token == first else token for token in stream]


def test_a_longer_run_begins_with_the_blocks_of_a_shorter_one_and_a_seed_has_its_own() -> None:
    _, tokens = make_tokens("<|im_start|>")

    def stream(count: int, seed: int) -> list[list[int]]:
        return [ids.tolist() for ids, _ in token_stream.blocks(tokens, SIZE, count, seed, True)]

    assert stream(3, 0) == list(islice(stream(9, 0), 3))
    assert stream(9, 0) != stream(9, 1)


def trial(model: Path, **leaves: Any) -> Any:
    leaves = {"packing": "stream", "stage": {"kind": "pretrain"}, "cutoff": 64, "eval_rows": 2, **leaves}
    return make_config(model, "commands", "full", **leaves)


def test_a_trial_trains_on_full_blocks_resumes_to_the_same_curve_and_measures_a_full_row(
    tiny_model: Path, tmp_path: Path
) -> None:
    config = trial(tiny_model, steps=4)
    whole = run(config, tmp_path / "whole")
    assert (whole.tokens, whole.padding_share) == (4 * 4 * 64, 0)
    assert run(config, tmp_path / "cut", control=ScriptedControl(interrupt_at=2)).status == "interrupted"
    assert run(config, tmp_path / "cut").status == "done"
    assert curve(config, tmp_path / "cut") == curve(config, tmp_path / "whole")
    assert measure(config).row_tokens == 64


def test_an_epoch_is_as_many_blocks_as_the_tokens_fill(tiny_model: Path) -> None:
    config = trial(tiny_model, epochs=1)
    shown = preview.preview_data(config)
    assert shown.padding_share == 0
    # Each piece has a start token; the stream has none, as the tiny model's tokenizer has none of its own.
    tokens = int(shown.lengths.sum()) - len(shown.lengths)
    assert preview.optimizer_steps(config, shown.data) == -(-(tokens // 64) // 4)
    assert preview.largest_row(config, shown.data).tokens == 64


def test_other_stages_have_no_stream(tmp_path: Path) -> None:
    found = problems(spec_folder(tmp_path), SPEC, "train.packing=stream")
    assert any(
        "train.packing: a stream is of running text, and sft learns answers; write packing: true" in text
        for text in found
    )
    unknown = problems(tmp_path, SPEC, "train.packing=steam")
    assert any("Did you mean stream? Allowed: true or false or stream" in text for text in unknown)
