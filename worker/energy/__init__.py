"""Energy of a window of work: where it is read, how well, and what it means in carbon."""
