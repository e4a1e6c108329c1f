"""The predicted size of a checkpoint: the weights that train, all of a model's where no adapter is saved, and the
optimizer's state.
"""

from __future__ import annotations

from sweeps.planning.cell import Cell
from trainables.memory.byte_widths import byte_widths
from trainables.memory.held import optimizer_bytes_per_weight


def checkpoint_bytes(cell: Cell) -> int | None:
    """The predicted size of the largest checkpoint of a cell's trials; ``None`` where memory isn't predicted."""
    if cell.predicted is None:
        return None
    memory = cell.predicted.largest
    method, parts = memory.config.method, memory.prediction
    assert method is not None
    train = memory.config.train
    width = byte_widths(train.precision, memory.config.model.dtype).trainable
    # The optimizer's state is there at every moment of a step, and says how many weights train; SGD has none.
    state = optimizer_bytes_per_weight(train.optimizer_settings, width)
    adapter = parts.optimizer / state * width if state else parts.gradients
    weights = round(adapter) if method.saves_adapter else parts.weights
    sharded = train.sharding == "fsdp"
    return (weights + parts.optimizer) * (memory.workers if sharded else 1)
