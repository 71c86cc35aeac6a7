"""Where data come from, before they are a data set: downloads, archives, pickles, the cache."""
