"""Peak memory by phase for the best trial of each cell, the training peak divided into its parts."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

from reports import units
from reports.analysis.group import Group
from reports.analysis.row import Row
from reports.plots.drawing import Drawing
from reports.plots.marks import Marks
from reports.plots.style import INK, MUTED, PAPER, Palette, figure
from reports.units import GIB
from trainables.results import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = {"weights": 1.0, "gradients": 0.72, "optimizer": 0.48, "activations and the rest": 0.26}
PHASES = {"load": "peak_load_bytes", "train": "peak_train_bytes", "eval": "peak_eval_bytes"}
PHASE_NAMES = {"load": "loading", "train": "training", "eval": "evaluation"}
LABEL_WIDTH = 20  # letters in a line of a cell's name
_HEIGHTS = {"load": 0.14, "train": 0.3, "eval": 0.14}
_OFFSETS = {"load": -0.27, "train": 0.0, "eval": 0.27}


def draw(group: Group, colours: Palette, name: str) -> Drawing | None:
    """Three bars for each cell, from top to bottom: load, train, eval; ``None`` if no memory was measured."""
    rows = [row for row in group.rows if row.best and any(_peaks(row.best).values())]
    if not rows:
        return None
    made = figure(height=0.95 + 0.95 * len(rows))
    axes = made.subplots()
    marks = Marks()
    for position, row in enumerate(rows):
        _bars(axes, position, row, colours[row.cell.method], marks)
    # In lines, as a long name would leave no room for the bars.
    axes.set_yticks(range(len(rows)), [fill(row.name, LABEL_WIDTH) for row in rows])
    axes.tick_params(axis="y", length=0)
    # Upside down, so that the first cell is at the top.
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.2)
    axes.set_xlim(left=0)
    axes.set_xlabel("peak memory (GiB)")
    made.legend(handles=_legend(rows), loc="outside upper left", ncols=3, handlelength=1.3, columnspacing=1.2)
    return Drawing(name, made, _alt(rows), marks.by_id)


def parts(record: Record) -> dict[str, int]:
    """The parts of the training peak, in bytes; their sum is the peak.

    Weights that are memory-mapped can count for more than they occupy, so each part is at most what remains.
    """
    remaining = record.peak_train_bytes or 0
    by_name: dict[str, int] = {}
    # In the order of PARTS, whose last one has no column of its own: it is what remains.
    tensors = (record.weight_bytes, record.gradient_bytes, record.optimizer_bytes)
    for name, count in zip(PARTS, tensors, strict=False):
        by_name[name] = min(count or 0, remaining)
        remaining -= by_name[name]
    return by_name | {"activations and the rest": remaining}


def _peaks(record: Record) -> dict[str, int | None]:
    return {phase: getattr(record, column) for phase, column in PHASES.items()}


def _bars(axes: Axes, position: int, row: Row, colour: str, marks: Marks) -> None:
    assert row.best is not None
    for phase, peak in _peaks(row.best).items():
        if peak is None:
            continue
        y, height = position + _OFFSETS[phase], _HEIGHTS[phase]
        if phase == "train":
            _stack(axes, y, height, row, colour, marks)
        else:
            (bar,) = axes.barh(y, peak / GIB, height=height, color=colour, alpha=0.45, linewidth=0)
            marks.add(bar, [row.cell], f"{row.name}\npeak in {PHASE_NAMES[phase]} {units.gib(peak)}")
        bold = "bold" if phase == "train" else "normal"
        # Beyond the mark of the prediction, which crosses the bar of training.
        end = max(peak, row.best.predicted_peak_bytes or 0) if phase == "train" else peak
        label = axes.annotate(
            f"{phase} {peak / GIB:.2f}", (end / GIB, y), xytext=(5, 0), textcoords="offset points",
            va="center", color=INK if phase == "train" else MUTED, fontsize=9, fontweight=bold,
        )  # fmt: skip
        marks.add(label, [row.cell])
    if row.best.predicted_peak_bytes is not None:
        x = row.best.predicted_peak_bytes / GIB
        (line,) = axes.plot([x, x], [position - 0.18, position + 0.18], color=INK, linewidth=1.6, zorder=5)
        predicted = units.gib(row.best.predicted_peak_bytes)
        marks.add(line, [row.cell], f"{row.name}\npredicted peak {predicted}")


def _stack(axes: Axes, y: float, height: float, row: Row, colour: str, marks: Marks) -> None:
    assert row.best is not None
    peak, left = units.gib(row.best.peak_train_bytes), 0.0
    for name, count in parts(row.best).items():
        width = count / GIB
        (bar,) = axes.barh(
            y,
            width,
            left=left,
            height=height,
            color=colour,
            alpha=PARTS[name],
            edgecolor=PAPER,
            linewidth=0.8,
        )
        text = f"{row.name}\n{name} {units.size(count)}\nof the peak in training {peak}"
        marks.add(bar, [row.cell], text)
        left += width


def _legend(rows: list[Row]) -> list[object]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[object] = [
        Patch(color=MUTED, alpha=alpha, linewidth=0, label=name) for name, alpha in PARTS.items()
    ]
    if any(row.best and row.best.predicted_peak_bytes is not None for row in rows):
        handles.append(
            Line2D(
                [], [], color=INK, linewidth=1.6, label="predicted", linestyle="", marker="|", markersize=10
            )
        )
    return handles


def _alt(rows: list[Row]) -> str:
    return f"Bar chart of peak memory by phase. {' '.join(_described(row) for row in rows)}"


def _described(row: Row) -> str:
    assert row.best is not None
    peaks = ", ".join(
        f"{phase} {units.gib(peak)}" for phase, peak in _peaks(row.best).items() if peak is not None
    )
    sizes = ", ".join(f"{name} {units.size(count)}" for name, count in parts(row.best).items() if count)
    training = f" (training: {sizes})" if row.best.peak_train_bytes else ""
    return f"{row.name}: {peaks}{training}."
