"""httpx, blocking, and orjson, without a client for streams: each loop does the least that is right."""

from contextlib import contextmanager

import httpx
import orjson

JSON = {"content-type": "application/json"}


def post(url, batches):
    with httpx.Client() as client:
        for batch in batches:
            client.post(url, content=batch, headers=JSON).raise_for_status()


@contextmanager
def appender(url):
    with httpx.Client() as client:
        yield lambda message: client.post(url, content=orjson.dumps(message), headers=JSON).raise_for_status()


@contextmanager
def read(url):
    yield _pieces(url)


def _pieces(url):
    for answer in _answers(url):
        yield from answer.iter_bytes()


def _answers(url):
    offset = "-1"
    with httpx.Client() as client:
        while True:
            with client.stream("GET", url, params={"offset": offset}) as answer:
                yield answer.raise_for_status()
            if "stream-up-to-date" in answer.headers:
                return
            offset = answer.headers["stream-next-offset"]


def read_bytes(url):
    content = bytearray()
    for piece in _pieces(url):
        content += piece
    return content


def json_batches(url):
    for answer in _answers(url):
        yield orjson.loads(answer.read())


def read_json(url):
    return [message for batch in json_batches(url) for message in batch]
