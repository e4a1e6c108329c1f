"""A folder in which specs can be planned: a tiny model, a few rows, and a spec to vary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from sweeps.planning.plan import Plan, make
from sweeps.spec.spec import read

SPEC = """\
name: tiny
model: {path: model}
data: {train: rows.jsonl, eval_fraction: 0.4}
stages: [{kind: sft}]
methods:
  - {kind: full}
  - {kind: lora, rank: {choice: [4, 8]}}
train: {steps: 8, batch_size: 2, learning_rate: {log: [1e-4, 5e-3]}}
search: {trials: 3}
finalists: {seeds: 1}
"""
ONE = "  - {kind: full}\n  - {kind: lora, rank: {choice: [4, 8]}}\n"  # the spec's methods


def spec_folder(path: Path) -> Path:
    """Fills ``path`` with a model of two layers and 60 rows."""
    model = path / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps({"num_hidden_layers": 2, "tie_word_embeddings": True}))
    (model / "tokenizer.json").write_text("{}")
    (model / "chat_template.jinja").write_text("{{ messages }}")
    names = ["model.embed_tokens"] + [f"model.layers.{i}.self_attn.q_proj" for i in range(2)]
    save_file(
        {f"{name}.weight": np.zeros((1, 1), dtype=np.float32) for name in names}, model / "model.safetensors"
    )
    rows = [json.dumps({"prompt": f"say {n}", "completion": str(n)}) for n in range(60)]
    (path / "rows.jsonl").write_text("\n".join(rows))
    return path


def own_spec_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As :func:`spec_folder`, with the spec in ``spec.yaml`` and a cache of its own."""
    monkeypatch.setenv("PARETUNE_HOME", str(path / "home"))
    (spec_folder(path) / "spec.yaml").write_text(SPEC)
    return path


def plan(path: Path, text: str = SPEC, sets: tuple[str, ...] = (), **options: Any) -> Plan:
    """The plan of a spec with this text."""
    file = path / "spec.yaml"
    file.write_text(text)
    return make(read(file, sets), **options)


def problems(path: Path, text: str, *sets: str) -> list[str]:
    """The problems of a spec with that text, as printed, but with paths relative to the folder."""
    return [str(problem).replace(f"{path}/", "") for problem in plan(path, text, sets).problems]
