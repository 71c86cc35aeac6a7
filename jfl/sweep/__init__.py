"""Sweeps: one experiment over a grid of settings and over seeds, each in a process of its own."""
