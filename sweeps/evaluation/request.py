"""The options of ``paretune evaluate``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from trainables.evaluation.evaluate import Settings
from trainables.evaluation.evaluation_rows import Kind, Part
from trainables.evaluation.lm_eval import Benchmarks


@dataclass(frozen=True)
class EvaluationRequest:
    """The results to evaluate and the command's options, as given on the command line."""

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
        """Whether to evaluate on rows: unless only a text for forgetting or benchmarks are requested."""
        row_options = self.data or self.part or self.kind or self.rows
        return bool(row_options) or not (self.forgetting or self.benchmarks)
