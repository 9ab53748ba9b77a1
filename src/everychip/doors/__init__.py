"""Doors: training by any method inside frameworks that own the loop (Lightning, Hugging Face Trainer)."""
