"""What a base model is called on its hub, and the licence it comes with, as far as that is known."""

from __future__ import annotations

import re
from pathlib import Path

from trainables.config.model import ModelConfig
from trainables.models.hub import HuggingFaceModel
from trainables.models.locate import NAMED_MODELS, ModelError, find_source
from trainables.models.python_package import PackagedModel

# By how a repository's id begins, the longest first; hub's names of licences.
LICENCES = {
    "Qwen/Qwen2.5-3B": "other",  # Qwen's research licence
    "Qwen/Qwen2.5-72B": "other",  # Qwen's own
    "Qwen/Qwen2.5": "apache-2.0",
    "Qwen/Qwen3": "apache-2.0",
    "HuggingFaceTB/SmolLM": "apache-2.0",
    "meta-llama/Llama-3.1": "llama3.1",
    "meta-llama/Llama-3.2": "llama3.2",
    "meta-llama/Llama-3.3": "llama3.3",
    "google/gemma-3": "gemma",
    "mistralai/Mistral-7B": "apache-2.0",
    "mistralai/Mistral-Nemo": "apache-2.0",
    "microsoft/phi-4": "mit",
    "microsoft/Phi-4": "mit",
    "microsoft/Phi-3.5": "mit",
    "deepseek-ai/DeepSeek-R1-Distill": "mit",
}


def repository(model: ModelConfig) -> str | None:
    """The id on its hub of the model that a config names; ``None`` for a folder."""
    found = _source(model)
    return found.repository if isinstance(found, HuggingFaceModel | PackagedModel) else None


def public_name(model: ModelConfig) -> str:
    """What the base can be called without a path of this machine: its hub's id, its name here, its folder's name."""
    found = _source(model)
    return found.repository if isinstance(found, HuggingFaceModel) else model.label


def revision(model: ModelConfig) -> str | None:
    """The branch, tag or commit of its hub that the config asks for."""
    found = _source(model)
    return found.revision if isinstance(found, HuggingFaceModel) else None


def license_of(model: ModelConfig, folder: Path) -> str | None:
    """The base's licence by its own card in ``folder``, else by what is known of it; ``None`` where nothing is."""
    found = _source(model)
    if said := _of_card(folder / "README.md"):
        return said
    if isinstance(found, PackagedModel):
        return found.licence.lower()
    starts = [
        start
        for start in LICENCES
        if isinstance(found, HuggingFaceModel) and found.repository.startswith(start)
    ]
    return LICENCES[max(starts, key=len)] if starts else None


def _source(model: ModelConfig) -> object | None:
    if model.name is None:
        return None
    try:
        return NAMED_MODELS.get(model.name) or find_source(model.name)
    except ModelError:
        return None


def _of_card(card: Path) -> str | None:
    """The ``license`` of a model card's front matter."""
    if not card.is_file():
        return None
    front = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    said = re.search(r"^license:\s*[\"']?([\w.+-]+)[\"']?\s*$", front[1], re.MULTILINE) if front else None
    return said[1] if said else None
