"""A model that can be used: a base model, or what a trial made of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.config.train import TrainConfig
from trainables.models import locate
from trainables.models.folder import TOKENIZERS, ModelError, read_json
from trainables.results import Record, read_record
from trainables.stages import SFT
from trainables.trial import starting_weights
from trainables.trial.config import TrialConfig


@dataclass(frozen=True)
class Result:
    """``config`` says how the model is loaded and how it is spoken to.

    ``left`` has the weights or the adapter that a trial left; without it the result is the base model, as the config's
    ``model`` names it. ``run`` is the folder of the run it is of, ``record`` its trial's.
    """

    name: str
    config: TrialConfig
    trained_folder: Path | None = None
    run: Path | None = None
    record: Record | None = None

    @property
    def is_adapter(self) -> bool:
        return self.trained_folder is not None and (self.trained_folder / "adapter_config.json").is_file()

    @property
    def generates_text(self) -> bool:
        """Whether it predicts tokens; a reward model gives a text a number."""
        return self.config.stage.task == "CAUSAL_LM"

    def require_text_generation(self) -> Result:
        """Itself. Raises ``ModelError`` for a reward model."""
        if not self.generates_text:
            raise ModelError(f"{self.name} is a reward model: it gives texts a number, and says nothing")
        return self

    def base_folder(self) -> Path:
        """The folder of the weights that the trial started from: the base's, or what other trials made of it.

        Raises ``ModelError`` that says how to get a base that isn't here.
        """
        try:
            model = self.config.model
            return locate.model_folder(model) if self.run is None else starting_weights.weights(model, self.run)
        except ModelError as error:
            raise ModelError(f"{self.name}: the model that it is made of is missing. {error}") from error

    def tokenizer_folder(self) -> Path:
        """Where the tokenizer is that it is spoken to with: the trial's own has the template it was trained with."""
        if self.trained_folder is not None and any((self.trained_folder / name).is_file() for name in TOKENIZERS):
            return self.trained_folder
        return self.base_folder()

    def folder(self) -> Path:
        """Where its weights are; of an adapter, those below it."""
        return self.base_folder() if self.trained_folder is None or self.is_adapter else self.trained_folder


def trial_result(folder: Path, trust: Sequence[str] = (), name: str | None = None) -> Result:
    """What a trial left, by its ``model`` folder or one of its checkpoints.

    Of what its config says is unsafe only what ``trust`` names counts: the folder may be somebody else's. Raises
    ``ModelError`` where there is no model.
    """
    left = starting_weights.of(folder).folder
    assert left is not None
    config = starting_weights.trial(left)
    if config is None:
        return _of_no_trial(left, trust, name or folder.name)
    model = starting_weights.moved_along(_trusted(config.model, trust), left)
    config = config.model_copy(update={"model": model})
    run = left.parent.parent.parent
    return Result(name or config.cell, config, left, run, read_record(left.parent))


def untrained_result(path: Path, trust: Sequence[str] = ()) -> Result:
    """What a trial that trains nothing scored, by its ``config.json``: what the others of its run started from."""
    config = TrialConfig.model_validate_json(path.read_text(encoding="utf-8"))
    model = starting_weights.moved_along(_trusted(config.model, trust), path)
    config = config.model_copy(update={"model": model})
    return Result(config.cell, config, None, path.parent.parent.parent, read_record(path.parent))


def base_model_result(model: ModelConfig, name: str | None = None, template: str | None = None) -> Result:
    """A base model as it comes."""
    return Result(name or model.label, _plain(model, template))


def _of_no_trial(folder: Path, trust: Sequence[str], name: str) -> Result:
    """A model or an adapter that somebody else made; an adapter says itself what it is for."""
    unsafe = {"unsafe": tuple(trust)}
    if not (folder / "adapter_config.json").is_file():
        return base_model_result(ModelConfig(path=folder, **unsafe), name)
    base = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
    if not base:
        raise ModelError(f"{folder}: its adapter_config.json doesn't say what model it is for")
    here = Path(base).expanduser()
    named = {"path": here} if here.is_dir() else {"name": base if base in locate.NAMED_MODELS else f"hf:{base}"}
    return Result(name, _plain(ModelConfig(**named, **unsafe), None), folder)


def _plain(model: ModelConfig, template: str | None) -> TrialConfig:
    return TrialConfig(
        cell="base",
        method_name="base",
        role="base",
        model=model,
        data=DataConfig(train="none", template=template),
        stage=SFT(),
        method=None,
        train=TrainConfig(steps=1, learning_rate=1e-4),
    )


def _trusted(model: ModelConfig, trust: Sequence[str]) -> ModelConfig:
    return model.model_copy(update={"unsafe": tuple(what for what in model.unsafe if what in trust)})
