"""Verdicts as documents: the evidence of a cell, and everything in one file."""
