"""Evaluation: draws of chips over a test set, and the statements they support."""
