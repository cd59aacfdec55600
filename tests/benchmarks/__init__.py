"""What `make bench` and its relatives run."""
