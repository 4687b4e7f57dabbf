"""Time limits of a client hold for all its streams, where these have none of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from everstream import (
    AsyncClient,
    AsyncDurableStream,
    Client,
    DurableStream,
    IdempotentProducer,
    RequestTimeoutError,
    Retry,
    ServerError,
    Timeout,
    stream,
)
from everstream.client import client_for
from everstream.testing import Server
from scripted import Answer, Request, ScriptedServer
from support import ONCE, TEXT

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


async def test_read_limit_of_a_client_holds_for_its_producers(proxy: Callable[..., ScriptedServer], url: str) -> None:
    for_ever = threading.Event()

    def stall_first(request: Request) -> Answer | None:
        if request.method == "POST" and between.count("POST") == 1:
            for_ever.wait()
            return Answer(drop=True)
        return None

    limits = Timeout(read=0.1)
    Client().handle(url).create_stream(content_type=TEXT)
    try:
        between = proxy(stall_first)
        with Client(timeout=limits).handle(between.through(url)).producer("sync") as producer:
            assert not producer.append("a").result(10.0).duplicate
        between = proxy(stall_first)
        async with AsyncClient(timeout=limits).handle(between.through(url)).producer("async") as asynchronous:
            assert not (await asyncio.wait_for(asynchronous.append("b"), 10.0)).duplicate
    finally:
        for_ever.set()


def test_streams_with_the_same_connect_limit_share_their_connections(url: str) -> None:
    first, second, other = (DurableStream(url, timeout=Timeout(connect=limit)) for limit in (5.0, 5.0, 6.0))
    clients = [client_for(None, Client, handle._timeout) for handle in (first, second, other)]
    assert clients[0] is clients[1] is not clients[2]


async def test_what_a_producer_cannot_change_of_its_handle_is_refused(url: str) -> None:
    handle = AsyncDurableStream(url, content_type=TEXT)
    with pytest.raises(TypeError, match="headers, encode"):
        IdempotentProducer(handle, "p", headers={"a": "b"}, encode=str)
