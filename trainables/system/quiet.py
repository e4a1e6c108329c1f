"""Silences libraries: warnings that mean nothing to the user, progress bars, telemetry, prints of modules on import."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # Ray Tune imports MLflow where it is installed
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "TOKENIZERS_PARALLELISM": "false",  # there is a worker on every core; and a fork after its use would warn
    "TRANSFORMERS_VERBOSITY": "error",
    "BITSANDBYTES_NOWELCOME": "1",
    "TQDM_DISABLE": "1",  # TRL shows a bar while it computes reference log-probabilities
}
# Modules that print, and don't log, what they are: transformers' that WANDB_MODE is offline.
PRINTING_MODULES = frozenset({"transformers.integrations.integration_utils"})


def silence() -> None:
    """Silences libraries in this process, but not their errors; call it before transformers is imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("bitsandbytes", "transformers", "trl", "accelerate", "datasets", "peft", "torchao"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(torch|transformers|trl|peft|bitsandbytes|accelerate)\b.*")
    if not any(isinstance(finder, _PrintlessImports) for finder in sys.meta_path):
        sys.meta_path.insert(0, _PrintlessImports())


class _PrintlessImports(MetaPathFinder):
    """Imports :data:`PRINTING_MODULES` with a ``print`` of their own, which does nothing."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in PRINTING_MODULES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _PrintlessLoader(spec.loader)
        return spec


class _PrintlessLoader(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["print"] = _print_nothing
        self._loader.exec_module(module)

    def __getattr__(self, name: str) -> Any:
        # Python and inspect ask loaders for source code and paths, too.
        return getattr(self._loader, name)


def _print_nothing(*_: object, **__: object) -> None:
    """In the place of ``print``."""
