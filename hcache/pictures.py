"""The name that :mod:`hcache.images.pictures` had before; scripts that use it go on working."""

from __future__ import annotations

from .images.pictures import Picture, load_prepared, prepare_picture

__all__ = ["Picture", "load_prepared", "prepare_picture"]
