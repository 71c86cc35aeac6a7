"""What people see of federated runs: clients, who owns what, who helps whom."""
