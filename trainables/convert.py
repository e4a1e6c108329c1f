"""Turns a GGUF file into a model folder as transformers writes it: safetensors, tokenizer, chat template.

python -m trainables.convert MODEL.gguf FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def convert(gguf: Path, folder: Path) -> None:
    """Writes the model in ``gguf`` to ``folder``, in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    _forget_quantization(model)
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    tokenizer.model_max_length = model.config.max_position_embeddings
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)  # the weights come out readable by their owner alone; a cache may be shared


def _forget_quantization(model: Any) -> None:
    """Loaded from GGUF, the weights are plain, but the model says it is quantized and would not be saved."""
    model.hf_quantizer = None
    model.is_quantized = False
    del model.config.quantization_config
    del model.quantization_method


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
