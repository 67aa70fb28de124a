"""The former name of :mod:`hcache.extraction.run`, kept for scripts that use it."""

from __future__ import annotations

from .extraction.run import extract, load_model_of

__all__ = ["extract", "load_model_of"]
