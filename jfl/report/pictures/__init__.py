"""Pictures of runs, all in one style."""
