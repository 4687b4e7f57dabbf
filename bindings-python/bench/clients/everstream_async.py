"""Ours, asyncio."""

from contextlib import asynccontextmanager

from everstream import AsyncClient, AsyncDurableStream, IdempotentProducer, astream


async def produce(url, messages):
    async with IdempotentProducer(url, "bench", content_type="application/json") as producer:
        for message in messages:
            producer.append(message)
        await producer.flush()


@asynccontextmanager
async def appender(url):
    async with AsyncDurableStream(url, content_type="application/json") as handle:
        yield handle.append


def read(url):
    return astream(url, live=False)


async def read_json(url):
    async with read(url) as answer:
        return await answer.read_json()


async def read_bytes(url):
    async with read(url) as answer:
        return await answer.read_bytes()


def session():
    return AsyncClient()


def tail(session, url):
    return astream(url, live="sse", client=session)
