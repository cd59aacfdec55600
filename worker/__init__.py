"""Runs one trial; knows no store, no HTTP and no optimizer. Importing it loads no torch."""
