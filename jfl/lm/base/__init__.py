"""Training of a network of language from nothing."""
