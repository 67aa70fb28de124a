"""A reader that is a user's own function: ``package.module:function``.

It has no form: a page does not import what somebody types. A package names its function by an entry
point instead.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import UsageError
from .forms import Asked
from .reader import Description, Reader, digest_of

if TYPE_CHECKING:
    from ..cache.reading import Run


@dataclass(frozen=True, kw_only=True)
class Function(Description):
    """A function that reads pictures, by its import path.

    It goes from pictures (n, height, width, 3) uint8 to ``{attribute: values (n,)}``. A ``version``
    attribute of the function or ``__version__`` of its package is part of the digest, together with
    the function's source. Change one of them when the values change. An ``embed`` attribute of the
    function, from pictures to embeddings (n, d), serves as its image encoder.
    """

    KIND: ClassVar[str] = "function"
    TITLE: ClassVar[str] = "Function: a function of a package, from pictures to readings"
    TAKES: ClassVar[str] = "package.module:function"
    target: str

    def __post_init__(self) -> None:
        module, colon, name = str(self.target).partition(":")
        if not (colon and module.strip() and name.strip()):
            raise UsageError(f"a function reader is package.module:function, got {self.target!r}")

    @classmethod
    def made(cls, run: Run, asked: Asked) -> Function:
        """Makes a reader of a function that can be imported."""
        return cls(target=asked.source)

    @classmethod
    def proposed(cls, source: str) -> str:
        """Proposes the function's own name."""
        return super().proposed(source.rpartition(":")[2])

    @property
    def of(self) -> str:
        """The function, by its import path."""
        return self.target

    def to_json(self) -> dict[str, Any]:
        """Returns plain data, as JSON has it."""
        return {"kind": self.KIND, "target": self.target}

    def open(self, name: str, device: str = "auto") -> Reader:
        """Imports the function.

        Raises:
            UsageError: it cannot be imported, or is not a function.
        """
        function = _find(self.target)
        package = importlib.import_module(self.target.partition(":")[0].partition(".")[0])
        version = str(getattr(function, "version", "") or getattr(package, "__version__", ""))
        digest = digest_of(self.to_json(), version, _source_of(function))
        return Reader(
            name=name,
            version=version,
            digest=digest,
            function=function,
            embed=getattr(function, "embed", None),
            encoder=digest,
        )


def _find(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # noqa: BLE001 - a module can raise anything when it is imported
        raise UsageError(
            f"the reader {target} cannot be imported ({type(error).__name__}: {error}); expected "
            "package.module:function of a package that is installed here"
        ) from error
    if not callable(found):
        raise UsageError(f"the reader {target} is {type(found).__name__}; expected a function")
    return found


def _source_of(function: Callable[..., Any]) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # a built-in or a callable object
        return ""
