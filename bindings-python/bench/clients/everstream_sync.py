"""Ours, blocking."""

from contextlib import contextmanager

from everstream import DurableStream, Producer, stream


def produce(url, messages):
    with Producer(url, "bench") as producer:
        for message in messages:
            producer.append(message)
        producer.flush()


@contextmanager
def appender(url):
    with DurableStream(url, content_type="application/json") as handle:
        yield handle.append


def read(url):
    return stream(url, live=False)


def read_json(url):
    with read(url) as answer:
        return answer.read_json()


def read_bytes(url):
    with read(url) as answer:
        return answer.read_bytes()
