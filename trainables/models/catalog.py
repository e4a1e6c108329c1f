"""The models that have a name of their own here: where they come from, and their architecture's numbers.

The numbers are those of each repository's ``config.json`` on the Hugging Face hub; with them memory is foretold
without downloading anything. ``tests/test_known.py`` holds their sums against the published parameter counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainables.models.decoder_shape import Shape


@dataclass(frozen=True)
class Known:
    """A hub's repository, and the shape of what is in it."""

    repository: str
    shape: Shape


def _shape(
    layers: int, hidden: int, intermediate: int, heads: int, kv_heads: int, vocab: int, positions: int,
    head_dim: int | None = None, tied: bool = False, qkv_bias: bool = False, qk_norm: bool = False, norms: int = 2,
) -> Shape:  # fmt: skip
    return Shape(
        layers, hidden, intermediate, heads, kv_heads, head_dim or hidden // heads, vocab, tied, positions,
        qkv_bias, qk_norm, norms,
    )  # fmt: skip


def _qwen3(layers: int, hidden: int, inner: int, heads: int, tied: bool = False) -> Shape:
    return _shape(layers, hidden, inner, heads, 8, 151936, 40960, head_dim=128, tied=tied, qk_norm=True)


def _qwen25(
    layers: int, hidden: int, inner: int, heads: int, kv: int, tied: bool = False, vocab: int = 152064
) -> Shape:
    return _shape(layers, hidden, inner, heads, kv, vocab, 32768, tied=tied, qkv_bias=True)


def _llama3(layers: int, hidden: int, inner: int, heads: int, tied: bool = False) -> Shape:
    return _shape(layers, hidden, inner, heads, 8, 128256, 131072, tied=tied)


def _gemma3(
    layers: int, hidden: int, inner: int, heads: int, kv: int, size: int = 256, vocab: int = 262208
) -> Shape:
    positions = 32768 if layers == 26 else 131072
    return _shape(layers, hidden, inner, heads, kv, vocab, positions, size, tied=True, qk_norm=True, norms=4)


QWEN3 = {
    "0.6b": _qwen3(28, 1024, 3072, 16, tied=True),
    "1.7b": _qwen3(28, 2048, 6144, 16, tied=True),
    "4b": _qwen3(36, 2560, 9728, 32, tied=True),
    "8b": _qwen3(36, 4096, 12288, 32),
    "14b": _qwen3(40, 5120, 17408, 40),
    "32b": _qwen3(64, 5120, 25600, 64),
}
QWEN25 = {
    "0.5b": _qwen25(24, 896, 4864, 14, 2, tied=True, vocab=151936),
    "1.5b": _qwen25(28, 1536, 8960, 12, 2, tied=True, vocab=151936),
    "3b": _qwen25(36, 2048, 11008, 16, 2, tied=True, vocab=151936),
    "7b": _qwen25(28, 3584, 18944, 28, 4),
    "14b": _qwen25(48, 5120, 13824, 40, 8),
    "32b": _qwen25(64, 5120, 27648, 40, 8),
    "72b": _qwen25(80, 8192, 29568, 64, 8),
}
LLAMA3 = {
    ("3.2", "1b"): _llama3(16, 2048, 8192, 32, tied=True),
    ("3.2", "3b"): _llama3(28, 3072, 8192, 24, tied=True),
    ("3.1", "8b"): _llama3(32, 4096, 14336, 32),
    ("3.1", "70b"): _llama3(80, 8192, 28672, 64),
}
GEMMA3 = {
    "1b": _gemma3(26, 1152, 6912, 4, 1, vocab=262144),
    "4b": _gemma3(34, 2560, 10240, 8, 4),
    "12b": _gemma3(48, 3840, 15360, 16, 8),
    "27b": _gemma3(62, 5376, 21504, 32, 16, size=128),
}
SMOLLM2 = {
    "360m": _shape(32, 960, 2560, 15, 5, 49152, 8192, tied=True),
    "1.7b": _shape(24, 2048, 8192, 32, 32, 49152, 8192, tied=True),
}


