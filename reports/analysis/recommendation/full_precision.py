"""What full fine-tuning was measured in, whose memory the others are compared with."""

from __future__ import annotations

from reports import units
from reports.analysis.configs import leaves, optimizer_name
from reports.analysis.group import Group
from reports.text import joined, text

# What weights and gradients of full fine-tuning are held in, by train.precision.
_HELD_IN = {"bf16": 32, "fp16": 32, "fp32": 32, "pure_bf16": 16}  # bits


def precision_of_full(group: Group) -> str | None:
    """What full fine-tuning was measured in, as half the precision has half of its memory."""
    named: dict[tuple[int, str, str | None], list[str]] = {}
    for row in group.rows:
        settings = dict(leaves(row.best.config)) if row.best is not None and row.peak is not None else {}
        held_in = _HELD_IN.get(settings.get("train.precision", ""))
        if settings.get("method.kind") == "full" and held_in is not None:
            details = held_in, settings["train.precision"], optimizer_name(settings)
            named.setdefault(details, []).append(row.name)
    sentences = [
        text(
            "The memory of {cells} was measured with weights and gradients in {bits} bits (precision {precision}, "
            "optimizer {optimizer}).",
            cells=units.join(names),
            bits=bits,
            precision=precision,
            optimizer=optimizer,
        )
        for (bits, precision, optimizer), names in named.items()
    ]
    return joined(" ", sentences) or None
