"""Small tokenizers with the pre-tokenizers of GPT-2, of Qwen 2 and of SentencePiece, and conversations for them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from trainables import templates
from trainables.data.rows import Message

SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|end|>", "<|eot_id|>"]
ANSWERS = [
    "The sky",
    '"Blue"',
    "\n\nBlue",
    "  indented",
    " Blue",
    "42",
    "天空是蓝色的",
    "A",
    "-1",
    ".",
    "\tx",
]
# Text in which the end of a prompt and the beginning of an answer stand together, so that they become one token.
CORPUS = [
    f"{start}{answer}"
    for start in (":", ": ", "\n", "> ", "] ", "Assistant:", "assistant\n")
    for answer in ANSWERS
] * 40
# The pre-tokenizer of Qwen 2: one character of any kind may stand before a word, and digits stand alone.
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@lru_cache
def make_tokenizer(kind: str) -> Any:
    """A small tokenizer with the pre-tokenizer of GPT-2, of Qwen 2, or of SentencePiece."""
    if kind == "sentencepiece":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        alphabet: list[str] = []
        special = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    else:
        tokenizer = Tokenizer(models.BPE())
        level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind == "gpt-2")
        split = pre_tokenizers.Split(Regex(QWEN), "isolated")
        tokenizer.pre_tokenizer = level if kind == "gpt-2" else pre_tokenizers.Sequence([split, level])
        tokenizer.decoder = decoders.ByteLevel()
        alphabet, special = pre_tokenizers.ByteLevel.alphabet(), SPECIAL
    trainer = trainers.BpeTrainer(
        vocab_size=1200, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )


def family(kind: str, template: str) -> Any:
    tokenizer = make_tokenizer(kind)
    tokenizer.eos_token = "</s>"
    templates.apply(tokenizer, template)
    return tokenizer


def chat(*turns: str) -> list[Message]:
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(turns)]
