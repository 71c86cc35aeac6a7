"""The client: it holds texts, both ends of the network, and what trains in them."""
