"""Training: the loop, its checkpoints, its optimizers, and the search of settings on validation chips."""
