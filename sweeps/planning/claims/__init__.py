"""Which of a spec's claims a plan's run can answer, and what it lacks for the others."""
