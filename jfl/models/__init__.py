"""Networks: one file each; written in Flax nnx, used as plain functions."""
