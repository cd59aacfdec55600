"""What the trials and the log of a study tell beside its front: pure functions, each file one question."""
