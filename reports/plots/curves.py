"""Learning curves: the objective on the validation rows and the training loss, by step."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from reports import units
from reports.analysis.group import Group, Row
from reports.analysis.quality_names import objective_scale
from reports.plots.style import Drawing, Palette, figure, method_handles, objective_axis, objective_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from trainables.results import Run

Curves = dict[str, list[tuple[int, float]]]  # by trial id


def draw(group: Group, colours: Palette, name: str) -> Drawing | None:
    """One panel for each curve that any trial has; the best of each cell is bold."""
    panels = [("objective", objective_label(group)), ("train_loss", "training loss")]
    drawn = [(curve, label, read(group, curve)) for curve, label in panels]
    drawn = [panel for panel in drawn if any(panel[2].values())]
    if not drawn:
        return None
    made = figure(height=0.6 + 2.2 * len(drawn))
    axes_by_row = made.subplots(len(drawn), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (curve, label, curves) in zip(axes_by_row, drawn, strict=True):
        _panel(axes, group, curves, colours)
        axes.set_ylabel(label)
        if curve == "objective":
            objective_axis(axes, group)
    axes_by_row[-1].set_xlabel("step")
    methods = list(dict.fromkeys(row.cell.method for row in group.rows))
    made.legend(
        handles=method_handles(methods, colours), loc="outside upper left", ncols=min(4, len(methods))
    )
    return Drawing(name, made, _alt(group, drawn))


def read(group: Group, curve: str) -> dict[str, Curves]:
    """The finite points (step, value) of one curve, by the cell's label, then by trial id; objectives as shown."""
    sign = objective_scale(group).sign if curve == "objective" else 1
    # By identity: a run holds lists and dicts, so it can't be hashed. Its cells share one object.
    by_run: dict[int, Curves] = {}
    for row in group.rows:
        run = row.cell.run
        if id(run) not in by_run:
            by_run[id(run)] = _of_run(run, curve, sign)
    return {
        row.cell.label: {
            record.trial_id: points
            for record in row.cell.records
            if (points := by_run[id(row.cell.run)].get(record.trial_id))
        }
        for row in group.rows
    }


def _of_run(run: Run, curve: str, sign: int) -> Curves:
    import pyarrow.compute as pc

    curves: Curves = {}
    for point in run.curves.filter(pc.equal(run.curves["name"], curve)).to_pylist():
        if point["value"] is not None and isfinite(point["value"]):
            curves.setdefault(point["trial_id"], []).append((point["step"], sign * point["value"]))
    return {trial: sorted(points) for trial, points in curves.items()}


def _panel(axes: Axes, group: Group, curves: dict[str, Curves], colours: Palette) -> None:
    longest = max(len(points) for trials in curves.values() for points in trials.values())
    for row in group.rows:
        colour = colours[row.cell.method]
        for trial, points in curves[row.cell.label].items():
            best = row.best is not None and trial == row.best.trial_id
            style: dict[str, Any] = (
                {"linewidth": 2.2, "zorder": 4} if best else {"linewidth": 0.9, "alpha": 0.45, "zorder": 2}
            )
            steps, values = zip(*points, strict=True)
            # Short curves have markers: a line through a single point would be invisible.
            mark: dict[str, Any] = {"marker": "o", "markersize": 4 if best else 3} if longest < 12 else {}
            axes.plot(steps, values, color=colour, **style, **mark)


def _alt(group: Group, drawn: list[tuple[str, str, dict[str, Curves]]]) -> str:
    return " ".join(
        f"Line chart of {' '.join(label.split())} by step. {_ends(group, curves)}"
        for _, label, curves in drawn
    )


def _ends(group: Group, curves: dict[str, Curves]) -> str:
    ends = [_end(row, curves[row.cell.label].get(row.best.trial_id)) for row in group.rows if row.best]
    return f"Best of each cell, first and last value: {'; '.join(end for end in ends if end) or 'none'}."


def _end(row: Row, points: list[tuple[int, float]] | None) -> str | None:
    if not points:
        return None
    (first, start), (last, end) = points[0], points[-1]
    return f"{row.name} {units.number(start)} at step {first} to {units.number(end)} at step {last}"
