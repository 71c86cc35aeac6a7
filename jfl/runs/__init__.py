"""Runs of any job: folder, lock, journal, checkpoints, and what is seen of them from outside."""
