"""Directions in h-space: one method a file."""
