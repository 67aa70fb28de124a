"""Attribute readers: from pictures to values of named attributes.

A reader is one file here: a frozen description with ``KIND``, ``to_json`` and ``open``.
:mod:`.registry` knows all of them, those of other packages too (entry points ``hcache.readers``).
:mod:`.saved` keeps readers in a home, and :mod:`.reading` reads a run with one into a label set.
"""

from .reader import Reader, check_pictures
from .registry import find_reader, reader_from_json

__all__ = ["Reader", "check_pictures", "find_reader", "reader_from_json"]
