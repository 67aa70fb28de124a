"""The name that :mod:`hcache.extraction.run` had before; scripts that use it go on working."""

from __future__ import annotations

from .extraction.run import extract, load_model_of

__all__ = ["extract", "load_model_of"]
