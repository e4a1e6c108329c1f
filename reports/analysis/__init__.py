"""What the results say: cells compared, the Pareto front, how sure a difference is, and the answer."""
