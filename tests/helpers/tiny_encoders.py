"""Tiny encoders with tokenizers of their own, made in a second: BERT with WordPiece, RoBERTa and ModernBERT by BPE."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

ENCODERS = ("bert", "roberta", "modernbert")
LAYERS, HIDDEN, VOCAB = 4, 32, 400


def make_encoder(folder: Path, kind: str, dtype: str = "float32", **settings: Any) -> Path:
    """Writes an encoder that predicts masked tokens to ``folder``. ``settings``: of its config."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForMaskedLM

    tokenizer = encoder_tokenizer(kind)
    values = {
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "max_position_embeddings": 130,  # RoBERTa counts from its padding's number on
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "cls_token_id": tokenizer.cls_token_id,
        "sep_token_id": tokenizer.sep_token_id,
    }
    config = CONFIG_MAPPING[kind](**{**values, **settings})
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.mul_(4.0)  # so that attention and masks show in the logits
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@cache
def encoder_tokenizer(kind: str) -> Any:
    """The tokenizer of a kind, trained on the embedded requests."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    from trainables.data.embedded import commands

    texts = [row["prompt"] for row in commands.rows()[:400]]
    if kind == "roberta":
        first, pad, last, unknown, mask = "<s>", "<pad>", "</s>", "<unk>", "<mask>"
    else:
        pad, unknown, first, last, mask = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
    special = [first, pad, last, unknown, mask] if kind == "roberta" else [pad, unknown, first, last, mask]
    if kind == "bert":
        tokenizer = Tokenizer(models.WordPiece(unk_token=unknown))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        trainer: Any = trainers.WordPieceTrainer(
            vocab_size=VOCAB, special_tokens=special, show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=VOCAB, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B {last}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (first, last)],
    )
    names = {
        "pad_token": pad,
        "unk_token": unknown,
        "cls_token": first,
        "sep_token": last,
        "mask_token": mask,
    }
    if kind == "roberta":
        names |= {"bos_token": first, "eos_token": last}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, **names)
