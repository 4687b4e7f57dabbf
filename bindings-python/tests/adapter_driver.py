"""The runner's side of the conformance protocol: drives an adapter process over JSON lines."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path
from typing import Any

HOME = Path(__file__).parents[2] / "tests" / "conformance" / "adapters" / "python"
FACES = ("sync", "async")
COMMAND_TIMEOUT = 30.0
"""The official runner gives up on a command after this."""


def executable(face: str) -> Path:
    return HOME / f"everstream-python-{face}"


class Adapter:
    """`with Adapter("sync") as adapter`; at the end it is to exit with 0, having said nothing on stderr."""

    def __init__(self, face: str) -> None:
        self.face = face
        self._stderr = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            # A resource that is left open is a defect of the library or the adapter.
            [sys.executable, "-W", "always::ResourceWarning", str(executable(face))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
        )
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def send(self, type: str, **fields: Any) -> None:
        """Sends a command without waiting for its answer."""
        self.send_line(json.dumps({"type": type, **fields}).encode())

    def send_line(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()

    def line(self) -> bytes:
        """The next answer as it is written."""
        return self._lines.get(timeout=COMMAND_TIMEOUT)

    def answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.line())
        assert None not in answer.values(), answer
        return answer

    def result(self, type: str, **fields: Any) -> dict[str, Any]:
        self.send(type, **fields)
        return self.answer()

    def ok(self, type: str, **fields: Any) -> dict[str, Any]:
        """The answer to a command that is to succeed."""
        result = self.result(type, **fields)
        assert result["success"] is True and result["type"] == type, result
        return result

    def refused(self, code: str, type: str, **fields: Any) -> dict[str, Any]:
        """The answer to a command that is to fail with an error code."""
        result = self.result(type, **fields)
        assert (result["type"], result["success"], result["commandType"]) == ("error", False, type), result
        assert result["errorCode"] == code, result
        return result

    def data(self, path: str, **fields: Any) -> str:
        """Everything in a stream."""
        return "".join(chunk["data"] for chunk in self.ok("read", path=path, **fields)["chunks"])

    def exit_code(self) -> int:
        return self._process.wait(timeout=5)

    def __enter__(self) -> Adapter:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *args: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        self._stderr.seek(0)
        said = self._stderr.read().decode()
        self._stderr.close()
        if exc_type is None:
            assert (code, said) == (0, "")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)


def server_append(url: str, data: str, producer: tuple[str, int, int] | None = None) -> int:
    """Appends text to a stream past the adapter, as the runner does; the status."""
    headers = {"content-type": "text/plain"}
    if producer is not None:
        names = ("producer-id", "producer-epoch", "producer-seq")
        headers |= dict(zip(names, map(str, producer), strict=True))
    request = urllib.request.Request(url, data.encode(), headers, method="POST")
    with urllib.request.urlopen(request) as response:
        return int(response.status)


def server_close(url: str) -> None:
    """Closes a stream past the adapter."""
    request = urllib.request.Request(url, b"", {"stream-closed": "true"}, method="POST")
    urllib.request.urlopen(request).close()
