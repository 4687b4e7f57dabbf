"""Every call that blocks releases the interpreter and ends at Ctrl-C."""

from __future__ import annotations

import sys
import textwrap

import pytest

from everstream import DurableStream

from . import children
from .scripted import Scripted

# In each, `ready()` is the last thing before the call that blocks.
BLOCKING_CALLS = {
    "append": "handle = DurableStream(url, content_type='text/plain'); ready(); handle.append('a')",
    "append_stream": "handle = DurableStream(url, content_type='text/plain'); ready(); handle.append_stream(['a'])",
    "head": "ready(); DurableStream.head_static(url)",
    "create": "ready(); DurableStream.create(url)",
    "close_stream": "ready(); DurableStream(url, content_type='text/plain').close_stream()",
    "delete": "ready(); DurableStream.delete_static(url)",
    "list": "ready(); Client().list(url)",
    "opening a read": "ready(); stream(url)",
    "the next item": "chunks = iter(stream(live_url)); ready(); next(chunks)",
    "read_bytes": "ready(); stream(url).read_bytes()",
    "producer": "ready(); DurableStream(url).producer('p')",
    "producer.append": "p = producer(max_buffered_bytes=4); p.append('full'); ready(); p.append('more')",
    "producer.flush": "p = producer(); p.append('a'); ready(); p.flush()",
    "producer.detach": "p = producer(); p.append('a'); ready(); p.detach()",
    "producer.close_stream": "p = producer(); ready(); p.close_stream()",
    "producer.restart": "p = producer(); p.append('a'); ready(); p.restart()",
    "delivery.result": "p = producer(); d = p.append('a'); ready(); d.result()",
    "server.stop": """
        server = Server(shutdown_grace=3600)
        server.start()
        import http.client
        half = http.client.HTTPConnection("127.0.0.1", server.port)
        half.request("PUT", "/v1/stream/a", headers={"content-type": "text/plain"})
        half.getresponse().read()
        half.putrequest("POST", "/v1/stream/a")
        half.putheader("content-type", "text/plain")
        half.putheader("content-length", "9")
        half.endheaders(b"half")
        # The server has begun to read it once it answers another request on another connection.
        DurableStream(server.stream_url("a")).head()
        ready()
        server.stop()
    """,
    "worker.next": """
        from everstream import Server, Subscriptions
        server = Server()
        server.start()
        root = server.stream_url("").rstrip("/")
        DurableStream.create(root + "/wakes", content_type="application/json")
        subscriptions = Subscriptions(root)
        subscriptions.create("s", pattern="a/*", wake_stream="wakes")
        worker = subscriptions.worker("s", "one")
        ready()
        for lease in worker:
            pass
    """,
    "subscriptions.get": "ready(); Client().subscriptions(url).get('s')",
    "a read in asyncio": """
        async def main():
            async with astream(live_url) as response:
                ready()
                async for chunk in response:
                    pass
        asyncio.run(main())
    """,
}

CHILD = """
import asyncio, os, signal, sys, threading, time
from everstream import AsyncClient, Client, DurableStream, Server, astream, stream

url, live_url, code = sys.argv[1:]
about_to_block = threading.Event()
interrupted_at = 0.0

def producer(**options):
    return DurableStream(url, content_type="text/plain").producer("p", **options)

def ready():
    about_to_block.set()

def interrupt():
    global interrupted_at
    about_to_block.wait()
    # So many turns come only to a thread whose interpreter nobody holds.
    for _ in range(1000):
        time.sleep(0)
    interrupted_at = time.monotonic()
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
try:
    exec(code)
except KeyboardInterrupt:
    print(time.monotonic() - interrupted_at, flush=True)
    # The end of the process is another test's.
    os._exit(0)
os._exit(1)
"""


@pytest.mark.parametrize("call", BLOCKING_CALLS)
def test_ctrl_c_ends(call: str, durable_stream_url: str) -> None:
    if "asyncio" in call and sys.version_info < (3, 11):
        pytest.skip("before 3.11 asyncio misses a Ctrl-C that comes just before it waits")
    DurableStream.create(durable_stream_url)
    with Scripted() as silent:
        done = children.run(CHILD, silent.url, durable_stream_url, textwrap.dedent(BLOCKING_CALLS[call]))
    assert (done.returncode, done.stderr) == (0, "")
    assert float(done.stdout) < 1.0


PRELUDE = """
import os, signal, sys, threading, time
from everstream import DurableStream, stream
url = sys.argv[1]
handle = DurableStream(url)
"""


def test_what_a_signal_handler_raises_is_what_the_call_raises(durable_stream_url: str) -> None:
    DurableStream.create(durable_stream_url)
    code = """
    class Enough(Exception):
        pass
    def handler(*args):
        raise Enough
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        for chunk in stream(url):
            pass
    except Enough:
        print("enough")
    """
    assert children.run_clean(PRELUDE + textwrap.dedent(code), durable_stream_url) == "enough\n"


def test_a_signal_handler_may_use_the_package(durable_stream_url: str) -> None:
    """Such as one for SIGTERM that says goodbye, while the program waits in a read."""
    DurableStream.create(durable_stream_url, content_type="application/json")
    code = """
    def handler(*args):
        handle.append_json("from the handler")
        with handle.producer("p") as producer:
            producer.append_json("from its producer")
        handle.close_stream()
    signal.signal(signal.SIGTERM, handler)
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
    print(list(stream(url).iter_json()))
    """
    out = children.run_clean(PRELUDE + textwrap.dedent(code), durable_stream_url)
    assert out == "['from the handler', 'from its producer']\n"


def test_an_iteration_that_was_interrupted_can_be_begun_anew_from_its_checkpoint(durable_stream_url: str) -> None:
    DurableStream.create(durable_stream_url, content_type="application/json", body=[1, 2, 3])
    code = """
    response = stream(url)
    got = []
    try:
        for item in response.iter_json():
            got.append(item)
            if item == 2:
                signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print(got, stream(url, checkpoint=response.checkpoint(), live=False).read_json())
    """
    out = children.run_clean(PRELUDE + textwrap.dedent(code), durable_stream_url)
    assert out == "[1, 2] [3]\n"


def test_waits_in_other_threads_go_on_at_ctrl_c(durable_stream_url: str) -> None:
    DurableStream.create(durable_stream_url, content_type="application/json")
    code = """
    got = []
    thread = threading.Thread(target=lambda: got.extend(stream(url).iter_json()))
    thread.start()
    try:
        os.kill(os.getpid(), signal.SIGINT)
        thread.join()
    except KeyboardInterrupt:
        handle.append_json("after")
        handle.close_stream()
        thread.join()
        print(got)
    """
    assert children.run_clean(PRELUDE + textwrap.dedent(code), durable_stream_url) == "['after']\n"
