"""Edits: pure functions from Features to Features, and the pictures they make. Each kind has its
own file.
"""
