"""The data and the model of one cell, and the settings that hold for the cell as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import ValidationError

from sweeps.planning.checks.evaluation_sets import planned_sets, set_warnings
from sweeps.planning.checks.quality import set_quality
from sweeps.planning.dependencies import MODEL_FROM, MODEL_START
from sweeps.planning.draft import Draft
from sweeps.planning.inputs import InputFinder, MissingInput
from sweeps.spec.messages.validation_messages import EXAMPLES
from sweeps.spec.problems import Problem, format_value, refusal
from sweeps.spec.schema import ENTRY_CLASSES, validate_node
from sweeps.spec.settings import ResourcesConfig, SearchConfig
from sweeps.spec.tree import Branch
from trainables import templates
from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.data.loading import Data, Quality
from trainables.data.overlaps import find_overlaps
from trainables.data.rows import Conversation, Text
from trainables.models.architecture.model_classes import is_encoder
from trainables.models.folder import Architecture
from trainables.stages.base import TrainingStage
from trainables.system.suggestions import message_of
from trainables.templates.settings import writes_date
from trainables.trial import starting_weights
from trainables.trial.config import TrialConfig

Config = TypeVar("Config", DataConfig, ModelConfig)
Settings = TypeVar("Settings", SearchConfig, ResourcesConfig)


@dataclass(frozen=True)
class CellInputs:
    """The data and the model that a cell names; ``None`` where they are missing or not valid yet."""

    data: Data | None
    architecture: Architecture | None
    problems: tuple[Problem, ...]


def find_inputs(draft: Draft, tree: dict[str, Any], finder: InputFinder) -> CellInputs:
    """Finds a cell's data and model, and puts the hashes of both into ``tree``, of which its configs are built."""
    start = draft.links.get(MODEL_START)
    # A trial of this sweep does not exist yet; one of an earlier run has a config.
    parent = starting_weights.read_trial(start.folder) if start is not None else None
    _inherit_base_model(tree, parent)
    _set_split(tree, finder)
    data, data_problems = _find_data(draft, tree, finder)
    architecture, model_problems = _find_model(draft, tree, finder, parent)
    template_problems = _template_problems(draft, tree, architecture)
    _set_date(tree, finder)
    _fill_stage(tree, data)
    quality_problems = set_quality(draft, tree, data, finder.conventions)
    config = _valid_part(DataConfig, tree.get("data"), "train")
    if data is not None and config is not None:
        # Both were chosen after the data was read.
        sets = tuple(
            replace(each, quality=config.planned_sets[each.name].quality)
            for each in data.sets
            if each.name in config.planned_sets
        )
        data = replace(data, quality=Quality.of(config), sets=sets or data.sets)
    problems = (
        *(*data_problems, *_split_problems(draft, tree, parent), *quality_problems),
        *(*template_problems, *model_problems),
    )
    return CellInputs(data, architecture, problems)


def cell_settings(draft: Draft, section: str, cls: type[Settings]) -> tuple[Settings | None, list[Problem]]:
    """The search settings or the resources of a cell, as the spec and its entries give them."""
    node = draft.parts.get(section) or Branch({}, (section,))
    if isinstance(node, Branch):
        # Keys with a problem of their own are left out, so that each mistake is reported once.
        broken = [path[1] for path in draft.broken if path[0] == section and len(path) > 1]
        return validate_node(draft.source, cls, node.without(*broken))
    if (section,) in draft.broken:
        return None, []
    what = refusal(
        f"got {format_value(node.plain())}", "a mapping", f". Write {section}: {EXAMPLES[section]}"
    )
    return None, [draft.problem((section,), what)]


def _find_data(draft: Draft, tree: dict[str, Any], finder: InputFinder) -> tuple[Data | None, list[Problem]]:
    config = _valid_part(DataConfig, tree.get("data"), "train")
    if config is None:
        return None, []
    # `_valid_part` may have kept the essential keys alone: then the tree has keys that the config never got.
    is_partial = (
        any(path[0] == "data" for path in draft.broken) or not tree["data"].keys() <= config.model_fields_set
    )
    # With broken settings the split is unknown: only whether the data exists can be checked.
    if is_partial and finder.has_data(config):
        return None, []
    data = finder.data(config, _row_type(tree))
    if isinstance(data, MissingInput):
        return None, [draft.problem(("data", *data.setting), data.what)]
    # With the hash in the tree, trial ids follow the contents of the data and no longer its names and paths.
    tree["data"]["sha256"] = data.sha256
    tree["data"] |= planned_sets(data)
    return data, [
        *(
            draft.problem(("data", "eval" if what in data.held_out_warnings else "train"), what, error=False)
            for what in data_warnings(data)
        ),
        *(
            draft.problem(("data", "eval", each.name), what, error=False)
            for each in data.sets
            for what in set_warnings(data, each)
        ),
    ]


def data_warnings(data: Data) -> tuple[str, ...]:
    """What is wrong with the rows: those that were left out or changed, and test rows that are trained on."""
    overlaps = find_overlaps(data.train, data.test)
    trained_on = overlaps.warning() if overlaps is not None else None
    return (*data.warnings, *([trained_on] if trained_on else []))


