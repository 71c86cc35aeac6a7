"""What can be said of weights once they are read: statistics, clients, differences, adapters."""
