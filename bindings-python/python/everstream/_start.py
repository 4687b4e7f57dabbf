"""What the process is told of when the package is imported: forks, and the end."""

from __future__ import annotations

import atexit
import os

from . import _native


def _at_exit() -> None:
    import sys

    producer = sys.modules.get("everstream.producer")
    if producer is not None:
        producer.flush_all()
    _native.before_exit()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_native.after_fork_in_child)
