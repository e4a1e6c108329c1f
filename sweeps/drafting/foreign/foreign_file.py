"""Reads a training configuration of LLaMA-Factory or ms-swift: YAML, JSON, or a command line in a text file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sweeps.drafting.foreign.shell_words import (
    ASSIGNMENT,
    END,
    ENDS,
    assigned_variables,
    filled,
    option_value,
    shell_words,
)
from sweeps.spec import source
from sweeps.spec.problems import Problem, SpecError
from trainables.config import limits
from trainables.data.files.data_files import data_suffix

Tool = Literal["llama-factory", "ms-swift"]
NAMES: Mapping[Tool, str] = {"llama-factory": "LLaMA-Factory", "ms-swift": "ms-swift"}
# Keys by which a mapping is recognized. One that both have says nothing.
LLAMA_FACTORY_KEYS = frozenset(
    {
        "model_name_or_path",
        "finetuning_type",
        "cutoff_len",
        "dataset_dir",
        "do_train",
        "lora_target",
        "pref_loss",
    }
)
SWIFT_KEYS = frozenset(
    {
        "tuner_type",
        "train_type",
        "sft_type",
        "rlhf_type",
        "torch_dtype",
        "split_dataset_ratio",
        "target_modules",
    }
    | {"model_id_or_path", "val_dataset", "max_length", "use_hf", "quant_bits", "tuner_backend"}
)
COMMANDS: Mapping[str, Tool] = {
    "llamafactory-cli": "llama-factory",
    "lmf": "llama-factory",
    "swift": "ms-swift",
}
SCRIPTS: Mapping[str, Tool] = {
    "src/train.py": "llama-factory", "train_bash.py": "llama-factory", "sft.py": "ms-swift", "rlhf.py": "ms-swift",
}  # fmt: skip
SWIFT_STAGES = ("sft", "pt", "rlhf")
MAX_WORDS = 2_000  # of a command line
# A text in JSON, and the colon behind it if it is a key.
_JSON_TEXT = re.compile(r'"(?:[^"\\]|\\.)*+"(?=(\s*:)?)', re.DOTALL)


@dataclass(frozen=True)
class ForeignSetting:
    """A setting of another tool; ``line`` is where it stands in its file, 0 for one that the tool has by default."""

    key: str
    value: Any
    line: int


@dataclass(frozen=True)
class ForeignFile:
    """``stage``: what the command line says beside its settings, as ``swift sft`` does."""

    file: Path
    tool: Tool
    settings: tuple[ForeignSetting, ...]
    stage: str | None = None
    variables: Mapping[str, str] = field(
        default_factory=dict
    )  # of the environment, set in front of the command

    @property
    def values(self) -> dict[str, Any]:
        return {setting.key: setting.value for setting in self.settings}


def read_foreign(file: Path) -> ForeignFile | None:
    """The configuration in a file; ``None`` for one that holds none of the two tools.

    Raises ``SpecError`` for a command that names a file which can't be read.
    """
    if data_suffix(file) not in (None, ".json", ".txt") or (text := _text_of(file)) is None:
        return None
    found = _from_mapping(file, text)
    return found if found is not None else _from_command(file, text)


def _text_of(file: Path) -> str | None:
    """The text in a file; ``None`` for one that is none, or is larger than any configuration."""
    try:
        if not file.is_file() or file.stat().st_size > limits.SPEC_BYTES:
            return None
        return file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError):  # no name of a file, or no text
        return None


def _from_mapping(file: Path, text: str) -> ForeignFile | None:
    settings = _json_settings(text) if file.suffix == ".json" else _yaml_settings(file, text)
    if settings is None:
        return None
    keys = {setting.key for setting in settings}
    if {"stages", "methods"} & keys:
        return None  # a spec
    ours, theirs = len(keys & LLAMA_FACTORY_KEYS), len(keys & SWIFT_KEYS)
    if ours == theirs == 0:
        if not {"model", "dataset"} <= keys:
            return None
        theirs = 1
    return ForeignFile(file, "llama-factory" if ours >= theirs else "ms-swift", tuple(settings))


def _yaml_settings(file: Path, text: str) -> list[ForeignSetting] | None:
    try:
        read = source.parse(file, text)
    except SpecError:
        return None
    return [ForeignSetting(key, value, read.line_of((key,))) for key, value in read.tree.items()]


def _json_settings(text: str) -> list[ForeignSetting] | None:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(tree, dict):
        return None
    lines: dict[str, int] = {}
    line, before = 1, 0
    for match in _JSON_TEXT.finditer(text):
        line, before = line + text.count("\n", before, match.start()), match.start()
        if match[1]:
            lines.setdefault(match[0], line)
    return [
        ForeignSetting(key, value, lines.get(json.dumps(key, ensure_ascii=False), 1))
        for key, value in tree.items()
    ]


def _from_command(file: Path, text: str) -> ForeignFile | None:
    words = list(shell_words(text))
    variables = assigned_variables(words)
    for place, (word, _) in enumerate(words):
        name = word.rpartition("/")[2]
        tool = COMMANDS.get(name) or next((tool for end, tool in SCRIPTS.items() if word.endswith(end)), None)
        arguments = words[place + 1 : place + 1 + MAX_WORDS]
        if tool is None or not arguments:
            continue
        stage = None
        if tool == "ms-swift":
            stage = arguments[0][0] if arguments[0][0] in SWIFT_STAGES else name.removesuffix(".py")
            if stage not in SWIFT_STAGES:
                continue
        if (found := _command_settings(file, tool, arguments, variables)) is not None:
            return ForeignFile(file, tool, tuple(found), stage, variables)
    return None


def _command_settings(
    file: Path, tool: Tool, arguments: list[tuple[str, int]], variables: Mapping[str, str]
) -> list[ForeignSetting] | None:
    """The settings of a command's arguments, of which a configuration file may be one; ``None`` without any."""
    settings: dict[str, ForeignSetting] = {}
    key, values, line = "", list[str](), 0

    def keep() -> None:
        if key:
            settings[key] = ForeignSetting(key, option_value(values, variables), line)

    for (word, number), (following, _) in zip(arguments, [*arguments[1:], (END, 0)], strict=True):
        # A command that was pasted without its backslashes goes on with its next option.
        if word in ENDS and not (word == END and following.startswith("--")):
            break
        if word == END:
            continue
        if word.startswith("--"):
            keep()
            name, equals, value = word[2:].partition("=")
            key, values, line = name.replace("-", "_"), [value] if equals else [], number
        elif key:
            values.append(word)
        elif word.endswith((".yaml", ".yml", ".json")):
            named = _named_file(file, filled(word, variables))
            settings |= {setting.key: setting for setting in named.settings}
        elif match := ASSIGNMENT.fullmatch(word):  # LLaMA-Factory takes key=value behind a file
            settings[match[1]] = ForeignSetting(match[1], option_value([match[2]], variables), number)
    keep()
    if (config := settings.pop("config", None)) is not None and tool == "ms-swift":
        named = _named_file(file, str(config.value))
        settings = {setting.key: setting for setting in named.settings} | settings
    return list(settings.values()) or None


def _named_file(file: Path, name: str) -> ForeignFile:
    candidates = [Path(name), *(folder / name for folder in file.resolve().parents[:4])]
    read = ((path, _text_of(path)) for path in candidates)
    path, text = next(((path, text) for path, text in read if text is not None), (file, None))
    found = _from_mapping(path, text) if text is not None else None
    if found is None:
        raise SpecError(
            Problem(str(file), "", f"its command names {name}, which isn't here or no configuration")
        )
    return found
