"""Knows studies: the search space, the optimizer, the store, the cluster. Importing it loads no torch."""
