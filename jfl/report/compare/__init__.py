"""Results of many runs: which belong together, their means, and tables of them."""
