"""The former name of :mod:`hcache.images.pictures`, kept for scripts that use it."""

from __future__ import annotations

from .images.pictures import Picture, load_prepared, prepare_picture

__all__ = ["Picture", "load_prepared", "prepare_picture"]
