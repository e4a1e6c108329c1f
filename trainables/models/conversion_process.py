"""Converts a GGUF file, or a folder of weights, pickled or not, to a model folder as transformers writes it:
safetensors, tokenizer, chat template, and an embedding with a row for each of the tokenizer's tokens.

python -m trainables.models.conversion_process MODEL.gguf|FOLDER INTO
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainables.models.folder import ADDED_ROWS
from trainables.models.vocabulary import missing_rows, resize_embedding


def convert_model(source: Path, folder: Path, remote_code: bool = False) -> None:
    """Writes the model in ``source`` to ``folder``: a GGUF file's in bfloat16, other weights in their own dtype.

    ``remote_code``: whether code that comes with the model may run. It is always passed on, as transformers would ask.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if source.is_dir():
        # transformers has torch read pickles with weights_only: tensors and no other objects.
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": remote_code}
        safe = any(source.glob("*.safetensors"))
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        loader = _loader(source, options)
        model = loader.from_pretrained(source, use_safetensors=safe, dtype="auto", **options)
    else:
        options = {"gguf_file": source.name, "local_files_only": True, "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(source.parent, **options)
        model = AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.bfloat16, **options)
        _clear_quantization(model)
        model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
        tokenizer.model_max_length = model.config.max_position_embeddings
    rows = model.get_input_embeddings().weight.shape[0]
    missing = missing_rows(tokenizer, rows)
    resize_embedding(model, rows + missing.rows)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if missing.rows:
        (folder / ADDED_ROWS).write_text(json.dumps(asdict(missing)), encoding="utf-8")


def _loader(source: Path, options: dict[str, Any]) -> Any:
    """The class that loads the model with its head: a reward model's gives a number, all others' predict tokens."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from trainables.models.architecture.reward_model import RewardModels

    names = AutoConfig.from_pretrained(source, **options).architectures or []
    is_reward_model = any(name.endswith("SequenceClassification") for name in names)
    return RewardModels if is_reward_model else AutoModelForCausalLM


def _clear_quantization(model: Any) -> None:
    """Removes the mark of a quantized model, with which transformers wouldn't save it: weights from GGUF are plain."""
    model.hf_quantizer = None
    model.is_quantized = False
    del model.config.quantization_config
    del model.quantization_method


if __name__ == "__main__":
    convert_model(Path(sys.argv[1]), Path(sys.argv[2]), remote_code="remote_code" in sys.argv[3:])
