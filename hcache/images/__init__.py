"""Reads pictures, converts them to sRGB and a size, and writes PNG files."""
