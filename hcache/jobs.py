"""The name that ``background.extractions`` had before; it is that very module."""

import sys

from .background import extractions

sys.modules[__name__] = extractions
