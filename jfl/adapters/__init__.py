"""What stands beside the frozen weights of a network and is trained in their place."""
