"""A cache that is bounded by the bytes of its contents.

``lru_cache`` and Streamlit's ``cache_resource`` count entries of any size: 24 matrices may be 2 MB,
or 16 GB.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from .thread_locks import ThreadLock

T = TypeVar("T")

DEEPEST = 6
"""The largest depth of values inside a value. No cached value has arrays at a greater depth."""


def bytes_of(value: Any, depth: int = DEEPEST) -> int:
    """Returns the approximate bytes of a value in memory.

    It counts arrays, tensors and texts. It goes through mappings, sequences and objects, ``depth``
    levels down. A value with ``nbytes`` gives its own size. Another thread may add to a mapping
    meanwhile.
    """
    if isinstance(value, type) or depth < 0:
        return 0
    if (count := getattr(value, "nbytes", None)) is not None:
        return int(count)
    if isinstance(value, (bytes, str)):
        return len(value)
    if isinstance(value, Mapping):
        return sum(bytes_of(item, depth - 1) for item in tuple(value.values()))
    if isinstance(value, Sequence):
        return sum(bytes_of(item, depth - 1) for item in value)
    fields = getattr(value, "__struct_fields__", ())  # msgspec objects have no __dict__
    inside = (*(getattr(value, name) for name in fields), *getattr(value, "__dict__", {}).values())
    return sum(bytes_of(item, depth - 1) for item in inside)


_MISSING: Any = object()


class ByteCache:
    """Keeps the last used values, up to a total number of bytes.

    A larger value is not kept.

    Args:
        most_bytes: The largest total number of bytes.
        weigh: Returns the bytes of a value. It is called again later, because a value may grow.
        keep_last: Whether the last used value is kept at any size.
    """

    def __init__(
        self, most_bytes: int, weigh: Callable[[Any], int] = bytes_of, keep_last: bool = False
    ) -> None:
        self.most_bytes, self.weigh, self.keep_last = most_bytes, weigh, keep_last
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = ThreadLock()

    @property
    def bytes(self) -> int:
        """The bytes of the kept values."""
        with self._lock:
            return sum(map(self.weigh, self._kept.values()))

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Returns the value of a key, and makes it if necessary.

        An array is read-only, because it is shared.
        """
        found = self.find(key, _MISSING)
        return self.keep(key, make()) if found is _MISSING else found

    def find(self, key: Hashable, default: Any = None) -> Any:
        """Returns the value of a key.

        It is ``default`` if none is kept.
        """
        with self._lock:
            if key not in self._kept:
                return default
            self._kept.move_to_end(key)
            value = self._kept[key]
            self._make_room()  # kept values may have grown
            return value

    def keep(self, key: Hashable, value: T) -> T:
        """Keeps the value of a key, and returns it.

        An array becomes read-only, because it is shared.
        """
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
        with self._lock:
            if self.keep_last or self.weigh(value) <= self.most_bytes:
                self._kept[key] = value
                self._kept.move_to_end(key)
                self._make_room()
        return value

    def _make_room(self) -> None:
        total = sum(map(self.weigh, self._kept.values()))
        while total > self.most_bytes and len(self._kept) > self.keep_last:
            total -= self.weigh(self._kept.popitem(last=False)[1])
