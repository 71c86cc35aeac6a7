"""The server: it holds the trunk, and never sees tokens or labels."""
