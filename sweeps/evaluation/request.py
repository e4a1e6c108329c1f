"""What `evaluate` was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from trainables.evaluation.evaluate import Settings
from trainables.evaluation.evaluation_rows import Kind, Part
from trainables.evaluation.lm_eval import Benchmarks


@dataclass(frozen=True)
class EvaluationRequest:
    """What was asked for, as on the command line."""

    results: tuple[str, ...]
    data: str | None = None
    part: Part | None = None
    kind: Kind | None = None
    rows: int | None = None
    seed: int = 0
    by: str | None = None
    forgetting: str | None = None
    benchmarks: Benchmarks | None = None
    settings: Settings = field(default_factory=Settings)
    template: str | None = None
    trust: tuple[str, ...] = ()
    output: Path | None = None
    force: bool = False

    @property
    def wants_rows(self) -> bool:
        """Whether rows are evaluated: unless only a text or benchmarks are asked for."""
        asked = self.data or self.part or self.kind or self.rows
        return bool(asked) or not (self.forgetting or self.benchmarks)
