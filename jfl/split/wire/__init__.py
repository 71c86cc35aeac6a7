"""What travels between client and server: messages, tensors, and large ones in pieces."""
