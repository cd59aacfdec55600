"""Optimizers of others behind the same interface; the optional extra `peers` installs them."""
