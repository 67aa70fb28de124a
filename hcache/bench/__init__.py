"""Benchmarks that measure on the machine they run on, and print what they measured."""
