"""What Weights & Biases gets: the values of its runs, artifacts, a report for each sweep, a view of the project."""
