"""Loads models and cuts their U-Nets in two."""
