"""Extraction: from a model and a spec to a run on disk."""
