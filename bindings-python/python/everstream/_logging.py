"""What the core has to tell goes to `logging`, below the logger `everstream`, in programs that use `logging`."""

from __future__ import annotations

import sys

from . import _native

_OFF = 255
_quiet = False


def follow_logging() -> None:
    """Logs from here on what the logger `everstream` wants to hear. Called when a handle, client or server is made;
    silent while nobody has imported `logging`."""
    global _quiet
    logging = sys.modules.get("logging")
    if logging is None:
        return
    logger = logging.getLogger("everstream")
    if not _quiet:
        # Without any handler, warnings would be printed.
        logger.addHandler(logging.NullHandler())
        _quiet = True
    _native.set_log_level(min(logger.getEffectiveLevel(), _OFF))
