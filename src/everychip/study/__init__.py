"""Recipes and what comes of them: one is an experiment, executed once into a folder; many are a study."""
