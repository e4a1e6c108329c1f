"""Checkpoints of adapters of which PEFT's own files do not hold all that training goes on from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# Beside an adapter in a checkpoint: all that trains, and the method's own state.
TRAINED_FILE = "trained_weights.safetensors"


class KeepsTrainedWeights:
    """What stands before PEFT's class of a model among the bases of another: its checkpoints hold all that trains."""

    def training_state(self) -> dict[str, Tensor]:
        """What training goes on from beside the weights, by names that no weight has."""
        return {}

    def take_training_state(self, state: dict[str, Tensor]) -> None:
        """Takes what :meth:`training_state` of another process gave."""

    def save_pretrained(self, folder: Any, **options: Any) -> None:
        """With what training goes on from. TRL's copy of the adapter at its start is made anew, as it was."""
        from safetensors.torch import save_file

        model: Any = self
        save_adapter(model, folder, **{**options, "selected_adapters": [model.active_adapter]})
        weights = {name: w.detach() for name, w in model.named_parameters() if w.requires_grad}
        save_file(weights | self.training_state(), Path(folder) / TRAINED_FILE)

    def load_adapter(self, folder: Any, adapter_name: str, **options: Any) -> Any:
        from safetensors.torch import load_file

        model: Any = self
        trained = Path(folder) / TRAINED_FILE
        if not trained.is_file():
            return super().load_adapter(folder, adapter_name, **options)  # type: ignore[misc]
        held, names = load_file(trained), dict(model.named_parameters())
        self.take_training_state({name: value for name, value in held.items() if name not in names})
        return model.load_state_dict(
            {name: value for name, value in held.items() if name in names}, strict=False
        )


def save_adapter(model: Any, folder: Any, **options: Any) -> None:
    """Saves a model with :class:`KeepsTrainedWeights` as PEFT's own adapter, and nothing else."""
    super(KeepsTrainedWeights, model).save_pretrained(folder, **options)
