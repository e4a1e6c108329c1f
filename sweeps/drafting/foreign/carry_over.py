"""What becomes of another tool's settings: settings of a spec, or a reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweeps.drafting.foreign.foreign_file import NAMES, ForeignFile, ForeignSetting
from sweeps.drafting.foreign.shell_words import is_shell_value
from sweeps.spec.foreign_keys import FOREIGN_KEYS, NEEDLESS_KEYS
from sweeps.spec.schema import ENTRY_CLASSES
from trainables.system.redaction import HIDDEN, SECRET_NAMES, redacted

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Kept:
    """A setting of a spec. ``section``: model, data, stage, method, train, rate (the method's own learning rate),
    tracking, or nothing for the spec itself.

    One that is not ``active`` is proposed as a comment. ``note``: how it differs from what it was.
    """

    section: str
    key: str
    value: Any
    note: str = ""
    active: bool = True


@dataclass(frozen=True)
class Dropped:
    """Why a setting has no counterpart, or needs none."""

    reason: str


Outcome = Kept | Dropped
Rule = Callable[[Any, Values], Iterable[Outcome]]


@dataclass(frozen=True)
class Table:
    """How a tool's settings are carried over. ``defaults``: what counts there where a file doesn't say it."""

    rules: Mapping[str, Rule]
    stage: Callable[[Values, str | None], str | None]  # (settings, what the command says) -> kind
    method: Callable[[Values], str | None]
    defaults: Callable[[Values, str, str], Mapping[str, Any]]


@dataclass(frozen=True)
class Carried:
    """A setting that was carried over, with where it was."""

    kept: Kept
    origin: ForeignSetting

    def comment(self, tool: str) -> str:
        """``lora_rank (line 9)``, with the note on it."""
        place = f"line {self.origin.line}" if self.origin.line else f"{tool}'s default"
        note = f": {self.kept.note}" if self.kept.note else ""
        return f"{self.origin.key} ({place}){note}"


@dataclass(frozen=True)
class LeftOut:
    """A setting without a counterpart."""

    origin: ForeignSetting
    reason: str

    def __str__(self) -> str:
        # It is printed, and written into the spec.
        value = redacted(_shown(_without_secrets(self.origin.key, self.origin.value)))
        return f"line {self.origin.line}: {_shown(self.origin.key)}: {value}: {self.reason}"


@dataclass(frozen=True)
class CarryOver:
    """``stage`` and ``method`` are kinds of a spec; ``None`` where the tool's has none, which is among ``left_out``."""

    file: ForeignFile
    stage: str | None
    method: str | None
    carried: tuple[Carried, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def tool(self) -> str:
        return NAMES[self.file.tool]

    def of(self, section: str) -> dict[str, Carried]:
        """What was carried over into a section, by key."""
        return {each.kept.key: each for each in self.carried if each.kept.section == section}

    def without(self, section: str, key: str, reason: str) -> CarryOver:
        """The same, with a setting that turned out to have no place left out for a reason."""
        each = self.of(section).get(key)
        if each is None:
            return self
        left_out = (LeftOut(each.origin, reason),) if each.origin.line else ()
        return replace(
            self,
            carried=tuple(other for other in self.carried if other is not each),
            left_out=tuple(sorted((*self.left_out, *left_out), key=lambda one: one.origin.line)),
        )


def carry_over(file: ForeignFile, table: Table) -> CarryOver:
    """Carries all settings of a file over."""
    values = {key: value for key, value in file.values.items() if value is not None}
    stage, method = table.stage(values, file.stage), table.method(values)
    defaults = table.defaults(values, stage or "sft", method or "lora")
    given = [
        *file.settings,
        *(ForeignSetting(key, value, 0) for key, value in defaults.items() if key not in values),
    ]
    values = {**{setting.key: setting.value for setting in given}, **values}
    carried: dict[tuple[str, str], Carried] = {}
    left_out: list[LeftOut] = []
    for setting in given:
        for outcome in _outcomes(setting, table, values):
            if isinstance(outcome, Dropped):
                left_out.append(LeftOut(setting, outcome.reason))
            elif (reason := _misplaced(outcome, stage, method)) is None:
                carried[outcome.section, outcome.key] = Carried(outcome, setting)
            elif setting.line:
                left_out.append(LeftOut(setting, reason))
    return CarryOver(file, stage, method, tuple(carried.values()), tuple(left_out))


def _outcomes(setting: ForeignSetting, table: Table, values: Values) -> Iterator[Outcome]:
    if setting.value is None or setting.value == "":
        return
    if is_shell_value(setting.value):
        yield Dropped("a variable of the shell, whose value isn't in the file: give it in the spec")
    elif setting.key in table.rules:
        try:
            yield from list(table.rules[setting.key](setting.value, values))
        except (TypeError, ValueError, OverflowError):  # text for a number, a number for a list, infinity
            yield Dropped("its value is not one that this setting can have")
    elif setting.key in NEEDLESS_KEYS:
        yield Dropped(NEEDLESS_KEYS[setting.key])
    elif setting.key in FOREIGN_KEYS:
        yield Dropped(f"here it would be {FOREIGN_KEYS[setting.key]}")
    elif setting.value not in (False, [], {}):
        yield Dropped("nothing here does that")


def _misplaced(kept: Kept, stage: str | None, method: str | None) -> str | None:
    """Why the stage or the method has no such setting; ``None`` where it has."""
    for section, kind, part in (("stage", stage, "stages"), ("method", method, "methods")):
        known = ENTRY_CLASSES[part][kind].model_fields if kind is not None else {kept.key}
        if kept.section == section and kept.key not in known:
            return f"{kind} has no {kept.key}"
    return None


def _without_secrets(key: str, value: Any) -> Any:
    if SECRET_NAMES.search(key):
        return HIDDEN
    if isinstance(value, dict):
        return {name: _without_secrets(str(name), inner) for name, inner in value.items()}
    return [_without_secrets(key, inner) for inner in value] if isinstance(value, list) else value


def _shown(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


# Rules, made of what they do.


def same(section: str, key: str, note: str = "") -> Rule:
    """The same value under another name."""
    return lambda value, _: [Kept(section, key, value, note)]


def finite_number(value: Any) -> float:
    """A value as a number. Raises ``TypeError``, ``ValueError`` and ``OverflowError`` where it is none, or infinite."""
    read = float(value)
    if not math.isfinite(read):
        raise ValueError(f"{read} is not finite")
    return read


def number(section: str, key: str, note: str = "") -> Rule:
    """The same number; a text that is none has no counterpart."""

    def rule(value: Any, _: Values) -> Iterator[Outcome]:
        read = finite_number(value)
        yield Kept(
            section, key, int(read) if read.is_integer() and not isinstance(value, float) else read, note
        )

    return rule


def flag(section: str, key: str, value: Any = True, note: str = "") -> Rule:
    """What a switch that is on stands for; one that is off changes nothing."""
    return lambda given, _: [Kept(section, key, value, note)] if is_on(given) else []


def one_of(section: str, key: str, names: Mapping[str, Any], advice: str = "") -> Rule:
    """The value of the same meaning; another one has no counterpart. A meaning ``None`` is the default here."""

    def rule(value: Any, _: Values) -> Iterator[Outcome]:
        name = str(value).lower()
        if name not in names:
            known = ", ".join(dict.fromkeys(str(each) for each in names.values() if each is not None))
            yield Dropped(f"here there are {known}{f'; {advice}' if advice else ''}")
        elif names[name] is not None:
            yield Kept(section, key, names[name])

    return rule


def no_counterpart(reason: str) -> Rule:
    """A setting that changes something which a spec can't, unless it is off."""
    return lambda value, _: [] if value in (False, [], {}, "none", "false") else [Dropped(reason)]


def names(section: str, key: str, every: Sequence[str] = (), all_as: Any = None) -> Rule:
    """A list of names, of which some words mean all of them."""

    def rule(value: Any, _: Values) -> Iterator[Outcome]:
        listed = as_list(value)
        if any(name in every for name in listed):
            if all_as is not None:
                yield Kept(section, key, all_as)
        elif listed:
            yield Kept(section, key, listed)

    return rule


def is_on(value: Any) -> bool:
    """Whether a switch is on, in any of the ways that command lines write it."""
    return value is True or str(value).strip().lower() in ("true", "1", "yes", "on")


def as_list(value: Any) -> list[str]:
    """The names in a list, or in a text with commas."""
    if isinstance(value, list):
        return [name for item in value for name in as_list(item)]
    return [name.strip() for name in str(value).split(",") if name.strip()]
