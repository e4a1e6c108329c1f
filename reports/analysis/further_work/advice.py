"""What ``paretune settle`` asks of reports: where to spend time on a run, and how its comparisons stand."""

from reports.analysis.further_work.outcomes import outcomes, settled_pairs
from reports.analysis.further_work.spending import spend
from reports.units import duration

__all__ = ["duration", "outcomes", "settled_pairs", "spend"]
