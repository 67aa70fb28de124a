"""A name that scripts imported from here before; it lives in :mod:`.spec_options` now."""

from __future__ import annotations

from .spec_options import read_prompts as read_prompts
