"""`python -m jfl`."""

from jfl.cli import main

main()
