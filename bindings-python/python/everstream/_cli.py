"""The commands `everstream` and `durable-stream`: the same Rust code as the binaries, in this process."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from . import _native


def main() -> NoReturn:
    """Runs the command line of this process and exits with its code."""
    # Python would only note a Ctrl-C, and look at it after the command.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    name = os.path.basename(sys.argv[0])
    if name in ("__main__.py", "-c"):
        name = "everstream"
    sys.exit(_native.run_command([name, *sys.argv[1:]]))
