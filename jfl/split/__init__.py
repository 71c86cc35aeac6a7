"""Split learning: a network cut in three, whose ends stay with who has the texts."""
