"""Whether an export, and merging in it, cost anything that matters, in words."""

from __future__ import annotations

from collections.abc import Iterator

from trainables.export.exported import Exported
from trainables.export.merge_effect import ScoreChange
from trainables.export.verify import Check

LIKE_ROUNDING = 1.5  # times the mean difference that rounding alone makes: as much as that
# With a net change of fewer rows, McNemar's exact test is above 5 % whatever the other rows do: 2 / 2^5 = 6 %.
FEWEST_ROWS = 6
SHARES = ("exact_match", "pair_accuracy", "implicit_reward_accuracy", "accuracy")
LOWER_IS_BETTER = ("loss", "bits_per_byte", "masked_loss", "perplexity")
# How much worse a measure may be without that mattering: losses by a share of what they were, others by so much.
LOSS_SHARE, LIMITS = (
    0.02,
    {
        **dict.fromkeys(("auc", "roc_auc", "macro_f1"), 0.02),
        **dict.fromkeys(("chrf", "bleu"), 1.0),
        **dict.fromkeys(("rouge1", "rouge2", "rougeL"), 0.01),
    },
)


def verdict_sentences(exported: Exported) -> Iterator[str]:
    """A sentence for each comparison that was made."""
    if exported.check is not None:
        yield _of_outputs(exported.check)
    if exported.change is not None:
        yield _of_scores(exported.change)


def _of_outputs(check: Check) -> str:
    what = "Merging" if check.sum is not None else "Exporting"
    if check.files.excess <= 1:
        return f"{what} cost nothing: the outputs are the same within the error of 32-bit numbers."
    same = ""
    if check.files.same is not None and check.rounding.same is not None:
        same = (
            f"; the most likely token stayed the same at {check.files.same:.1%} of positions (rounding alone: "
            f"{check.rounding.same:.1%})"
        )
    if check.files.mean <= LIKE_ROUNDING * check.rounding.mean:
        return f"{what} cost nothing that matters: no more than rounding to {check.dtype} does{same}."
    times = check.files.mean / check.rounding.mean if check.rounding.mean else float("inf")
    return f"{what} cost {times:.1f} times as much as rounding to {check.dtype} alone does{same}."


def _of_scores(change: ScoreChange) -> str:
    found = {name: _matters(name, change) for name in change.before if name in change.after}
    worse = [name for name, matters in found.items() if matters]
    known = [name for name, matters in found.items() if matters is not None]
    if worse:
        return (
            f"Merging into the unquantized base cost something: {_words(worse, change)}. To keep what was trained, "
            "export the adapter alone (--adapter) and load it on the quantized base."
        )
    if not known:
        return "Whether merging into the unquantized base matters can't be said of these measures."
    return f"Merging into the unquantized base cost nothing that matters: {_words(known, change)}."


def _matters(name: str, change: ScoreChange) -> bool | None:
    """Whether a measure became worse by more than chance or its limit explains; ``None`` for one without a limit."""
    before, after = change.before[name], change.after[name]
    if name in SHARES:
        return (before - after) * change.rows > FEWEST_ROWS - 0.5
    if name in LOWER_IS_BETTER:
        # Written so that a NaN matters.
        return not after - before <= LOSS_SHARE * abs(before)
    if name in LIMITS:
        return not before - after <= LIMITS[name]
    return None


def _words(names: list[str], change: ScoreChange) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_shift(name, change)}" for name in names)


def _shift(name: str, change: ScoreChange) -> str:
    before, after = change.before[name], change.after[name]
    if name not in SHARES:
        return f"from {before:.4g} to {after:.4g}"
    rows = round(abs(after - before) * change.rows)
    return f"from {before:.1%} to {after:.1%} ({rows} of {change.rows} rows)"
