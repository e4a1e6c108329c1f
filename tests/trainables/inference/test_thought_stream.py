"""Thoughts are told from the answer while both are generated."""

from __future__ import annotations

import pytest

from trainables.data.thinking import TAGS
from trainables.inference.thought_stream import ThoughtStream


def pieces(stream: ThoughtStream, *texts: str) -> list[tuple[str, bool]]:
    found = [piece for text in texts for piece in stream.add(text)]
    return [*found, *stream.finish()]


@pytest.mark.parametrize(("tag", "end"), TAGS.items())
def test_tags_of_every_family_are_left_out_however_they_are_cut(tag: str, end: str) -> None:
    text = f"{tag}two{end}4"
    for cut in range(len(text)):
        found = pieces(ThoughtStream(), text[:cut], text[cut:])
        assert "".join(piece for piece, thinking in found if thinking) == "two"
        assert "".join(piece for piece, thinking in found if not thinking) == "4"


def test_a_thought_that_the_prompt_opened_goes_on_to_its_end() -> None:
    assert pieces(ThoughtStream("2 + 2?<think>\n"), "two</think>4") == [("two", True), ("4", False)]
    assert pieces(ThoughtStream("<think>\n\n</think>\n\n"), "4") == [("4", False)]


def test_text_that_only_begins_like_a_tag_is_kept() -> None:
    assert pieces(ThoughtStream(), "1 <", " 2 <thin") == [("1 ", False), ("< 2 ", False), ("<thin", False)]
