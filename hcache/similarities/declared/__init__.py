"""The similarities of this package, one a file."""
