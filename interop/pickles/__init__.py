"""Pickles and torch files read as data: nothing is imported or called, tensors stay put."""
