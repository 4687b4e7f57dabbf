"""The official client of PyPI, asyncio."""

import asyncio
from contextlib import asynccontextmanager

from durable_streams import AsyncDurableStream, astream
from httpx import AsyncClient, Limits

# How many appends wait at a time. Of the powers of ten this is the fastest one.
AT_ONCE = 1_000


async def produce(url, messages):
    """It has no producer. What comes closest: appends that wait together are sent in one request."""
    async with AsyncDurableStream(url, content_type="application/json") as handle:
        for at in range(0, len(messages), AT_ONCE):
            await asyncio.gather(*map(handle.append, messages[at : at + AT_ONCE]))


@asynccontextmanager
async def appender(url):
    async with AsyncDurableStream(url, content_type="application/json") as handle:
        yield handle.append


def read(url):
    return astream(url, offset="-1", live=False)


async def read_json(url):
    # With live=False it would read the first answer only.
    async with astream(url, offset="-1", live="auto") as answer:
        return await answer.read_json()


async def read_bytes(url):
    async with astream(url, offset="-1", live="auto") as answer:
        return await answer.read_bytes()


def session():
    """Shared, and without a limit of connections: by default every stream would load the certificates anew."""
    return AsyncClient(limits=Limits(max_connections=None), timeout=None)


def tail(session, url):
    return astream(url, offset="-1", live="sse", client=session)
