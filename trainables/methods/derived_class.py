"""The class of a method of one's own as trials use it: with the fields that planning fills in, and with what trials
ask of every method."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import create_model, model_validator

from trainables.methods.base import FineTuning
from trainables.methods.own_code import OwnMethodError, split_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainables.config.train import TrainConfig
    from trainables.methods.footprint import Footprint
    from trainables.models.architecture.decoder_shape import DecoderShape

PROTOCOL = "trainables.methods.base.FineTuning"
# Fields that planning fills in: where the code is, its hash, and whether the class holds the base in a form of its own.
FILLED = ("method_path", "method_sha256", "holds_base")
# What decides in what form the base is held.
OF_BASE = ("prepare", "load_options", "load_dtype", "base_form_settings")
# What decides what trains: where the class has one of these, a formula that it inherits says nothing of it.
OF_ATTACHING = (
    "attach",
    "attach_adapters",
    "_peft_config",
    "_trained",
    "prepare",
    "load_options",
    "load_dtype",
)
# Packages of the classes that are nobody's own.
NOT_OWN = ("trainables", "pydantic", "builtins", "abc", "typing")
ENTRY_SECTIONS = ("model", "data", "train", "search", "resources")  # which an entry of a spec may override


def derived_class(cls: Any, kind: str, where: str) -> type[FineTuning]:
    """The class with ``kind`` and what planning fills in as fields. Raises :class:`OwnMethodError`."""
    if not (isinstance(cls, type) and issubclass(cls, FineTuning)):
        raise OwnMethodError(f"{split_kind(kind)[1]} of {where} is no method: derive it from {PROTOCOL}")
    missing = sorted(set(getattr(cls, "__abstractmethods__", ())) - {"footprint"})
    if missing:
        raise OwnMethodError(f"{cls.__name__} of {where} lacks {', '.join(missing)} of {PROTOCOL}")
    taken = sorted(set(cls.model_fields) & {*FILLED, *ENTRY_SECTIONS})
    if taken:
        raise OwnMethodError(
            f"{cls.__name__} of {where} has the option {taken[0]}, which means something else in a spec; rename it"
        )
    base: Any = _completed(cls, kind)
    fields: dict[str, Any] = {
        "kind": (Literal[kind], kind),
        "method_path": (Path | None, None),
        "method_sha256": (str | None, None),
        "holds_base": (bool, True),
    }
    try:
        derived = create_model(
            cls.__name__,
            __base__=base,
            __module__=cls.__module__,
            __doc__=cls.__doc__,
            **fields,
        )
    except Exception as error:  # whatever pydantic finds odd in somebody's class
        raise OwnMethodError(f"{cls.__name__} of {where} is no config class: {error}") from error
    return cast("type[FineTuning]", derived)


def _own_classes(cls: type) -> list[type]:
    """The class and those that it derives from, as far as they are somebody's own."""
    return [each for each in cls.__mro__ if each.__module__.partition(".")[0] not in NOT_OWN]


def _completed(cls: type[FineTuning], kind: str) -> type[FineTuning]:
    """The class with what trials ask of every method. Its footprint is its own where that is of what it attaches, else
    none, so that a step is traced.
    """
    own = _own_classes(cls)
    attaches = any(name in vars(each) for each in own for name in OF_ATTACHING)
    given = any("footprint" in vars(each) for each in own)
    holds = any(name in vars(each) for each in own for name in OF_BASE)
    adds_gradients = any("add_gradients" in vars(each) for each in own)
    inherited = not attaches and "footprint" not in getattr(cls, "__abstractmethods__", ())

    class Completed(cls):  # type: ignore[misc, valid-type]
        @model_validator(mode="after")
        def _set_holds_base(self) -> Completed:
            # What is inherited from our classes holds the base in a form of its own only where it quantizes it.
            self.__dict__["holds_base"] = holds or self.quantization is not None
            return self

        @property
        def base_form(self) -> dict[str, Any]:
            # Only the class knows which of its settings decide it.
            settings = self.model_dump(mode="json") if self.holds_base else super().base_form
            return {**settings, "code": self.similarity}

        def training_obstacles(self, train: TrainConfig) -> Iterator[tuple[str, str]]:
            yield from super().training_obstacles(train)
            if adds_gradients and train.optimizer_settings.updates_in_backward:
                what = f"{train.optimizer_label} leaves no gradients, to which {self.label} adds; use adamw"
                yield "optimizer", what

        def footprint(self, shape: DecoderShape) -> Footprint:
            from trainables.models.architecture.decoder_shape import MemoryNotPredictable

            if not (given or inherited):
                raise MemoryNotPredictable(f"no formula covers {kind}")
            try:
                return super().footprint(shape)
            except MemoryNotPredictable:
                raise
            except Exception as error:  # somebody's code
                what = f"the footprint of {kind} fails ({type(error).__name__}: {error})"
                raise MemoryNotPredictable(what) from error

    Completed.__doc__ = cls.__doc__
    return Completed
