"""Folders of a model that was made to harm whoever reads it: each a copy of a good one with one trick."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
# Texts that a terminal obeys.
CLIPBOARD, TITLE = "\x1b]52;c;ZXZpbA==\x07", "\x1b]0;owned\x07"
REVERSED = "\u202eevil"


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _absurd(model: Path, victim: Path) -> None:
    _edit(model / "config.json", num_hidden_layers=10**9, vocab_size=10**12)


def _looping(model: Path, victim: Path) -> None:
    for path in model.glob("chat_template.jinja"):
        path.unlink()
    _edit(model / "tokenizer_config.json", chat_template=LOOP)


def _index(model: Path, victim: Path) -> None:
    names = {"model.embed_tokens.weight": "../../victim/secret"}
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))


class _Touches:
    """As a pickle, it makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def _pickle(model: Path, victim: Path) -> None:
    for path in model.glob("*.safetensors"):
        path.unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(_Touches(victim / "unpickled")))


def _pipe(model: Path, victim: Path) -> None:
    (model / "tokenizer.json").unlink()
    os.mkfifo(model / "tokenizer.json")


def _auto_map(model: Path, victim: Path) -> None:
    (model / "own.py").write_text(f"open({str(victim / 'imported')!r}, 'a').write('own')\n")
    _edit(
        model / "config.json",
        auto_map={"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"},
        model_type="own",
    )
    _edit(model / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.T", None]}, tokenizer_class="T")


def _control(model: Path, victim: Path) -> None:
    tokens = {"unk_token": f"{TITLE}{REVERSED}", "additional_special_tokens": [CLIPBOARD]}
    _edit(model / "tokenizer_config.json", **tokens)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    # What the model answers is made of these.
    tokenizer["model"]["vocab"] = {
        (f"{TITLE}{number}" if number % 2 and not text.startswith("<|") and len(text) > 1 else text): number
        for text, number in vocabulary.items()
    }
    tokenizer["model"]["merges"] = []
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))


# By name, what is done to a good model. ``victim``: a folder in which nothing may be written.
HOSTILE_MODELS: dict[str, Callable[[Path, Path], None]] = {
    "absurd": _absurd, "looping": _looping, "index": _index, "pickle": _pickle, "pipe": _pipe, "auto_map": _auto_map,
    "control": _control,
}  # fmt: skip
