"""Attribute readers, which turn pictures into values of named attributes.

Each reader is one file here: a frozen description with ``KIND``, ``to_json`` and ``open``.
:mod:`.registry` knows all of them, including those of other packages (entry points
``hcache.readers``). :mod:`.saved` stores readers in a home, and :mod:`.reading` reads a run with
one into a label set.
"""

from .reader import Reader, check_pictures
from .registry import find_reader, reader_from_json

__all__ = ["Reader", "check_pictures", "find_reader", "reader_from_json"]
