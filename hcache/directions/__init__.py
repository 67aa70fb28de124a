"""Directions in h-space. Each method has its own file."""
