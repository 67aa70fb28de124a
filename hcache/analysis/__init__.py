"""Measures as functions that take arrays and return frozen results. They use no torch and no
files.
"""
