"""What people read: journal, tables, pictures; made from a run's files only."""
