"""What the checks work with: two models that the script makes or has cached, rows, and a folder."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from tests.helpers.tiny_model import VOCAB, make_tokenizer

Value = TypeVar("Value")
# Llama-shaped. In bfloat16: 2.1 GB.
LARGE = {
    "vocab_size": 32_000,
    "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
    "num_key_value_heads": 8,
}  # fmt: skip
# In the place of SmolLM2-135M where that isn't cached.
SMALL = {
    "vocab_size": 32_000,
    "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12,
    "num_key_value_heads": 4,
}  # fmt: skip
# Of a dry run, with as many tokens as the tokenizer has.
TINY = {
    "vocab_size": VOCAB, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip
POSITIONS = 8192
CHARACTERS_PER_TOKEN = 6  # at least as many as the tokenizers have, so that rows fill their cutoff
ROWS = 256


@dataclass(frozen=True)
class Bench:
    """``folder``: for models and runs, and removed in the end. ``dry``: everything with tiny shapes, on any device.

    ``deadline``: on the clock of ``time.monotonic``, after which no further case begins.
    """

    folder: Path
    dry: bool = False
    deadline: float = math.inf

    def pick(self, real: Value, dry: Value) -> Value:
        """The one of two sizes that this run has."""
        return dry if self.dry else real

    @property
    def device(self) -> str:
        from trainables.training.policy import default_device

        return default_device()

    @cached_property
    def large(self) -> Path:
        """The folder of a model of about 1 B parameters with random weights."""
        return self._made("large", LARGE)

    @cached_property
    def small(self) -> Path:
        """The folder of SmolLM2-135M where it is cached, else of a model of that size with random weights."""
        if self.dry:
            return self.large
        from trainables.models import locate

        cached = locate.NAMED_MODELS["smollm2-135m"].local()
        return cached if cached is not None else self._made("small", SMALL)

    def rows(self, tokens: int, equal: bool = False) -> Path:
        """A file of rows for ``sft`` that are up to ``tokens`` tokens long or, if ``equal``, at least as long."""
        path = self.folder / f"rows-{tokens}{'-equal' if equal else ''}.jsonl"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            count = self.pick(ROWS, 24)
            lines = (json.dumps(row) + "\n" for row in made_rows(count, tokens * CHARACTERS_PER_TOKEN, equal))
            path.write_text("".join(lines), encoding="utf-8")
        return path

    def _made(self, name: str, dimensions: dict[str, int]) -> Path:
        folder = self.folder / name
        # The tokenizer is written last; a process before this one may have died amid it.
        if not (folder / "tokenizer_config.json").exists():
            make_llama(folder, self.pick(dimensions, TINY))
        return folder


def make_llama(folder: Path, dimensions: dict[str, int]) -> Path:
    """Writes a Llama with random weights in bfloat16, made on the GPU where there is one, and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    tokenizer = make_tokenizer()
    tokenizer.model_max_length = POSITIONS
    config = LlamaConfig(
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        **dimensions,
    )
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@lru_cache(maxsize=8)
def made_rows(count: int, characters: int, equal: bool) -> list[dict[str, str]]:
    """Requests and their commands from the embedded data set, several of them joined to one long row."""
    from trainables.data.embedded import commands

    source, random = commands.rows(), Random(0)
    rows = []
    for number in range(count):
        length = characters if equal else random.randint(characters // 4, characters)
        pairs = [source[random.randrange(len(source))]]
        while sum(len(pair["prompt"]) + len(pair["completion"]) for pair in pairs) < length:
            pairs.append(source[random.randrange(len(source))])
        # Most of a row is learned: the last three quarters of its requests stand beside their commands.
        asked = max(1, len(pairs) // 4)
        prompt = f"{number}: " + "\n".join(pair["prompt"] for pair in pairs[:asked])
        learned = [pairs[0]["completion"], *(f"{p['prompt']} {p['completion']}" for p in pairs[asked:])]
        rows.append({"prompt": prompt, "completion": "\n".join(learned)})
    return rows
