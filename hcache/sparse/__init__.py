"""Sparse features of a site: a dictionary of directions, few of which make up an activation."""
