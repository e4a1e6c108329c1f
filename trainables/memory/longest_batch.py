"""Training steps on the batch that takes the most memory: the longest row, as often as the batch has rows."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.memory.figures import predicted_peak
from trainables.memory.predicted_model import PredictedModel
from trainables.models import locate
from trainables.models.folder import read_architecture
from trainables.stages.forward_pass import RowLength
from trainables.tokenization import batching
from trainables.training.compiled_layers import layers_for
from trainables.training.optimizers.build import use_optimizer
from trainables.training.trainer_setup import training_arguments
from trainables.training.worker_group import worker_count

if TYPE_CHECKING:
    from trainables.memory.figures import TensorCounter
    from trainables.training.phases import Phases
    from trainables.training.policy import Policy
    from trainables.trial.config import TrialConfig

STEPS = 2  # the first fills the optimizer's state, the second shows the peak with it in place


def longest_rows(config: TrialConfig, policy: Policy, rows: Sequence[Any]) -> tuple[list[Any], RowLength]:
    """The rows that make the longest row of a batch, and its length: one or, with packing, several that fill it."""
    if config.train.packing is not True:
        row, length = config.stage.longest_row(policy.tokenizer, rows, config.data.cutoff)
        # Blocks of a stream are full, whatever is in it.
        return [row], RowLength(config.data.cutoff) if config.train.packing else length
    tokens = config.stage.tokens(policy.tokenizer, rows, config.data.cutoff)
    chosen = batching.fill_longest_first(tokens.lengths, config.data.cutoff)
    length = RowLength(int(tokens.lengths[chosen].sum()), sum(tokens.learned(int(place)) for place in chosen))
    return [rows[int(tokens.rows[place])] for place in chosen], length


def predict_peak(config: TrialConfig, policy: Policy, rows: Sequence[Any]) -> int | None:
    """The peak in bytes of training on the longest of the ``rows``, predicted and not measured; ``None`` where it can't
    be.
    """
    worst = config.model_copy(update={"stage": config.stage.worst_case()})
    return predict_peak_of(worst, policy, longest_rows(worst, policy, rows)[1])


def predict_peak_of(worst: TrialConfig, policy: Policy, length: RowLength) -> int | None:
    """The same for a longest row of this length, and a config with the settings of its stage's worst case."""
    model = PredictedModel.of_files(read_architecture(locate.model_folder(worst.model)))
    return predicted_peak(worst, model, policy, length)


def train_longest(
    config: TrialConfig,
    policy: Policy,
    longest: list[Any],
    counter: TensorCounter,
    phases: Phases,
    steps: int = STEPS,
) -> None:
    """Trains ``steps`` steps on the ``longest`` rows, with the trainer, the optimizer and the batch of the config.

    Of weights that train in turn, those do that take the most memory. Nothing is logged or saved. Of several workers
    each takes its share of the batch, so all have to call this.
    """
    train = config.train.model_copy(update={"steps": steps, "epochs": None})
    # `longest` may be several rows that make one pack: as many packs as the steps draw.
    rows = longest * (train.update_rows * steps)
    # transformers makes the folder that a trainer would save to.
    with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
        options = training_arguments(train, steps, Path(folder), worker_count(), policy.device)
        options |= {"save_strategy": "no"}
        trainer = config.stage.trainer(policy, rows, train, config.data.cutoff, options)
        use_optimizer(trainer, policy, train, heaviest=True)
        _scale_gradients_by_one(trainer)
        trainer.add_callback(counter)
        phases.track(trainer)
        # `auto` compiles nothing for so few steps.
        with layers_for(trainer, policy, train, steps, config.compile_obstacle):
            trainer.train()


def _scale_gradients_by_one(trainer: Any) -> None:
    """Has loss scaling (fp16) begin at 1.

    At its usual 65,536 the first steps overflow, and an optimizer whose steps are skipped has no state yet.
    """
    scaler = trainer.accelerator.scaler
    if scaler is not None and (state := scaler.state_dict()):  # empty where it is disabled
        scaler.load_state_dict({**state, "scale": 1.0})
