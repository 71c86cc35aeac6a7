"""Trainable parts on a frozen backbone: one file per method of re-assembling projection heads."""
