"""Similarities of two pictures, by the measures that papers in the field use."""
