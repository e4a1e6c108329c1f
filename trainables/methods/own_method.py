"""A method of one's own: ``{kind: my_package.my_method:MyMethod, ...}`` names a class with the protocol of ours.

Its class is imported by :func:`load_class` alone, which planning a spec and the processes of its trials call. A config
that is merely read, such as that of somebody else's run, imports nothing: its method is an :class:`OwnMethod`, which
keeps the settings and can neither train nor save.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import ConfigDict

from trainables.methods.base import FineTuning
from trainables.methods.derived_class import NOT_OWN, derived_class
from trainables.methods.own_code import OwnCode, OwnMethodError, is_own_kind, split_kind
from trainables.methods.own_imports import import_module
from trainables.system.suggestions import did_you_mean

if TYPE_CHECKING:
    from types import ModuleType

    import torch
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from trainables.methods.footprint import Footprint
    from trainables.models.architecture.decoder_shape import DecoderShape
    from trainables.models.precision import Dtypes

OWN = "own"  # among the tags of the union of methods
TRUST = "method_code"  # what --trust calls it


class OwnMethod(FineTuning):
    """The settings of a method whose class has not been imported."""

    model_config = ConfigDict(extra="allow")

    kind: str
    method_path: Path | None = None
    method_sha256: str | None = None
    holds_base: bool = True

    def needed(self) -> str:
        """What has to be done for its code to be run."""
        place = str(self.method_path) if self.method_path is not None else "an installed module"
        return f"its method {self.kind} is code ({place}), which is run only with --trust {TRUST}"

    def _refuse(self) -> NoReturn:
        raise OwnMethodError(
            f"the class of {self.kind} is not imported, as nobody asked for its code to be run"
        )

    def footprint(self, shape: DecoderShape) -> Footprint:
        self._refuse()

    def attach(self, model: nn.Module, dtypes: Dtypes, begun: Path | None = None) -> nn.Module:
        self._refuse()

    def save(
        self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: torch.dtype
    ) -> None:
        self._refuse()


def tag_of(value: Any) -> str | None:
    """Which member of the union of methods a value is: that of its kind, or ``OWN``."""
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return OWN if is_own_kind(kind) else kind


def read_own(value: Any) -> FineTuning:
    """A method of one's own in a config, as pydantic's validator: of its class, if that has been imported."""
    if isinstance(value, FineTuning):
        return value
    cls = _CLASSES.get((value["kind"], value.get("method_sha256")), OwnMethod)
    # As planning builds configs: strict, and from JSON, which all of them can be written as.
    return cls.model_validate_json(json.dumps(dict(value), default=str), strict=True)


@dataclass(frozen=True)
class OwnMethodClass:
    """A class of one's own that was imported: ``code`` is that of its module, ``None`` where it is installed."""

    cls: type[FineTuning]
    code: OwnCode | None


def known_own_class(kind: str) -> OwnMethodClass | None:
    """What was imported last for a kind; ``None`` where nothing was."""
    return _LATEST.get(kind)


def known_class(kind: str) -> type[FineTuning] | None:
    """The class of a kind that was imported last; ``None`` where none was."""
    return _LATEST[kind].cls if kind in _LATEST else None


def known_classes() -> dict[str, type[FineTuning]]:
    """All of these by their kinds."""
    return {kind: found.cls for kind, found in _LATEST.items()}


def load_class(kind: str, code: OwnCode | None) -> type[FineTuning]:
    """Imports the class of a kind, of its ``code`` or as it is installed. Raises :class:`OwnMethodError`."""
    module, name = split_kind(kind)
    key = (kind, code.sha256 if code is not None else None)
    if key not in _CLASSES:
        imported = import_module(module, code)
        found = getattr(imported, name, None)
        where = f"{module}, in {code.path}," if code is not None else module
        if found is None:
            raise OwnMethodError(f"{where} has no class {name}{did_you_mean(name, _methods_in(imported))}")
        _CLASSES[key] = derived_class(found, kind, where)
    _LATEST[kind] = OwnMethodClass(_CLASSES[key], code)
    return _CLASSES[key]


def _methods_in(module: ModuleType) -> list[str]:
    """The names of the classes in a module that are methods of its own."""
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, FineTuning)
        and value.__module__.partition(".")[0] not in NOT_OWN
    ]


def load_for(method: FineTuning | None) -> bool:
    """Imports the class of a method of one's own whose config was read without it; returns whether it is one.

    For processes that were handed the config by the plan's own. Raises :class:`OwnMethodError`, also where the code is
    no longer what it was when the trial was planned.
    """
    if not isinstance(method, OwnMethod):
        return False
    code = code_of(method)
    if code is not None and code.sha256 != method.method_sha256:
        raise OwnMethodError(
            f"{code.path}, the code of {method.kind}, has changed since this was planned; restore it, or plan again "
            "under another name"
        )
    load_class(method.kind, code)
    return True


def code_of(method: FineTuning | None) -> OwnCode | None:
    """The files of a method's code beside the spec; ``None`` where it has none. Raises :class:`OwnMethodError`."""
    path = getattr(method, "method_path", None)
    return OwnCode.read(path) if path is not None else None


def filled(kind: str) -> dict[str, Any]:
    """The fields that planning fills in for a kind whose class was imported; none for others. ``holds_base`` follows
    from the settings.
    """
    if kind not in _LATEST:
        return {}
    code = _LATEST[kind].code
    return {"method_path": str(code.path), "method_sha256": code.sha256} if code is not None else {}


_CLASSES: dict[tuple[str, str | None], type[FineTuning]] = {}  # by kind and hash of the code
_LATEST: dict[str, OwnMethodClass] = {}  # by kind
