"""A model that can be used: a base model, or what a trial trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.config.train import TrainConfig
from trainables.methods.own_code import OwnMethodError
from trainables.methods.own_method import TRUST
from trainables.models import locate, resize_vocabulary
from trainables.models.adapter_config import FILE_NAME, read_adapter_config
from trainables.models.folder import TOKENIZERS, ModelError
from trainables.results import Record, read_record
from trainables.stages import SFT
from trainables.storage.damaged_files import reading
from trainables.trial import starting_weights
from trainables.trial.config import TrialConfig
from trainables.trial.staged_inputs import StagedInputs


@dataclass(frozen=True)
class Result:
    """A model by the ``name`` that the user gave it; ``config`` says how it is loaded and prompted.

    ``trained_folder`` holds the weights or the adapter that a trial saved; it is ``None`` for a base model, which the
    config's ``model`` names. ``run`` is the run folder of the trial, ``record`` the trial's record.
    """

    name: str
    config: TrialConfig
    trained_folder: Path | None = None
    run: Path | None = None
    record: Record | None = None

    @property
    def is_adapter(self) -> bool:
        return self.trained_folder is not None and (self.trained_folder / FILE_NAME).is_file()

    @property
    def generates_text(self) -> bool:
        """Whether it is a language model; others predict masked tokens, or give a text a reward, or labels."""
        return self.config.stage.task == "CAUSAL_LM"

    @property
    def predicts_masked(self) -> bool:
        """Whether it is an encoder that predicts masked tokens."""
        return self.config.stage.task == "MASKED_LM"

    @property
    def predicts_tokens(self) -> bool:
        """Whether it predicts tokens, the next or masked ones."""
        return self.generates_text or self.predicts_masked

    @property
    def classifies(self) -> bool:
        """Whether it is a classifier, which gives a text labels."""
        return self.config.stage.gives == "labels"

    def require_text_generation(self) -> Result:
        """Returns the result itself. Raises ``ModelError`` for a reward model, a classifier and an encoder."""
        if self.classifies:
            raise ModelError(
                f"{self.name} is a classifier: it gives texts labels and can't generate any; paretune serve answers "
                "with its labels (/v1/classify), paretune evaluate measures them"
            )
        if self.predicts_masked:
            raise ModelError(
                f"{self.name} predicts masked tokens and can't generate text; paretune evaluate measures it, a "
                "classification stage can continue from it"
            )
        if not self.generates_text:
            raise ModelError(f"{self.name} is a reward model: it scores texts and can't generate any")
        return self

    def base_folder(self) -> Path:
        """The folder of the weights that the trial started from: the base model's, or those that another trial trained.

        Raises ``ModelError`` that says how to get a base model which is not on this machine.
        """
        try:
            model = self.config.model
            return (
                locate.model_folder(model)
                if self.run is None
                else starting_weights.starting_folder(model, self.run)
            )
        except ModelError as error:
            raise ModelError(
                f"{self.name}: the model that it was trained from is missing. {error}"
            ) from error

    def tokenizer_folder(self) -> Path:
        """The folder of the tokenizer: the trial's, which has the template used in training, else the base model's."""
        if self.trained_folder is not None and any(
            (self.trained_folder / name).is_file() for name in TOKENIZERS
        ):
            return self.trained_folder
        return self.base_folder()

    def folder(self) -> Path:
        """The folder of the weights; for an adapter, of the weights below it."""
        if self.trained_folder is None or self.is_adapter:
            return self.base_folder()
        return resize_vocabulary.with_all_embeddings(self.trained_folder, self.config.model.unsafe)


def trial_result(folder: Path, trust: Sequence[str] = (), name: str | None = None) -> Result:
    """The result of a trial, by its folder, the ``model`` folder in it or one of its checkpoints.

    Of the unsafe actions that its config allows, only those that ``trust`` names are kept: the folder may come from
    somebody else. Raises ``ModelError`` for a folder without a model.
    """
    trained = starting_weights.find_trained_model(folder).folder
    assert trained is not None
    config = starting_weights.read_trial(trained)
    if config is None:
        return _external_result(trained, trust, name or folder.name)
    model = starting_weights.with_moved_start(_trusted(config.model, trust), trained)
    config = config.model_copy(update={"model": model})
    run = trained.parent.parent.parent  # RUN/trials/TRIAL/model
    if TRUST in trust:
        config = with_trusted_method(config, run)
    return Result(name or config.cell, config, trained, run, read_record(trained.parent))


def untrained_result(path: Path, trust: Sequence[str] = ()) -> Result:
    """The untrained model that a base trial scored, by the trial's ``config.json``; other trials start from it."""
    with reading(path):
        config = TrialConfig.model_validate_json(path.read_text(encoding="utf-8"))
    model = starting_weights.with_moved_start(_trusted(config.model, trust), path)
    config = config.model_copy(update={"model": model})
    return Result(config.cell, config, None, path.parent.parent.parent, read_record(path.parent))


def base_model_result(model: ModelConfig, name: str | None = None, template: str | None = None) -> Result:
    """A base model without any training. ``template``: the chat template to use if the model has none."""
    return Result(name or model.label, _untrained_config(model, template))


def _external_result(folder: Path, trust: Sequence[str], name: str) -> Result:
    """A model or an adapter that no trial made; the config of an adapter names its base model."""
    unsafe: Any = {"unsafe": model_trust(trust)}
    if not (folder / FILE_NAME).is_file():
        return base_model_result(ModelConfig(path=folder, **unsafe), name)
    base = read_adapter_config(folder).get("base_model_name_or_path")
    if not base or not isinstance(base, str):
        raise ModelError(f"{folder}: its adapter_config.json doesn't name its base model")
    # PEFT writes the base model's folder or its id on the hub.
    if locate.is_folder(base):
        model = ModelConfig(path=Path(base).expanduser(), **unsafe)
    else:
        model = ModelConfig(name=base if base in locate.NAMED_MODELS else f"hf:{base}", **unsafe)
    return Result(name, _untrained_config(model, None), folder)


def _untrained_config(model: ModelConfig, template: str | None) -> TrialConfig:
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


def with_trusted_method(config: TrialConfig, run: Path) -> TrialConfig:
    """The config of a trial of ``run`` with the class of its method, where that is one's own: runs its code.

    For a run whose code somebody trusts. Raises ``ModelError`` where it can't be run.
    """
    with _running_code(config):
        method = StagedInputs.read(run).local_config(config).with_own_method().method
    return config if method is None else config.model_copy(update={"method": method})


def load_trusted_rewards(config: TrialConfig, run: Path) -> None:
    """Runs the code of the rewards of a trial of ``run``, for commands that score by them. As
    :func:`with_trusted_method`.
    """
    with _running_code(config):
        StagedInputs.read(run).local_config(config).load_rewards()


@contextmanager
def _running_code(config: TrialConfig) -> Iterator[None]:
    try:
        yield
    except OwnMethodError as error:
        raise ModelError(f"{config.cell}: {error}") from error


def model_trust(trust: Sequence[str]) -> tuple[str, ...]:
    """What of ``trust`` is about models; the rest is about the code of methods."""
    return tuple(what for what in trust if what != TRUST)


def _trusted(model: ModelConfig, trust: Sequence[str]) -> ModelConfig:
    return model.model_copy(update={"unsafe": tuple(what for what in model.unsafe if what in trust)})
