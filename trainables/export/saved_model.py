"""A model's folder as plain transformers wants it: weights, configs and tokenizer, nothing of this machine in them."""

from __future__ import annotations

import json
import math
import shutil
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from trainables.config.model import ModelConfig
from trainables.export import license
from trainables.inference.result import Result
from trainables.methods.base import save_whole
from trainables.models.folder import read_json
from trainables.models.precision import Dtypes, choose_dtypes
from trainables.scoring.generation import end_tokens
from trainables.storage import files
from trainables.training.policy import Policy, default_device
from trainables.trial.loading import LOADERS

ITEM_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
# What transformers notes of where a tokenizer was loaded from.
OF_THIS_MACHINE = ("is_local", "local_files_only", "name_or_path", "_commit_hash")


def unquantized(result: Result, dtype: str) -> Result:
    """The same result with all weights in ``dtype`` and the base unquantized, without fused kernels."""
    config = result.config
    model = config.model.model_copy(update={"dtype": dtype, "kernels": "none"})
    train = config.train.model_copy(update={"precision": "bf16"})  # frozen weights have the model's dtype
    return replace(result, config=config.model_copy(update={"method": None, "model": model, "train": train}))


def uniform_dtypes(dtype: str) -> Dtypes:
    """Every weight in the one dtype, and the arithmetic too."""
    kind = getattr(torch, dtype)
    return Dtypes(kind, kind, None)


def native_dtype(result: Result) -> str:
    """The dtype that a result's weights are kept in once trained; of what no trial left, its own."""
    if result.run is not None:
        kept = choose_dtypes(result.config.train.precision, result.config.model.dtype).frozen
        return str(kept).removeprefix("torch.")
    described = read_json(result.folder() / "config.json")
    found = described.get("dtype") or described.get("torch_dtype")
    return found if found in ITEM_BYTES else "float32"


def count_elements(folder: Path) -> int:
    """How many numbers a folder's weights are, by the headers of its safetensors."""
    return sum(_elements(file) for file in folder.glob("*.safetensors"))


def _elements(file: Path) -> int:
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(length))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def save_model(policy: Policy, folder: Path, dtype: str, shard_bytes: int, generates_text: bool) -> None:
    """Saves a model that has nothing beside its own weights, and its tokenizer; the model is cast to ``dtype``."""
    kind = getattr(torch, dtype)
    whole = policy.model.to(kind)
    _settle(whole, policy, generates_text)
    save_whole(whole, policy.tokenizer, folder, kind, max_shard_size=shard_bytes)
    _clean_tokenizer(folder)
    _take_code(whole, folder)


def _settle(whole: Any, policy: Policy, generates_text: bool) -> None:
    """Configs that have plain ``generate`` stop where answers end, and take the most likely token."""
    text = whole.config.get_text_config()
    whole.config.use_cache = text.use_cache = True
    text.pad_token_id = policy.tokenizer.pad_token_id
    if not generates_text:
        return
    from transformers import GenerationConfig

    ends = end_tokens(policy)
    text.eos_token_id = ends[0] if len(ends) == 1 else ends or None
    whole.generation_config = GenerationConfig(
        bos_token_id=policy.tokenizer.bos_token_id,
        eos_token_id=text.eos_token_id,
        pad_token_id=policy.tokenizer.pad_token_id,
        do_sample=False,
    )


def end_ids(folder: Path) -> list[int]:
    """The tokens that end an answer of an exported model."""
    found = read_json(folder / "generation_config.json").get("eos_token_id", [])
    return found if isinstance(found, list) else [found]


def save_tokenizer(found: Any, folder: Path) -> None:
    """Saves a tokenizer, its chat template with it."""
    found.save_pretrained(folder)
    _clean_tokenizer(folder)


def _clean_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    kept = {key: value for key, value in read_json(path).items() if key not in OF_THIS_MACHINE}
    files.write_json(path, kept)


def _take_code(whole: Any, folder: Path) -> None:
    """Copies the code that a model comes with, where only that can load it."""
    auto = getattr(whole.config, "auto_map", None)
    origin = Path(getattr(whole.config, "_name_or_path", "") or ".")
    if auto and origin.is_dir():
        for file in origin.glob("*.py"):
            shutil.copyfile(file, folder / file.name)


def save_adapter_config(adapter: Path, folder: Path, base: ModelConfig) -> None:
    """An adapter's config, with its base's name on its hub, or here, in place of the path it was loaded from."""
    config = read_json(adapter / "adapter_config.json")
    named = {"base_model_name_or_path": license.public_name(base), "revision": license.revision(base)}
    files.write_json(folder / "adapter_config.json", config | named)


def load_exported(folder: Path, result: Result, dtype: str, attention: str) -> Any:
    """An exported model as transformers alone loads it, in evaluation mode."""
    loader, _ = LOADERS[result.config.stage.task]
    found = loader.from_pretrained(
        folder,
        dtype=getattr(torch, dtype),
        attn_implementation=attention,
        local_files_only=True,
        trust_remote_code=result.config.model.runs_remote_code,
    )
    return found.to(default_device()).eval()
