"""How fast jfl is on this machine, side by side with a lean PyTorch version of the same work."""
