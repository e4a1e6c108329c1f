"""The catalog of models with a short name: each one's repository and the dimensions of its decoder.

The dimensions are those of the repository's ``config.json`` on the Hugging Face hub; they let memory be predicted
without a download. ``tests/trainables/models/test_catalog.py`` compares their sums with published parameter counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainables.models.architecture.decoder_shape import DecoderShape


@dataclass(frozen=True)
class CatalogModel:
    """A repository on the Hugging Face hub, and the shape of its model."""

    repository: str
    shape: DecoderShape


def _shape(
    layers: int, hidden: int, intermediate: int, heads: int, kv_heads: int, vocab: int, positions: int,
    head_dim: int | None = None, tied: bool = False, qkv_bias: bool = False, qk_norm: bool = False, norms: int = 2,
) -> DecoderShape:  # fmt: skip
    return DecoderShape(
        layers, hidden, intermediate, heads, kv_heads, head_dim or hidden // heads, vocab, tied, positions,
        qkv_bias, qk_norm, norms,
    )  # fmt: skip


def _qwen3(layers: int, hidden: int, inner: int, heads: int, tied: bool = False) -> DecoderShape:
    return _shape(layers, hidden, inner, heads, 8, 151936, 40960, head_dim=128, tied=tied, qk_norm=True)


def _qwen25(
    layers: int, hidden: int, inner: int, heads: int, kv: int, tied: bool = False, vocab: int = 152064
) -> DecoderShape:
    return _shape(layers, hidden, inner, heads, kv, vocab, 32768, tied=tied, qkv_bias=True)


def _llama3(layers: int, hidden: int, inner: int, heads: int, tied: bool = False) -> DecoderShape:
    return _shape(layers, hidden, inner, heads, 8, 128256, 131072, tied=tied)


def _gemma3(
    layers: int, hidden: int, inner: int, heads: int, kv: int, size: int = 256, vocab: int = 262208
) -> DecoderShape:
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


def _build_catalog() -> dict[str, CatalogModel]:
    """All models by short name, as the family names them: base models end in ``-base`` where the plain name is the
    chat model, chat models in ``-instruct`` where the plain name is the base model.
    """
    models: dict[str, CatalogModel] = {}
    for size, numbers in SMOLLM2.items():
        models[f"smollm2-{size}"] = CatalogModel(f"HuggingFaceTB/SmolLM2-{size.upper()}-Instruct", numbers)
        models[f"smollm2-{size}-base"] = CatalogModel(f"HuggingFaceTB/SmolLM2-{size.upper()}", numbers)
    smollm3 = _shape(36, 2048, 11008, 16, 4, 128256, 65536, tied=True)
    models["smollm3-3b"] = CatalogModel("HuggingFaceTB/SmolLM3-3B", smollm3)
    models["smollm3-3b-base"] = CatalogModel("HuggingFaceTB/SmolLM3-3B-Base", smollm3)
    for size, numbers in QWEN3.items():
        models[f"qwen3-{size}"] = CatalogModel(f"Qwen/Qwen3-{size.upper()}", numbers)
        if size != "32b":
            models[f"qwen3-{size}-base"] = CatalogModel(f"Qwen/Qwen3-{size.upper()}-Base", numbers)
    for size, numbers in QWEN25.items():
        models[f"qwen2.5-{size}"] = CatalogModel(f"Qwen/Qwen2.5-{size.upper()}", numbers)
        models[f"qwen2.5-{size}-instruct"] = CatalogModel(f"Qwen/Qwen2.5-{size.upper()}-Instruct", numbers)
    for (version, size), numbers in LLAMA3.items():
        repository = f"meta-llama/Llama-{version}-{size.upper()}"
        models[f"llama-{version}-{size}"] = CatalogModel(repository, numbers)
        models[f"llama-{version}-{size}-instruct"] = CatalogModel(f"{repository}-Instruct", numbers)
    models["llama-3.3-70b-instruct"] = CatalogModel("meta-llama/Llama-3.3-70B-Instruct", LLAMA3["3.1", "70b"])
    for size, numbers in GEMMA3.items():
        models[f"gemma-3-{size}"] = CatalogModel(f"google/gemma-3-{size}-pt", numbers)
        models[f"gemma-3-{size}-it"] = CatalogModel(f"google/gemma-3-{size}-it", numbers)
    mistral = _shape(32, 4096, 14336, 32, 8, 32768, 32768)
    models["mistral-7b"] = CatalogModel("mistralai/Mistral-7B-v0.3", mistral)
    models["mistral-7b-instruct"] = CatalogModel("mistralai/Mistral-7B-Instruct-v0.3", mistral)
    nemo = _shape(40, 5120, 14336, 32, 8, 131072, 131072, head_dim=128)
    models["mistral-nemo-12b"] = CatalogModel("mistralai/Mistral-Nemo-Base-2407", nemo)
    models["mistral-nemo-12b-instruct"] = CatalogModel("mistralai/Mistral-Nemo-Instruct-2407", nemo)
    models["phi-3.5-mini-instruct"] = CatalogModel(
        "microsoft/Phi-3.5-mini-instruct", _shape(32, 3072, 8192, 32, 32, 32064, 131072)
    )
    models["phi-4"] = CatalogModel("microsoft/phi-4", _shape(40, 5120, 17920, 40, 10, 100352, 16384))
    models["phi-4-mini-instruct"] = CatalogModel(
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
        models[f"deepseek-r1-distill-{name}"] = CatalogModel(repository, numbers)
    return models


CATALOG: dict[str, CatalogModel] = _build_catalog()
# Models that are fetched from elsewhere than their repository.
PACKAGED = {
    "smollm2-135m": CatalogModel(
        "HuggingFaceTB/SmolLM2-135M-Instruct", _shape(30, 576, 1536, 9, 3, 49152, 8192, tied=True)
    )
}


def find_shape(name: str) -> DecoderShape | None:
    """The shape of a known model, by its short name or its repository, with or without ``hf:``."""
    name = name.removeprefix("hf:").partition("@")[0].lower()
    for short_name, model in (CATALOG | PACKAGED).items():
        if name in (short_name, model.repository.lower()):
            return model.shape
    return None
