"""What a curious server can read: an attack on one's own cut, and how much of the text it gets."""
