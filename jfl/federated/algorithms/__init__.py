"""Federated algorithms: one file each; a few pure functions over a state in two parts."""
