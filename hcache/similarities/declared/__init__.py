"""The similarities of this package, one in each file."""
