"""A model's folder: whether it is complete, its architecture, and the fingerprint of its contents.

This file doesn't import torch: ``paretune plan`` uses it and must be quick.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from trainables.models.config_sizes import absurd_size
from trainables.models.vocabulary import NO_ROWS, MissingRows
from trainables.storage import files
from trainables.storage.damaged_files import read_bytes
from trainables.storage.home import home
from trainables.storage.names import leads_out
from trainables.storage.regular_files import first_endless
from trainables.storage.stored_values import read_stored

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
# All files that affect a model's answers, but the weights. Notes, licenses and weights in other formats are left out.
CONTENTS = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "spiece.model",
    "vocab.*",
    "merges.txt",
    "chat_template.*",
)
WEIGHT_FILES = "*.safetensors"
# Tensors that are a module's weight; the second name is that of GPTQ and AWQ.
WEIGHTS = ("weight", "qweight")
MAX_HEADER_BYTES = 100_000_000  # that safetensors allows
MAX_ROWS = 2**40  # of a tensor in one dimension
# In the folder of a model whose embedding was given rows for tokens that had none.
ADDED_ROWS = "added_rows.json"


class ModelError(ValueError):
    """A base model is missing or can't be used; the message says what was looked for, where, and what to do."""


@dataclass(frozen=True)
class Architecture:
    """A model's ``config.json``, how many decoder layers it has, and its modules that own a weight.

    ``matrices``: those whose weight has two dimensions or more, as linear layers, embeddings and convolutions have.
    """

    config: dict[str, Any]
    layers: int
    modules: tuple[str, ...]  # full names: model.layers.0.self_attn.q_proj, ...
    matrices: tuple[str, ...]
    chat_template: bool = True  # whether the tokenizer has one
    parameters: int = 0  # in its files; 0 if that is unknown, as for quantized weights
    plain: bool = True  # every tensor in its files is a matrix or a vector, and none belongs to an expert
    added_rows: MissingRows = NO_ROWS  # to the embedding, for tokens that the model was trained without

    @cached_property
    def module_names(self) -> tuple[str, ...]:
        """The distinct last parts of the modules' names: ``embed_tokens``, ``q_proj``, ..."""
        return _last_parts(self.modules)

    @cached_property
    def matrix_names(self) -> tuple[str, ...]:
        """The distinct last parts of the names of ``matrices``."""
        return _last_parts(self.matrices)

    @cached_property
    def text_matrix_names(self) -> tuple[str, ...]:
        """Those of ``matrix_names`` that are outside of towers for images and sounds, by their names."""
        if not isinstance(self.config.get("text_config"), dict):
            return self.matrix_names
        return _last_parts(name for name in self.matrices if not _TOWER.search(name.rpartition(".")[0]))

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """The full names of all modules, of those too that only contain others."""
        return tuple(dict.fromkeys(part for module in self.modules for part in containing_names(module)))

    def trained_for(self, task: str) -> Architecture:
        """The architecture for a stage's ``task``: a reward model (``SEQ_CLS``) has no head that predicts tokens."""
        if task == "CAUSAL_LM":
            return self
        modules, matrices = (
            tuple(name for name in names if not ends_in(name, "lm_head"))
            for names in (self.modules, self.matrices)
        )
        return replace(self, modules=modules, matrices=matrices)

    def has_module(self, name: str) -> bool:
        """Whether a module that owns a weight ends in ``name``: ``q_proj``, ``mlp.up_proj``, ``lm_head``."""
        return any(ends_in(module, name) for module in self.modules)

    def has_part(self, name: str) -> bool:
        """Like ``has_module``, but also true for modules that only contain others: ``mlp``, ``layers.3``."""
        return any(ends_in(part, name) for part in self.parts)


# In the names of modules beside the decoder of models of several parts.
_TOWER = re.compile(r"vision|visual|image|audio|speech|sound|multi_?modal")


def _last_parts(modules: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({module.rpartition(".")[2] for module in modules}))


