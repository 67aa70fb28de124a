"""Sparse features of a site: each activation is a sum of a few directions of a dictionary."""
