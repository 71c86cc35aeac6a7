"""What comes from PyTorch and goes back to it; the only place that knows torch."""
