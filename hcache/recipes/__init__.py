"""Recipes: descriptions of edits as data, without torch."""
