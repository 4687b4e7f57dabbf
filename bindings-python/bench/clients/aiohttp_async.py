"""aiohttp and orjson, without a client for streams: each loop does the least that is right."""

from contextlib import asynccontextmanager

import orjson
from aiohttp import ClientSession

JSON = {"content-type": "application/json"}


async def post(url, batches):
    async with _client() as client:
        for batch in batches:
            async with client.post(url, data=batch, headers=JSON):
                pass


@asynccontextmanager
async def appender(url):
    async with _client() as client:

        async def append(message):
            async with client.post(url, data=orjson.dumps(message), headers=JSON):
                pass

        yield append


@asynccontextmanager
async def read(url):
    yield _pieces(url)


async def _pieces(url):
    async for answer in _answers(url):
        async for piece in answer.content.iter_any():
            yield piece


async def _answers(url):
    offset = "-1"
    async with _client() as client:
        while True:
            async with client.get(url, params={"offset": offset}) as answer:
                yield answer
            if "stream-up-to-date" in answer.headers:
                return
            offset = answer.headers["stream-next-offset"]


async def read_bytes(url):
    content = bytearray()
    async for piece in _pieces(url):
        content += piece
    return content


async def json_batches(url):
    async for answer in _answers(url):
        yield orjson.loads(await answer.read())


async def read_json(url):
    return [message async for batch in json_batches(url) for message in batch]


def _client():
    # The size of an answer, which makes it faster.
    return ClientSession(raise_for_status=True, read_bufsize=1 << 20)
