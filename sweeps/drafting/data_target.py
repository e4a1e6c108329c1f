"""Data that a command names without a spec: a file, a folder, a pattern, or the name of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.drafting.column_guess import guess_columns
from sweeps.planning.conventions import CURRENT
from sweeps.planning.inputs import InvalidPath, make_paths_absolute
from sweeps.spec import overrides, source
from sweeps.spec.problems import Problem, SpecError, format_value
from sweeps.spec.schema import ENTRY_CLASSES, validate_node
from sweeps.spec.source import Source
from sweeps.spec.spec import proposed_file, shipped_specs
from sweeps.spec.tree import Branch, build_node
from trainables.config import limits
from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.data import dataset_info
from trainables.data.errors import DataError
from trainables.data.files.data_files import data_suffix, first_names
from trainables.data.sources import exists
from trainables.models import locate
from trainables.stages.base import TrainingStage
from trainables.stages.rewards.stage import RewardedStage
from trainables.system.suggestions import did_you_mean
from trainables.trial.config import TrialConfig

SECTIONS = ("data", "model")  # that --set may change without a spec
SPEC_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class DataTarget:
    """The settings of data that is named without a spec, with absolute paths, and the model, if one is given."""

    name: str
    data: DataConfig
    model: ModelConfig | None
    guessed: Mapping[str, str] = field(default_factory=dict)  # part -> column, of a file without usual names
    share_note: str | None = None  # which rows are held out, where that was not said

    def notes(self) -> Iterator[str]:
        """What was not said, and what counts instead, in sentences."""
        yield from filter(None, (self.guess_note(), self.share_note))

    def guess_note(self) -> str | None:
        """What was guessed, and how to say otherwise; ``None`` where nothing was."""
        if not self.guessed:
            return None
        named = ", ".join(f"{column} as {part}" for part, column in self.guessed.items())
        first = next(iter(self.guessed))
        columns = format_value(dict(self.guessed))
        return (
            f"the columns have no usual names, so these were guessed: {named}. Otherwise: --set data.columns.{first}="
            f"NAME; in a spec it is data: {{columns: {columns}}}"
        )


def is_spec(name: str) -> bool:
    """Whether a name stands for a spec and not for data: a YAML file, a shipped spec, or any file that reads as one."""
    path = Path(name).expanduser()
    if path.suffix.lower() in SPEC_SUFFIXES:
        return True
    if not path.exists():
        return name in shipped_specs()
    if path.is_dir() or data_suffix(path) not in (None, ".json", ".txt"):
        return False
    return _reads_as_spec(path)


def _reads_as_spec(path: Path) -> bool:
    # Reading a large file as YAML takes long, and a spec has a limit.
    if path.stat().st_size > limits.SPEC_BYTES:
        return False
    try:
        return bool({"stages", "methods"} & source.read(path).tree.keys())
    except SpecError:
        return False


def data_target(
    name: str, model: str | None = None, template: str | None = None, sets: Sequence[str] = ()
) -> DataTarget:
    """The settings of the data that ``name`` stands for. Raises ``SpecError``, ``DataError`` and ``ModelError``."""
    given: dict[str, Any] = {"data": {"train": name}}
    if template is not None:
        given["data"]["template"] = template
    if model is not None:
        given["model"] = model_setting(model)
    written = overrides.apply(Source(Path(name), "", given, {}), sets)
    for key in written.tree:
        if key not in SECTIONS:
            what = f"without a spec, only settings of {' and '.join(SECTIONS)} count; give a SPEC for others"
            raise SpecError(written.problem((key,), what))
    return target_of(name, written)


def target_of(name: str, written: Source) -> DataTarget:
    """The settings of the sections data and model of a source, whose paths are relative to the working folder.

    Raises ``SpecError``, ``DataError`` and ``ModelError``.
    """
    try:
        make_paths_absolute(written.tree, Path.cwd())
    except InvalidPath as error:
        raise SpecError(written.problem(error.setting, str(error))) from error
    if (data := written.tree["data"]).get("group") is None:
        data.setdefault("split_by", CURRENT.split_by)
    config = _validated(written, DataConfig, "data")
    _refuse_missing(name, config)
    guessed = guess_columns(config)
    return DataTarget(
        name,
        config.model_copy(update={"columns": guessed}) if guessed else config,
        _validated(written, ModelConfig, "model") if "model" in written.tree else None,
        guessed,
    )


def _validated(written: Source, cls: type[Any], part: str) -> Any:
    node = build_node(written.tree[part], (part,))
    if not isinstance(node, Branch):
        raise SpecError(written.problem((part,), "a mapping is needed"))
    config, problems = validate_node(written, cls, node)
    if problems:
        raise SpecError(*problems)
    return config


def _refuse_missing(name: str, config: DataConfig) -> None:
    """Raises an error that says what a name probably means which stands for no data."""
    path = Path(name).expanduser()
    if path.is_dir() and (names := list(dataset_info.read_registry(path))):
        if not exists(name, config):
            what = f"its dataset_info.json names {len(names)} data sets: {first_names(names, 8)}"
            raise DataError(f"{name}: {what}. Look at one of them: {names[0]} --set data.folder={name}")
        return
    if not path.exists() and (proposed := proposed_file(path)):
        raise SpecError(Problem(name, "", f"there is no such file or data set. Did you mean {proposed}?"))


def stage_class(kind: str) -> type[TrainingStage]:
    """The stage of that kind. Raises ``SpecError`` that names the stages for an unknown one."""
    kinds = ENTRY_CLASSES["stages"]
    cls = kinds.get(kind)
    if cls is None or not issubclass(cls, TrainingStage):
        what = f"there is no stage {kind!r}; choose from {', '.join(kinds)}{did_you_mean(kind, kinds)}"
        raise SpecError(Problem("--stage", "", what))
    return cls


def needs_reward(kind: str) -> bool:
    """Whether the stage of that kind learns from rewards, which a spec has to give. Raises ``SpecError``."""
    return issubclass(stage_class(kind), RewardedStage)


def model_setting(model: str) -> dict[str, str]:
    """``model`` in a spec for what a command was given: a known name, a hub's id with or without ``hf:``, or a path.

    Raises ``ModelError`` for what is neither.

    >>> model_setting("Qwen/Qwen3-8B"), model_setting("smollm2-135m")
    ({'name': 'hf:Qwen/Qwen3-8B'}, {'name': 'smollm2-135m'})
    """
    path = Path(model).expanduser()
    if path.is_dir() or (path.suffix == ".gguf" and path.is_file()):
        return {"path": model}
    if model.count("/") == 1 and ":" not in model and not model.startswith((".", "~", "/")):
        return {"name": f"hf:{model}"}
    locate.find_source(model)
    return {"name": model}


def preview_config(target: DataTarget, stage: str) -> TrialConfig:
    """A trial of a stage with the target's data and model, for a preview of its tokens.

    The model is downloaded if it is missing. Raises ``ModelError``.
    """
    assert target.model is not None
    locate.model_folder(target.model, fetch=True)
    return TrialConfig.model_validate(
        {
            "cell": stage,
            "method_name": "full",
            "model": target.model,
            "data": target.data,
            "stage": {"kind": stage, **({"reward": "commands"} if needs_reward(stage) else {})},
            "method": {"kind": "full"},
            "train": {"steps": 1, "learning_rate": 1e-4},
        }
    )
