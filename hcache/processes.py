"""The name that ``background.processes`` had before; it is that very module."""

import sys

from .background import processes

sys.modules[__name__] = processes
