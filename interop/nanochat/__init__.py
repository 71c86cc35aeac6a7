"""Checkpoints of nanochat and its forks: read as data, and made runs of jfl."""
