"""How models are trained: optimizers and precision."""
