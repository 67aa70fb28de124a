"""The measures of this package, a file each; :mod:`~hcache.measures.registry` lists them."""