def ends_in(module: str, name: str) -> bool:
    """Whether ``name`` is a module's full name, or its end: ``q_proj``, ``mlp.up_proj``."""
    return module == name or module.endswith("." + name)


def containing_names(module: str) -> list[str]:
    """The names of the modules that contain a module, the outermost first, and its own."""
    pieces = module.split(".")
    return [".".join(pieces[:end]) for end in range(1, len(pieces) + 1)]


def read_architecture(folder: Path) -> Architecture:
    """Reads a model's architecture from ``config.json`` and the safetensors headers.

    >>> read_architecture(Path("SmolLM2-135M-Instruct")).layers  # doctest: +SKIP
    30
    """
    check_model_folder(folder)
    config = read_json(folder / "config.json")
    shapes = {name: s for file in folder.glob("*.safetensors") for name, s in tensor_shapes(file).items()}
    modules = {name.rpartition(".")[0] for name in shapes} - {""}
    # Tensors of other names are no module's weight matrix: biases, states, experts that share one tensor.
    matrices = {
        module
        for name, shape in shapes.items()
        for module, _, kind in (name.rpartition("."),)
        if module and kind in WEIGHTS and len(shape) >= 2
    }
    # A tied head has no tensor of its own: it is the embedding under another name.
    if config.get("tie_word_embeddings", not any(ends_in(m, "lm_head") for m in modules)):
        modules.add("lm_head")
        matrices.add("lm_head")
    return Architecture(
        config,
        _layers(config, modules, folder),
        tuple(sorted(modules)),
        tuple(sorted(matrices)),
        _has_chat_template(folder),
        0 if any(name.endswith("qweight") for name in shapes) else sum(map(math.prod, shapes.values())),
        added_rows=_added_rows(folder),
        plain=all(len(shape) <= 2 and ".experts." not in name for name, shape in shapes.items()),
    )


def _added_rows(folder: Path) -> MissingRows:
    if not (folder / ADDED_ROWS).exists():
        return NO_ROWS
    added = read_json(folder / ADDED_ROWS)
    return MissingRows(added["rows"], tuple(added.get("tokens", ())))  # copies of earlier versions name none


def _has_chat_template(folder: Path) -> bool:
    if any(folder.glob("chat_template.*")) or (folder / "additional_chat_templates").is_dir():
        return True
    settings = folder / "tokenizer_config.json"
    return settings.exists() and bool(read_json(settings).get("chat_template"))


def _layers(config: dict[str, Any], modules: Iterable[str], folder: Path) -> int:
    """How many decoder layers a model has, as its config says, or else its list with most modules."""
    inner = config.get("text_config")
    for level in (config, inner if isinstance(inner, dict) else {}):
        for key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers"):
            if isinstance(level.get(key), int):
                return int(level[key])
    numbered: dict[str, list[str]] = {}  # the numbers of a list's members, once for each module in them
    for match in (re.match(r"(.*?)\.(\d+)\.", module) for module in modules):
        if match is not None:
            numbered.setdefault(match[1], []).append(match[2])
    if not numbered:
        raise ModelError(f"{folder}: config.json doesn't state the number of layers (num_hidden_layers).")
    largest = max(numbered.values(), key=len)
    return len(set(largest))


