"""Measures over a run: they drive the model, read its pictures, and store the results of the
analysis.
"""
