"""The measures of this package. Each has its own file, and :mod:`~hcache.measures.registry` lists
them.
"""
