"""Processes of our own to look at, and conditions to wait for."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator

LIMIT = 30.0
"""Seconds that nothing here takes, however busy the machine is."""


def eventually(condition: Callable[[], bool], what: str, limit: float = LIMIT) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.005)


def run(code: str, *args: str, options: tuple[str, ...] = (), **kwargs: object) -> subprocess.CompletedProcess[str]:
    """Runs Python code in a process of its own, to its end."""
    command = [sys.executable, *options, "-c", textwrap.dedent(code), *args]
    settings = {"capture_output": True, "text": True, "timeout": LIMIT} | kwargs
    return subprocess.run(command, **settings)  # type: ignore[call-overload]


def run_clean(code: str, *args: str, options: tuple[str, ...] = (), **kwargs: object) -> str:
    """The same for code that ends well and says nothing on standard error; gives what it printed."""
    done = run(code, *args, options=options, **kwargs)
    assert (done.returncode, done.stderr) == (0, ""), f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def started(command: list[str], **kwargs: object) -> Iterator[subprocess.Popen[str]]:
    """A process that goes on by the side; killed if it has not ended by itself."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **(pipes | kwargs)) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()
