"""Text files as people's programs save them: UTF-8 with or without a byte order mark, UTF-16 with
one.

What is neither is refused. Bytes of a Windows code page do not say which of a dozen pages they are
of, and a guess would change letters without a word.
"""

from __future__ import annotations

import codecs
from pathlib import Path

from .errors import UsageError

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""The mark at a file's beginning -> its encoding; that of UTF-32 begins as one of UTF-16 does,
and goes before.
"""

HOW = "save it as UTF-8 (Notepad: Save as, encoding UTF-8; Excel: CSV UTF-8)"


def read_text(path: Path, what: str) -> str:
    """A file's text, without its byte order mark.

    Args:
        path: The file.
        what: For messages: ``the prompts in a.txt``.

    Raises:
        UsageError: it cannot be read, or is in no encoding that it would tell.
    """
    try:
        data = path.expanduser().read_bytes()
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"{what} cannot be read: {error}") from error
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(
            f"{what} cannot be read: expected UTF-8, or UTF-16 with a byte order mark, got other"
            f" bytes in line {line} (a Windows code page?); {HOW}"
        ) from error
    if "\0" in text:
        raise UsageError(
            f"{what} cannot be read: it holds zero bytes (UTF-16 without a byte order mark?); {HOW}"
        )
    return text
