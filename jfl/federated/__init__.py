"""Federated learning: many clients, each with a model of its own or one for all, in rounds."""
