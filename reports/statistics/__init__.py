"""Estimates, intervals and tests of qualities that were measured on test rows, by one training or several."""
