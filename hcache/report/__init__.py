"""Verdicts as documents: what stands behind a cell, and all of it in one file."""
