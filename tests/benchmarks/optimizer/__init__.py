"""Optimizers side by side on problems whose best front is known, on a simulated clock."""
