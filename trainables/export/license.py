"""The public name of a base model and its licence, as far as known."""

from __future__ import annotations

import re
from pathlib import Path

from trainables.config.model import ModelConfig
from trainables.models.hub import HuggingFaceModel
from trainables.models.locate import NAMED_MODELS, ModelError, find_source
from trainables.models.python_package import PackagedModel

# By the beginning of a repository's id, of which the longest counts; licences by their names on the hub.
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
    """The repository's id on the hub of the model that a config names; ``None`` for a folder."""
    source = _source(model)
    return source.repository if isinstance(source, HuggingFaceModel | PackagedModel) else None


def public_name(model: ModelConfig) -> str:
    """A name of the model that contains no path of this machine: its id on the hub, or its short or folder name."""
    source = _source(model)
    return source.repository if isinstance(source, HuggingFaceModel) else model.label


def revision(model: ModelConfig) -> str | None:
    """The branch, tag or commit on the hub that the config names."""
    source = _source(model)
    return source.revision if isinstance(source, HuggingFaceModel) else None


def license_of(model: ModelConfig, folder: Path) -> str | None:
    """The licence by the model's own card in ``folder``, else by its source; ``None`` if unknown."""
    if licence := _license_in_card(folder / "README.md"):
        return licence
    source = _source(model)
    if isinstance(source, PackagedModel):
        return source.licence.lower()
    if not isinstance(source, HuggingFaceModel):
        return None
    prefixes = [each for each in LICENCES if source.repository.startswith(each)]
    return LICENCES[max(prefixes, key=len)] if prefixes else None


def _source(model: ModelConfig) -> object | None:
    if model.name is None:
        return None
    try:
        return NAMED_MODELS.get(model.name) or find_source(model.name)
    except ModelError:
        return None


def _license_in_card(card: Path) -> str | None:
    """The ``license`` in the metadata block of a model card, which need not be valid YAML."""
    if not card.is_file():
        return None
    front = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    licence = re.search(r"^license:\s*[\"']?([\w.+-]+)[\"']?\s*$", front[1], re.MULTILINE) if front else None
    return licence[1] if licence else None
