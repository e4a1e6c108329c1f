"""A histogram of the lengths of the training rows, in tokens."""

from __future__ import annotations

from reports import units
from reports.analysis.data_preview import DataPreview
from reports.plots.drawing import Drawing
from reports.plots.style import INK, MUTED, PAPER, figure

# The cutoff is drawn if it is at most this many times the longest row; a larger one would squeeze the bars.
NEAR = 1.25


def draw(preview: DataPreview, name: str) -> Drawing | None:
    """A bar for each range of lengths, and the cutoff if it is near; ``None`` without any row."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    bins = preview.histogram
    if not bins:
        return None
    made = figure(height=1.9)
    axes = made.subplots()
    lows, highs, counts = zip(*bins, strict=True)
    # Both ends belong to a bin of whole numbers, so its bar reaches from low - 0.5 to high + 0.5.
    widths = [high - low + 1 for low, high in zip(lows, highs, strict=True)]
    bars = axes.bar(
        [low - 0.5 for low in lows],
        counts,
        width=widths,
        align="edge",
        color=MUTED,
        alpha=0.6,
        edgecolor=PAPER,
        linewidth=0.8,
    )
    axes.bar_label(bars, [units.number(count) for count in counts], padding=2, fontsize=9, color=INK)
    axes.grid(visible=False)  # every bar is labelled with its count
    axes.margins(y=0.15)
    axes.set_xlabel("length of a training row (tokens)")
    axes.set_ylabel("rows")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: units.number(value)))
    near = preview.cutoff <= highs[-1] * NEAR
    if near:
        axes.axvline(preview.cutoff + 0.5, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label="cutoff")
        made.legend(loc="outside upper right")
    return Drawing(name, made, _alt(preview, near))


def _alt(preview: DataPreview, near: bool) -> str:
    bars = ", ".join(
        f"{_range(low, high)} tokens {units.number(count)}" for low, high, count in preview.histogram
    )
    cutoff = f" The cutoff, {units.number(preview.cutoff)} tokens, is marked." if near else ""
    return f"Histogram of the training rows' lengths: {bars}.{cutoff}"


def _range(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low} to {high}"