def _named() -> dict[str, Known]:
    """Base models end in ``-base`` where the family's plain name is what answers, and instruct ones in ``-instruct``
    where the plain name is the base model.
    """
    found: dict[str, Known] = {}
    for size, numbers in SMOLLM2.items():
        found[f"smollm2-{size}"] = Known(f"HuggingFaceTB/SmolLM2-{size.upper()}-Instruct", numbers)
        found[f"smollm2-{size}-base"] = Known(f"HuggingFaceTB/SmolLM2-{size.upper()}", numbers)
    smollm3 = _shape(36, 2048, 11008, 16, 4, 128256, 65536, tied=True)
    found["smollm3-3b"] = Known("HuggingFaceTB/SmolLM3-3B", smollm3)
    found["smollm3-3b-base"] = Known("HuggingFaceTB/SmolLM3-3B-Base", smollm3)
    for size, numbers in QWEN3.items():
        found[f"qwen3-{size}"] = Known(f"Qwen/Qwen3-{size.upper()}", numbers)
        if size != "32b":
            found[f"qwen3-{size}-base"] = Known(f"Qwen/Qwen3-{size.upper()}-Base", numbers)
    for size, numbers in QWEN25.items():
        found[f"qwen2.5-{size}"] = Known(f"Qwen/Qwen2.5-{size.upper()}", numbers)
        found[f"qwen2.5-{size}-instruct"] = Known(f"Qwen/Qwen2.5-{size.upper()}-Instruct", numbers)
    for (version, size), numbers in LLAMA3.items():
        repository = f"meta-llama/Llama-{version}-{size.upper()}"
        found[f"llama-{version}-{size}"] = Known(repository, numbers)
        found[f"llama-{version}-{size}-instruct"] = Known(f"{repository}-Instruct", numbers)
    found["llama-3.3-70b-instruct"] = Known("meta-llama/Llama-3.3-70B-Instruct", LLAMA3["3.1", "70b"])
    for size, numbers in GEMMA3.items():
        found[f"gemma-3-{size}"] = Known(f"google/gemma-3-{size}-pt", numbers)
        found[f"gemma-3-{size}-it"] = Known(f"google/gemma-3-{size}-it", numbers)
    mistral = _shape(32, 4096, 14336, 32, 8, 32768, 32768)
    found["mistral-7b"] = Known("mistralai/Mistral-7B-v0.3", mistral)
    found["mistral-7b-instruct"] = Known("mistralai/Mistral-7B-Instruct-v0.3", mistral)
    nemo = _shape(40, 5120, 14336, 32, 8, 131072, 131072, head_dim=128)
    found["mistral-nemo-12b"] = Known("mistralai/Mistral-Nemo-Base-2407", nemo)
    found["mistral-nemo-12b-instruct"] = Known("mistralai/Mistral-Nemo-Instruct-2407", nemo)
    found["phi-3.5-mini-instruct"] = Known(
        "microsoft/Phi-3.5-mini-instruct", _shape(32, 3072, 8192, 32, 32, 32064, 131072)
    )
    found["phi-4"] = Known("microsoft/phi-4", _shape(40, 5120, 17920, 40, 10, 100352, 16384))
    found["phi-4-mini-instruct"] = Known(
        "microsoft/Phi-4-mini-instruct", _shape(32, 3072, 8192, 24, 8, 200064, 131072, tied=True)
    )
    distills = {
        "qwen-1.5b": _qwen25(28, 1536, 8960, 12, 2, vocab=151936),
        "qwen-7b": QWEN25["7b"],
        "qwen-14b": QWEN25["14b"],
        "qwen-32b": QWEN25["32b"],
        "llama-8b": LLAMA3["3.1", "8b"],
        "llama-70b": LLAMA3["3.1", "70b"],
    }
    for name, numbers in distills.items():
        family, size = name.split("-")
        repository = f"deepseek-ai/DeepSeek-R1-Distill-{family.capitalize()}-{size.upper()}"
        found[f"deepseek-r1-distill-{name}"] = Known(repository, numbers)
    return found


KNOWN: dict[str, Known] = _named()


def shape_of(name: str) -> Shape | None:
    """The shape of a known model, by its name here or its repository's, with or without ``hf:``."""
    wanted = name.removeprefix("hf:").partition("@")[0].lower()
    for own, known in KNOWN.items():
        if wanted in (own, known.repository.lower()):
            return known.shape
    return None
