"""jfl trains many models at once as one tensor program."""

__version__ = "0.1.0"
