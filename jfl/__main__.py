"""`python -m jfl`."""

import sys
from pathlib import Path

# No file in the folder one is in may stand in for a module, unless jfl itself is run from there.
if not sys.flags.safe_path and Path.cwd() not in Path(__file__).resolve().parents:
    sys.path[:] = [place for place in sys.path if place and Path(place) != Path.cwd()]

from jfl.cli import main

main()
