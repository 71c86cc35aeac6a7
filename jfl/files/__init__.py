"""Files that anybody may have made: read within limits, written whole, shown without harm."""
