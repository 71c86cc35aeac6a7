"""Data sets: one file each; `load(config)` returns a Dataset of arrays in host memory."""