def tensor_shapes(file: Path) -> dict[str, list[int]]:
    """The tensors' shapes in a safetensors file by name; its header is a length in 8 bytes, then JSON."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            # A damaged length would otherwise make `read` ask for any amount of memory.
            if length > min(file.stat().st_size, MAX_HEADER_BYTES):
                raise ValueError(f"its header would have {length} bytes")
            header = json.loads(opened.read(length))
            return {name: _shape(entry) for name, entry in header.items() if name != "__metadata__"}
    except (struct.error, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(f"{file}: not a complete safetensors file ({error}). Download it again.") from error


def _shape(entry: dict[str, Any]) -> list[int]:
    shape: list[int] = entry["shape"]
    if not all(isinstance(size, int) and 0 <= size <= MAX_ROWS for size in shape):
        raise ValueError(f"a tensor has the shape {str(shape)[:50]}")
    return shape


def check_model_folder(folder: Path) -> Path:
    """The folder itself, checked: it has everything that loading a causal language model takes.

    Raises ``ModelError``, which names what is missing.
    """
    if not folder.is_dir():
        raise ModelError(
            f"There is no model folder {folder}. Give the folder that contains the model's config.json."
        )
    if (endless := first_endless(folder)) is not None:
        raise ModelError(
            f"{endless} is neither a file nor a folder, and reading it would never end. Remove it."
        )
    if (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        raise ModelError(f"{folder} contains an adapter, not a model. Merge it into its base model first.")
    if not (folder / "config.json").exists():
        raise ModelError(f"{folder} has no config.json, so it isn't a model folder.")
    if (absurd := absurd_size(read_json(folder / "config.json"))) is not None:
        raise ModelError(f"{folder / 'config.json'}: {absurd}. Put the model's own file there.")
    _check_weights(folder)
    if not any((folder / name).exists() for name in TOKENIZERS):
        raise ModelError(
            f"{folder} has no tokenizer (looked for {', '.join(TOKENIZERS)}). Save it there as well."
        )
    return folder


def _check_weights(folder: Path) -> None:
    if not any(folder.glob("*.safetensors")):
        pickles = find_pickles(folder)
        reason = (
            f" It has {pickles[0].name}, but a pickle can run any code when it is read; if you trust it, write "
            "model: {unsafe: [pickle]}."
            if pickles
            else ""
        )
        raise ModelError(
            f"{folder} has no weights as safetensors.{reason} Save the model with save_pretrained, "
            "which writes safetensors."
        )
    if outside := [name for name in _shards(folder) if leads_out(name)]:
        raise ModelError(f"{folder}: its index names weights outside of the folder: {outside[0]!r}.")
    missing = [name for name in _shards(folder) if not (folder / name).exists()]
    if missing:
        raise ModelError(
            f"{folder} lacks {', '.join(missing)}. The download was incomplete; fetch the model again."
        )


def find_pickles(folder: Path) -> list[Path]:
    """The files in a folder that may contain pickled weights, sorted by name."""
    return sorted(file for pattern in ("*.bin", "*.pt", "*.pth") for file in folder.glob(pattern))


def _shards(folder: Path) -> list[str]:
    """The weight files that the index names; the index itself where it is missing beside one of several files."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        return sorted(set(read_json(index).get("weight_map", {}).values()))
    return [index.name] if any(folder.glob("*-of-*.safetensors")) else []


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model's folder. Raises ``ModelError`` if the file is damaged."""
    try:
        value = json.loads(read_bytes(path).decode())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: expected a JSON object, not {type(value).__name__}.")
    return value


def fingerprint(folder: Path, with_weights: bool = True) -> str:
    """A hash of the model's contents (config, tokenizer, chat template, weights), wherever the folder is.

    Hashing gigabytes takes seconds, so each file's hash is cached until its size or modification time changes.
    """
    cache = home() / "fingerprints.json"
    known = _known_hashes(cache)
    hashes, new = {}, {}
    patterns = (*CONTENTS, WEIGHT_FILES) if with_weights else CONTENTS
    for file in sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}):
        status = file.stat()
        key = f"{file.resolve()} {status.st_size} {status.st_mtime_ns}"
        if key not in known:
            known[key] = new[key] = files.file_sha256(file)
        hashes[file.name] = known[key]
    if new:
        # A cache that can't be written costs time, not correctness.
        with contextlib.suppress(OSError):
            # Read again, since other processes may have added hashes in the meantime.
            files.write_json(cache, _known_hashes(cache) | new)
    return files.sha256(hashes)


def _known_hashes(path: Path) -> dict[str, str]:
    return {key: value for key, value in read_stored(path).items() if isinstance(value, str)}
