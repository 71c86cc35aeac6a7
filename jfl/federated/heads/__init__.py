"""Heads re-assembled on a trained federation: the job that trains them, and where they lie."""
