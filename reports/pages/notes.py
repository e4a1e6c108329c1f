"""The notes on how to read each section of a report."""

_PARETO = (
    "The line is the Pareto front: the best quality within each amount of memory (the largest peak of loading, "
    "training and scoring; peaks within 2 % are equal). Each large point is the best trial of a cell, chosen by the "
    "validation rows, with the 95 % interval of its quality; it is filled where the cell is on the front in at least "
    "95 % of 1,000 resamples of the test rows. Cells at the same place stand side by side. Small points are all other "
    "trials. The figure shows the range of the cells; what lies far beyond it is named at its edge."
)
NOTES = {
    "pareto": f"Higher is better, and further left is less memory. {_PARETO}",
    "pareto-lower": f"Lower is better, and further left is less memory. {_PARETO}",
    "comparison": "Each row shows one cell: a method with all its trials. Its best trial was chosen by what was "
    "measured on the validation rows (the objective); the quality is measured on the test rows: of that trial, or "
    "where its settings were trained again with other seeds (finalists), the mean of those. In parentheses: the 95 % "
    "interval, over test rows and over the finalists' seeds. Peak memory and training time are those of the best "
    "trial.",
    "quality": "'Of the largest gain': what a cell gained over what it started from, as a share of what the best cell "
    "gained. 'Of resamples': in how many of 1,000 resamples of the test rows the cell is on the front.",
    "pairs": "Every two cells: better, worse, as good (the one-sided bound lies within the margin), or not settled. "
    "p is corrected for the number of pairs (Holm), and has to be below 4 %; after paretune settle below less: a run "
    "that is looked at again and again would else settle by chance. The interval is that of the one difference. "
    "Sign flips: how often a difference as large comes about where the two cells' scores are exchanged row by row at "
    "random. 'Settled by': the seeds or test rows that settle it at the next look with a probability of 80 %, if the "
    "true difference is the measured one, and the time for those that are still to be added.",
    "across": "These stages all learn which answers are good, so one measure compares them: pair accuracy, the share "
    "of held-out pairs of answers to one prompt of which the good one has the higher mean log-probability per token; "
    "or AUC, the same over any good and any bad answer, where a stage has no two answers to one prompt. AUC is "
    "blunter: prompts differ in how likely any answer to them is. The best trial of each cell is still the one with "
    "the best objective of its own stage.",
    "forgetting": "What training changed: to the right, how much better a cell is than the model that it started from "
    "on the rows that steer the search and judge the cells (the test half of them); upwards, how much worse it is on a "
    "further evaluation set, which steers nothing: by how much a loss rose (forgetting), or a share or score fell. "
    "Below the line, the set got better, too. Intervals are of 95 %, of the difference row by row where both were "
    "scored on the same rows (else of two independent samples), and over the finalists' seeds.",
    "curves": "One row of panels for each cell. The bold line is its best trial, thin lines are its other trials, grey "
    "ones the best trials of the other cells.",
    "settings": "Each point is a trial. Points along a slope mean that the setting mattered; a shapeless cloud means "
    "that it did not. Importance is the share of the objective's total variance over a cell's finished trials that a "
    "setting explains, where that is more than it explains of permuted objectives; the rest is not explained.",
    "rates": "Each panel shows one cell: a parabola through the trials that ran to the end, against the logarithm of "
    "the learning rate, between the lowest and the highest of these, and its optimum with a 95 % interval, which holds "
    "the best rate also where the objective falls up to four times as quickly on one side of it as on the other; "
    "'unsure' where the interval is nine tenths of the range or more. A panel that names a step shows all trials at "
    "the step where they were first compared, as too few ran to the end: the best rate at the end may be another, so "
    "its optimum has no interval. Where the best is at the highest or lowest rate that was tried or beyond, others may "
    "be better.",
    "expected": "What the best objective of so many random draws is expected to be: the mean over all sets of that "
    "many of a cell's draws. A cell whose best still improves with each draw would gain from more trials. A "
    "method's starting point is no draw, so a cell's best trial may be better than all of these.",
    "memory": "Each cell has three bars: the peak while loading, training and evaluating. The training peak is divided "
    "into what it consists of.",
    "data": "Training rows as the model sees them, after shortening to the cutoff. "
    "A preference pair counts as two rows; a long text counts as several, one for each piece.",
    "using": "Commands for the best trial of each cell: chat with it, export it, serve it behind an API. They are "
    "meant for the folder in which the run was started. paretune evaluate measures a result on other data.",
    "unfinished": "Running out of memory and stopping early are results too: all of them are here.",
    "trials": "Every trial, by cell, in the order in which they started: what steered the search was measured on the "
    "validation rows, the quality on the test rows. A finalist is a cell's best trial, trained again with another "
    "seed.",
    "repeat": "The command, the machine, the package versions and the spec behind these numbers.",
}
