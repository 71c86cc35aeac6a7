"""Files of texts, row by row: one file of this folder for each kind.

Each defines `ENDINGS` and `rows(path, start)`: dictionaries from row number `start` on, in memory a
few at a time. The row is counted from 0; people are told line or row numbers from 1.
"""
