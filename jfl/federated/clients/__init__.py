"""What one client does, and how many clients run at once."""
