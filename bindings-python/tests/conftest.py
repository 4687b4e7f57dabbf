"""What all tests share. The server and the URL of a fresh stream come from `everstream.testing.plugin`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from everstream.testing import Server
from faces import AsyncFace, Face, SyncFace
from scripted import Script, ScriptedServer
from support import QUICK

if "PYTEST_XDIST_WORKER" in os.environ:
    # The mode of the tests. The programs that they start are to run as users run them.
    os.environ.pop("PYTHONDEVMODE", None)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "official: needs the official server of npm, which runs in node")
    # A run in the background of a shell is told to ignore Ctrl-C, and would hand that down to the programs it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=["sync", "async"])
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    """The blocking face, then the one for asyncio."""
    face = SyncFace() if request.param == "sync" else AsyncFace()
    yield face
    face.close()


@pytest.fixture
def server(durable_stream_server: Server) -> Server:
    """The server behind `url`."""
    return durable_stream_server


@pytest.fixture
def url(durable_stream_url: str) -> str:
    """The URL of a stream that is not there yet."""
    return durable_stream_url


@pytest.fixture
def name(url: str) -> str:
    """A name of this test's own: of the subscription, and the folder of its streams."""
    return url.rpartition("/")[2]


@pytest.fixture
def root(server: Server) -> str:
    """The stream root of the server."""
    return server.stream_url("").rstrip("/")


@pytest.fixture
def subscriptions(face: Face, root: str) -> Any:
    """The subscriptions of the server."""
    return face.client(retry=QUICK).subscriptions(root)


@pytest.fixture
def path(url: str) -> str:
    """The path of `url`, for faults."""
    return urlsplit(url).path


@pytest.fixture
def proxy(server: Server) -> Iterator[Callable[..., ScriptedServer]]:
    """Makes a scripted server in front of the real one: `proxy()` counts, `proxy(script)` meddles."""
    running: list[ScriptedServer] = []

    def make(script: Script | None = None) -> ScriptedServer:
        running.append(ScriptedServer(script, server.url))
        return running[-1].__enter__()

    yield make
    for proxy in running:
        proxy.__exit__()
