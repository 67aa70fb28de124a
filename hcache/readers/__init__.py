"""Attribute readers, which turn pictures into values of named attributes.

Each kind of reader is one file here: a frozen :class:`~.reader.Description`, which also says how a
command and a form make one. :mod:`.registry` knows all of them, and the functions of other packages
(entry points ``hcache.readers``). :mod:`.saved` stores readers in a home, and :mod:`.reading` reads
a run with one into a label set.
"""

from .reader import Reader, check_pictures
from .registry import find_reader, reader_from_json

__all__ = ["Reader", "check_pictures", "find_reader", "reader_from_json"]
