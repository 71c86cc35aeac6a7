"""What files of weights hold: their headers, statistics, clients, differences, adapters."""
