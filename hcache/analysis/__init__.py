"""Measures: arrays in, frozen results out. No torch, no files."""
