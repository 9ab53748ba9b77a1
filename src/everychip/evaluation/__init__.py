"""Evaluation: draws of chips over a test set, and what is asked of them."""
