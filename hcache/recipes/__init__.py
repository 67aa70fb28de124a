"""Recipes: what an edit is told, as data, without torch."""
