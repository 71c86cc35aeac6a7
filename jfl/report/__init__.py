"""What people read: tables, pictures, pages; made from the files of runs only."""
