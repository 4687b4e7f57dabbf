"""pytest fixtures. Installed with the package; no server is started before a test asks for one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from . import Server


@pytest.fixture(scope="session")
def durable_stream_server() -> Iterator[Server]:
    """A real server in this process, in memory, on a free port; one for the whole session, with fault injection."""
    from . import Server

    server = Server()
    with server:
        yield server


@pytest.fixture
def durable_stream_url(durable_stream_server: Server) -> Iterator[str]:
    """The URL of a stream that nobody else uses; not created yet. Faults set by the test are cleared after it."""
    yield durable_stream_server.stream_url(f"test-{uuid.uuid4()}")
    durable_stream_server.clear_faults()
