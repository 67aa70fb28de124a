"""Edits: pure functions from Features to Features, and the pictures they make. One kind a file."""
