"""Text from tokens while they are generated."""

from __future__ import annotations

from trainables.inference.text_stream import TextStream


class ByteTokenizer:
    """A tokenizer whose tokens are bytes."""

    def decode(self, tokens: list[int], skip_special_tokens: bool) -> str:
        return bytes(tokens).decode(errors="replace")


def streamed(text: str, *stops: str) -> tuple[list[str], bool]:
    stream = TextStream(ByteTokenizer(), stops)
    pieces = [stream.add([byte]) for byte in text.encode()]
    return [piece for piece in (*pieces, stream.finish()) if piece], stream.stopped


def test_characters_of_several_tokens_are_streamed_whole() -> None:
    assert streamed("né 日本")[0] == ["n", "é", " ", "日", "本"]


def test_an_answer_ends_before_a_stop_and_a_possible_one_is_held_back() -> None:
    assert streamed("one END two", "END") == (["o", "n", "e", " "], True)
    pieces, stopped = streamed("one EN", "END")
    assert ("".join(pieces), stopped) == ("one EN", False)
    assert "".join(streamed("aab aac", "aac")[0]) == "aab "


def test_an_incomplete_character_is_streamed_at_the_end() -> None:
    stream = TextStream(ByteTokenizer())
    assert stream.add("日".encode()[:2]) == ""
    assert stream.finish() == "\N{REPLACEMENT CHARACTER}"