def _set_split(tree: dict[str, Any], finder: InputFinder) -> None:
    """Puts what keeps rows together into the tree, so that a run begun by an earlier version keeps its split."""
    data = tree.get("data")
    if isinstance(data, dict) and "split_by" not in data and data.get("group") is None:
        data["split_by"] = finder.conventions.split_by


def _split_problems(draft: Draft, tree: dict[str, Any], parent: TrialConfig | None) -> list[Problem]:
    """A warning if the trial of an earlier run that a cell continues from split the same data otherwise."""
    config = _valid_part(DataConfig, tree.get("data"), "train")
    if parent is None or config is None or parent.data.label != config.label:
        return []
    now, then = ((data.group, data.split_by or "prompt") for data in (config, parent.data))
    if now == then:
        return []
    setting, value = ("group", then[0]) if then[0] is not None else ("split_by", then[1])
    what = (
        "it was trained on the same data with another split, so that it may have seen rows that are test rows here; "
        f"data: {{{setting}: {value}}} splits as its run did"
    )
    return [draft.problem(MODEL_FROM, what, error=False)]


def _template_problems(
    draft: Draft, tree: dict[str, Any], architecture: Architecture | None
) -> list[Problem]:
    """A problem if there is no chat template to render conversations with, which encoders read without."""
    if architecture is not None and is_encoder(architecture.config):
        return []
    # Without a named template the model's own renders the rows; rows of plain text need none.
    named = tree["data"].get("template") if isinstance(tree.get("data"), dict) else None
    try:
        if isinstance(named, str):
            templates.source(named)
        elif (
            named is None and architecture and not architecture.chat_template and _row_type(tree) is not Text
        ):
            raise templates.TemplateError(templates.NO_TEMPLATE)
    except templates.TemplateError as error:
        return [draft.problem(("data", "template"), message_of(error))]
    return []


def _set_date(tree: dict[str, Any], finder: InputFinder) -> None:
    """Puts the run's date into the tree if the chat template writes one, so that tokens stay the same every day."""
    data, config = tree.get("data"), _valid_part(ModelConfig, tree.get("model"), "name", "path")
    if not isinstance(data, dict) or data.get("date") is not None or finder.date is None or config is None:
        return
    try:
        named = data.get("template")
        written = (
            writes_date(templates.source(named)) if isinstance(named, str) else finder.writes_date(config)
        )
    except templates.TemplateError:  # which `_template_problems` reports
        return
    if written:
        data["date"] = finder.date


def _row_type(tree: Mapping[str, Any]) -> type:
    """The type of rows that the tree's stage needs. An invalid stage is reported elsewhere."""
    cls = _stage_class(tree)
    return Conversation if cls is None else cls.row_type


def _stage_class(tree: Mapping[str, Any]) -> type[TrainingStage] | None:
    stage = tree.get("stage")
    kind = stage.get("kind") if isinstance(stage, dict) else None
    cls = ENTRY_CLASSES["stages"].get(str(kind))
    return cls if cls is not None and issubclass(cls, TrainingStage) else None


def _fill_stage(tree: dict[str, Any], data: Data | None) -> None:
    """Puts what a stage takes from the rows into the tree. An invalid stage is reported elsewhere."""
    if data is None or (cls := _stage_class(tree)) is None:
        return
    try:
        stage = cls.model_validate(tree["stage"])
    except ValidationError:
        return
    tree["stage"] |= stage.filled_by(data)


def _find_model(
    draft: Draft, tree: dict[str, Any], finder: InputFinder, parent: TrialConfig | None
) -> tuple[Architecture | None, list[Problem]]:
    config = _valid_part(ModelConfig, tree.get("model"), "name", "path")
    if config is None:
        return None, []
    model = finder.model(config)
    if isinstance(model, MissingInput):
        return None, [draft.problem(("model", *model.setting), model.what, error=not model.fetched_later)]
    tree["model"]["fingerprint"] = model.fingerprint
    if parent is None or parent.model.fingerprint in (None, model.fingerprint):
        return model.architecture, []
    what = (
        f"it was trained on another base model, {parent.model.label}; leave model.name and model.path out "
        "to use that"
    )
    return model.architecture, [draft.problem(MODEL_FROM, what)]


def _inherit_base_model(tree: dict[str, Any], parent: TrialConfig | None) -> None:
    """Takes the base model from the parent trial when the spec names none."""
    model = tree.get("model")
    if parent is not None and isinstance(model, dict) and not {"name", "path"} & model.keys():
        model |= parent.model.model_dump(mode="json", include={"name", "path"}, exclude_none=True)


def _valid_part(cls: type[Config], tree: Any, *essential: str) -> Config | None:
    """``tree`` as ``cls``; if it is invalid, only its ``essential`` keys, which name the data or the model.

    Invalid settings are reported when the cell's configs are built.
    """
    # A section that is no mapping raises TypeError with either set of keys, and ends as None.
    for keys in (tree, essential):
        try:
            return cls.model_validate({key: tree[key] for key in keys if key in tree})
        except (ValidationError, TypeError):
            continue
    return None
