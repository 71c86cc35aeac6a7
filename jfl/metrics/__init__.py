"""Metrics as sums that merge, and results computed from the sums."""
