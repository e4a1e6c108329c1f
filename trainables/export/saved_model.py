"""A model's folder as plain transformers reads it: weights, configs and tokenizer, without traces of this machine."""

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
# Where transformers records from which folder a tokenizer was loaded.
MACHINE_KEYS = ("is_local", "local_files_only", "name_or_path", "_commit_hash")


def unquantized(result: Result, dtype: str) -> Result:
    """The same result, to be loaded with all weights in ``dtype``: base model unquantized, without fused kernels."""
    config = result.config
    model = config.model.model_copy(update={"dtype": dtype, "kernels": "none"})
    train = config.train.model_copy(update={"precision": "bf16"})  # frozen weights have the model's dtype
    return replace(result, config=config.model_copy(update={"method": None, "model": model, "train": train}))


def uniform_dtypes(dtype: str) -> Dtypes:
    """All weights in one dtype, without autocast."""
    torch_dtype = getattr(torch, dtype)
    return Dtypes(torch_dtype, torch_dtype, None)


def native_dtype(result: Result) -> str:
    """The dtype in which a trial saved the weights; for a model of no trial, the one in its config."""
    if result.run is not None:
        frozen = choose_dtypes(result.config.train.precision, result.config.model.dtype).frozen
        return str(frozen).removeprefix("torch.")
    config = read_json(result.folder() / "config.json")
    dtype = config.get("dtype") or config.get("torch_dtype")
    return dtype if dtype in ITEM_BYTES else "float32"


def count_elements(folder: Path) -> int:
    """The number of elements of all weights in a folder, by the headers of its safetensors files."""
    return sum(_file_elements(file) for file in folder.glob("*.safetensors"))


def _file_elements(file: Path) -> int:
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(length))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def save_model(policy: Policy, folder: Path, dtype: str, shard_bytes: int, generates_text: bool) -> None:
    """Saves a model without adapters, and its tokenizer. Casts the model to ``dtype`` in place."""
    torch_dtype = getattr(torch, dtype)
    model = policy.model.to(torch_dtype)
    _set_generation_config(model, policy, generates_text)
    save_whole(model, policy.tokenizer, folder, torch_dtype, max_shard_size=shard_bytes)
    _clean_tokenizer(folder)
    _copy_code(model, folder)


def _set_generation_config(model: Any, policy: Policy, generates_text: bool) -> None:
    """Sets the configs so that plain ``generate`` is greedy, stops at the end of an answer, and uses the cache."""
    text = model.config.get_text_config()
    # `load_base` switches the cache off, for training.
    model.config.use_cache = text.use_cache = True
    text.pad_token_id = policy.tokenizer.pad_token_id
    if not generates_text:
        return
    from transformers import GenerationConfig

    ends = end_tokens(policy)
    text.eos_token_id = ends[0] if len(ends) == 1 else ends or None
    model.generation_config = GenerationConfig(
        bos_token_id=policy.tokenizer.bos_token_id,
        eos_token_id=text.eos_token_id,
        pad_token_id=policy.tokenizer.pad_token_id,
        do_sample=False,
    )


def end_ids(folder: Path) -> list[int]:
    """The tokens that end an answer of an exported model."""
    ids = read_json(folder / "generation_config.json").get("eos_token_id", [])
    return ids if isinstance(ids, list) else [ids]


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Saves a tokenizer with its chat template."""
    tokenizer.save_pretrained(folder)
    _clean_tokenizer(folder)


def _clean_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    public = {key: value for key, value in read_json(path).items() if key not in MACHINE_KEYS}
    files.write_json(path, public)


def _copy_code(model: Any, folder: Path) -> None:
    """Copies the Python files of a model that is loaded by code of its own."""
    auto = getattr(model.config, "auto_map", None)
    origin = Path(getattr(model.config, "_name_or_path", "") or ".")
    if auto and origin.is_dir():
        for file in origin.glob("*.py"):
            shutil.copyfile(file, folder / file.name)


def save_adapter_config(adapter: Path, folder: Path, base: ModelConfig) -> None:
    """Saves an adapter's config with the public name of its base model instead of the path it was loaded from."""
    config = read_json(adapter / "adapter_config.json")
    public = {"base_model_name_or_path": license.public_name(base), "revision": license.revision(base)}
    files.write_json(folder / "adapter_config.json", config | public)


def load_exported(folder: Path, result: Result, dtype: str, attention: str) -> Any:
    """Loads an exported model with transformers alone, in evaluation mode."""
    model = LOADERS[result.config.stage.task].from_pretrained(
        folder,
        dtype=getattr(torch, dtype),
        attn_implementation=attention,
        local_files_only=True,
        trust_remote_code=result.config.model.runs_remote_code,
    )
    return model.to(default_device()).eval()
