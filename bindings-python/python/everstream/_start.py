"""What the process is told of when the package is imported: forks, and the end."""

from __future__ import annotations

import atexit
import os

from . import _native
from .producer import disown_all, flush_all


def _at_exit() -> None:
    try:
        flush_all()
    finally:
        _native.before_exit()


def _after_fork_in_child() -> None:
    _native.after_fork_in_child()
    disown_all()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
