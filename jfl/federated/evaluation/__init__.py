"""Metrics of every client's own model on its own data."""
