"""Which tokens are masked: how many, by what they are replaced, and when by others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.tiny_encoders import ENCODERS, encoder_tokenizer
from tests.helpers.tiny_model import make_tokenizer
from trainables.data.rows import Text
from trainables.stages import Pretrain
from trainables.templates import TemplateError
from trainables.tokenization.encode import IGNORED, Encoded
from trainables.tokenization.encoder_input import encode_pieces, encode_whole
from trainables.tokenization.masking import Masking, draws_before

MASK, VOCABULARY = 4, 1000
MASKING = Masking(MASK, VOCABULARY)


def example(tokens: int) -> Encoded:
    ids = list(range(10, 10 + tokens))
    return Encoded([2, *ids, 3], [IGNORED, *ids, IGNORED], 1, False)


def test_of_the_chosen_tokens_80_percent_become_the_mask_10_a_random_one_and_10_stay() -> None:
    kinds = np.zeros(3, int)
    for draw in range(200):
        whole = example(100)
        masked = MASKING.trained(whole, 0, 0, draw)
        assert (masked.input_ids[0], masked.input_ids[-1]) == (2, 3)
        places = [place for place, label in enumerate(masked.labels) if label != IGNORED]
        assert len(places) == 15
        assert [masked.labels[place] for place in places] == [whole.input_ids[place] for place in places]
        for before, after in zip(whole.input_ids, masked.input_ids, strict=True):
            kinds += [after == MASK, after not in (MASK, before), 0]
        kinds[2] += sum(masked.input_ids[place] == whole.input_ids[place] for place in places)
    assert kinds / 3000 == pytest.approx([0.8, 0.1, 0.1], abs=0.02)


@pytest.mark.parametrize(("share", "tokens", "masked"), [(0.3, 100, 30), (0.15, 2, 1), (0.9, 1, 1)])
def test_as_many_tokens_are_masked_as_the_share_says_and_at_least_one(
    share: float, tokens: int, masked: int
) -> None:
    found = Masking(MASK, VOCABULARY, share).trained(example(tokens), 0, 0, 0)

    assert sum(label != IGNORED for label in found.labels) == masked


def test_a_training_mask_depends_on_seed_row_and_draw_and_on_nothing_else() -> None:
    row = example(100)
    first = MASKING.trained(row, 1, 2, 3)
    np.random.random(5)

    assert MASKING.trained(row, 1, 2, 3) == first
    others = [MASKING.trained(row, *key) for key in ((0, 2, 3), (1, 0, 3), (1, 2, 0))]
    assert all(other.labels != first.labels for other in others)


def test_a_row_is_scored_with_the_same_mask_whatever_share_is_trained_on() -> None:
    row = example(100)

    assert Masking.of(encoder_tokenizer("bert")).share == 0.15
    assert MASKING.scored(row) == MASKING.scored(example(100))
    assert MASKING.scored(row).labels != MASKING.scored(example(101)).labels[:-1]


def test_a_row_that_is_drawn_again_has_been_drawn_once_more() -> None:
    order = np.array([2, 0, 1, 0, 2, 1, 0])

    assert draws_before(order).tolist() == [0, 0, 0, 1, 1, 1, 2]


def test_a_tokenizer_without_a_mask_token_is_refused() -> None:
    with pytest.raises(TemplateError, match="no mask token"):
        Masking.of(make_tokenizer())


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_reads_what_its_own_tokenizer_writes(kind: str, tmp_path: Path) -> None:
    tokenizer, text = encoder_tokenizer(kind), "Set an alarm for 4 pm, please; it is  urgent"

    (whole,) = encode_whole(tokenizer, [text], 64)
    (piece,) = encode_pieces(tokenizer, text, 64)

    assert whole.input_ids == piece.input_ids == tokenizer(text)["input_ids"]
    assert piece.labels == [IGNORED, *piece.input_ids[1:-1], IGNORED]
    assert not whole.truncated


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_mask_token_in_a_text_is_text(kind: str) -> None:
    tokenizer = encoder_tokenizer(kind)
    text = f"set the {tokenizer.mask_token} alarm"

    (piece,) = encode_pieces(tokenizer, text, 64)

    assert tokenizer.mask_token_id not in piece.input_ids
    assert any("text" in remark for remark in piece.remarks)


def test_a_long_text_is_cut_into_pieces_to_train_on_and_loses_its_end_where_it_is_read_whole() -> None:
    tokenizer, text = encoder_tokenizer("bert"), "set an alarm " * 20
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]

    pieces = encode_pieces(tokenizer, text, 16)
    (whole,) = encode_whole(tokenizer, [text], 16)

    assert [token for piece in pieces for token in piece.input_ids[1:-1]] == ids
    assert all(len(piece.input_ids) <= 16 for piece in pieces)
    assert whole.truncated
    assert whole.input_ids == [tokenizer.cls_token_id, *ids[:14], tokenizer.sep_token_id]


def test_the_messages_of_a_conversation_are_read_one_behind_the_other() -> None:
    tokenizer = encoder_tokenizer("bert")

    (whole,) = encode_whole(tokenizer, ["set an alarm", "for 4 pm"], 64)

    assert whole.input_ids == tokenizer("set an alarm", "for 4 pm")["input_ids"]
    assert encode_whole(tokenizer, ["set an alarm", "", "for 4 pm"], 64) == [whole]
    assert encode_whole(tokenizer, [""], 64) == []


@pytest.mark.parametrize("objective", ["causal", "mlm"])
def test_the_longest_piece_of_a_text_is_measured_with_its_own_tokens(objective: str) -> None:
    """Decoded, an unknown word and a written control token would be encoded as several tokens."""
    tokenizer = encoder_tokenizer("bert") if objective == "mlm" else make_tokenizer()
    stage = Pretrain.model_validate({"objective": objective})
    rows = [Text("set ☃ the alarm [UNK] to 漢 for 4 pm " * 9), Text("call mum")]

    row, length = stage.longest_row(tokenizer, rows, 24)

    tokens = stage.tokens(tokenizer, [row] * 3, 24)
    assert tokens.lengths.tolist() == [24] * 3 == [length.tokens] * 3
    assert tokens[0].input_ids == stage.tokens(tokenizer, rows, 24)[0].input_ids
