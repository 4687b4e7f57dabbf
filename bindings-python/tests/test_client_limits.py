"""Time limits of a client hold for all its streams, where these have none of their own."""

from __future__ import annotations

import pytest

from everstream import AsyncClient, Client, RequestTimeoutError, Retry, ServerError, Timeout, stream
from everstream.testing import Server

from support import ONCE

FOR_EVER = 1_000_000


def test_total_of_a_client_ends_the_retries_of_its_handles(durable_stream_server: Server, path: str) -> None:
    durable_stream_server.inject_error(path, 500, count=FOR_EVER)
    client = Client(timeout=Timeout(total=0.2), retry=Retry(max_retries=FOR_EVER))
    with pytest.raises(ServerError):
        client.handle(durable_stream_server.url + path).head()


def test_total_of_a_stream_wins_over_that_of_its_client(durable_stream_server: Server, path: str) -> None:
    durable_stream_server.inject_error(path, 500, count=FOR_EVER)
    client = Client(timeout=Timeout(total=FOR_EVER), retry=Retry(max_retries=FOR_EVER))
    with pytest.raises(ServerError):
        client.handle(durable_stream_server.url + path, timeout=Timeout(total=0.2)).head()


async def test_total_of_an_async_client_ends_the_retries_of_its_reads(durable_stream_server: Server, path: str) -> None:
    durable_stream_server.inject_error(path, 500, count=FOR_EVER)
    client = AsyncClient(timeout=Timeout(total=0.2), retry=Retry(max_retries=FOR_EVER))
    with pytest.raises(ServerError):
        await client.stream(durable_stream_server.url + path)


def test_read_limit_of_a_client_holds_for_its_reads(durable_stream_server: Server, path: str) -> None:
    durable_stream_server.inject_fault(path, delay_ms=60_000, count=FOR_EVER)
    client = Client(timeout=Timeout(read=0.1))
    with pytest.raises(RequestTimeoutError):
        stream(durable_stream_server.url + path, live=False, client=client, retry=ONCE)
