"""Measures over a run: what drives the model, reads what comes out, and stores what the analysis
makes of it.
"""
