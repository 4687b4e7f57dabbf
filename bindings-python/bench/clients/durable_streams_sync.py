"""The official client of PyPI, blocking. It has no producer."""

from contextlib import contextmanager

from durable_streams import DurableStream, stream


@contextmanager
def appender(url):
    with DurableStream(url, content_type="application/json") as handle:
        yield handle.append


def read(url):
    return stream(url, offset="-1", live=False)


def read_json(url):
    # With live=False it would read the first answer only.
    with stream(url, offset="-1", live="auto") as answer:
        return answer.read_json()


def read_bytes(url):
    with stream(url, offset="-1", live="auto") as answer:
        return answer.read_bytes()
