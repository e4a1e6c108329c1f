"""Turns a GGUF file, or a folder with weights, pickled or not, into a model folder as transformers writes it:
safetensors, tokenizer, chat template, and an embedding with a row for each of the tokenizer's tokens.

python -m trainables.models.conversion_process MODEL.gguf|FOLDER INTO
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def convert(source: Path, folder: Path, remote_code: bool = False) -> None:
    """Writes the model in ``source`` to ``folder``: a GGUF file's in bfloat16, other weights as they are.

    ``remote_code``: code that comes with the model may run. Where nothing is said, transformers would ask.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if source.is_dir():
        # From pickles, transformers has torch read weights alone, and no other objects.
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": remote_code}
        safe = any(source.glob("*.safetensors"))
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model = AutoModelForCausalLM.from_pretrained(source, use_safetensors=safe, dtype="auto", **options)
    else:
        options = {"gguf_file": source.name, "local_files_only": True, "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(source.parent, **options)
        model = AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.bfloat16, **options)
        _forget_quantization(model)
        model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
        tokenizer.model_max_length = model.config.max_position_embeddings
    grow(model, len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)  # the weights come out readable by their owner alone; a cache may be shared


def grow(model: Any, tokens: int) -> None:
    """Gives the embedding and the head a row for each token: the mean of the rows there are, which changes what is said
    the least (Hewitt, 2021, https://nlp.stanford.edu/~johnhew/vocab-expansion.html).
    """
    import torch

    rows = model.get_input_embeddings().weight.shape[0]
    if tokens <= rows:
        return
    model.resize_token_embeddings(tokens, mean_resizing=False)
    with torch.no_grad():
        for module in (model.get_input_embeddings(), model.get_output_embeddings()):
            module.weight[rows:] = module.weight[:rows].float().mean(0).to(module.weight.dtype)


def _forget_quantization(model: Any) -> None:
    """Loaded from GGUF, the weights are plain, but the model says it is quantized and would not be saved."""
    model.hf_quantizer = None
    model.is_quantized = False
    del model.config.quantization_config
    del model.quantization_method


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), remote_code="remote_code" in sys.argv[3:])
