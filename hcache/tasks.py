"""The name that ``background.tasks`` had before; it is that very module."""

import sys

from .background import tasks

sys.modules[__name__] = tasks
