"""Samples of a run that have bit-identical pictures.

They are copies and not additional samples. A probe that was fitted to one knows the other, and
intervals are too narrow. One pass over the pictures finds them by a digest of each, and the result
is stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import suppress
from typing import Any

from ..cache.reading import Run
from ..cache.records import load_record
from ..errors import CacheError
from .kinds import DUPLICATES
from .stored import Measuring, measured

SHOWN = 5
"""The number of groups of copies that a warning names."""


def duplicates_of(run: Run) -> Measuring:
    """Finds samples with the same picture.

    The result is ``{"same": [[sample, ...], ...]}``.
    """

    def compute() -> Generator[float, None, dict[str, Any]]:
        """Takes one pass over the pictures, one shard at a time."""
        known: dict[bytes, list[int]] = {}
        done = 0
        for samples, pictures in run.image_blocks(lambda start, stop: True):
            for sample, picture in zip(samples, pictures, strict=True):
                digest = hashlib.blake2b(picture.tobytes(), digest_size=16).digest()
                known.setdefault(digest, []).append(int(sample))
            done += len(samples)
            yield done / len(run)
        return {"same": [each for each in known.values() if len(each) > 1]}

    return (yield from measured(run, DUPLICATES, {}, compute))


def look_for_copies(run: Run) -> Generator[float, None, None]:
    """Looks once for samples that have the same picture.

    A picture that cannot be read is ignored here; what needs it reports it.
    """
    with suppress(CacheError):
        yield from duplicates_of(run)


def duplicates_in_words(run: Run) -> str:
    """Warns of samples with the same picture.

    The text is empty if none were found, or if nobody looked.
    """
    record = load_record(run, DUPLICATES, {})
    same = record.result["same"] if record else []
    if not same:
        return ""
    copies = sum(len(each) - 1 for each in same)
    named = ", ".join(" = ".join(map(str, each)) for each in same[:SHOWN])
    more = ", …" if len(same) > SHOWN else ""
    return (
        f"{copies} of {len(run)} samples have the same picture as another ({named}{more}). They are"
        " no further samples: intervals are too narrow, and probes know copies. Give copies one"
        " value of a label and use `python -m hcache probe --groups LABEL`, or extract without them"
    )
