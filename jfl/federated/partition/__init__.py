"""Partitions: who owns which samples; one file per rule."""
