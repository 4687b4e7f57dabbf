"""The interpreter ends at once, silently, whatever is still open; and what was appended is stored."""

from __future__ import annotations

import signal
import sys
import textwrap

import pytest

from everstream import DurableStream, stream
from everstream.testing import Server

from . import children
from .scripted import Scripted

PRELUDE = """
import asyncio, os, sys, threading, time
from everstream import AsyncDurableStream, DurableStream, IdempotentProducer, Server, astream, stream
url = sys.argv[1]
handle = DurableStream(url)
"""

OPEN_THINGS = {
    "a read": "response = handle.stream()",
    "a read in the middle of an iteration": "items = handle.stream().iter_json(); next(items)",
    "a read that a daemon thread waits in": """
        def follow():
            for item in handle.stream().iter_json():
                reading.set()
        reading = threading.Event()
        threading.Thread(target=follow, daemon=True).start()
        reading.wait()
    """,
    "daemon threads in every kind of call": """
        started = threading.Barrier(9)
        def work(call):
            started.wait()
            while True:
                call()
        def follow():
            with handle.stream() as response:
                for item in response.iter_json():
                    pass
        producer = handle.producer("p", linger_ms=0)
        for call in (follow, follow, handle.head, handle.head, lambda: producer.append(1), lambda: producer.append(1),
                     producer.flush, lambda: handle.append_json(1)):
            threading.Thread(target=work, args=(call,), daemon=True).start()
        started.wait()
    """,
    "an event loop in a daemon thread": """
        async def main():
            async with astream(url) as response:
                async for item in response.iter_json():
                    reading.set()
        reading = threading.Event()
        threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
        reading.wait()
    """,
    "a loop that was never closed, with tasks": """
        async def follow():
            async with astream(url) as response:
                async for item in response.iter_json():
                    loop.stop()
        loop = asyncio.new_event_loop()
        task = loop.create_task(follow())
        loop.run_forever()
        # asyncio tells of a pending task that is destroyed; that is not ours.
        task._log_destroy_pending = False
    """,
    "tasks that asyncio.run cancels": """
        async def follow():
            async with astream(url) as response:
                async for item in response.iter_json():
                    reading.set()
        async def main():
            global reading, tasks
            reading = asyncio.Event()
            tasks = [asyncio.create_task(follow()) for _ in range(20)]
            await reading.wait()
        asyncio.run(main())
    """,
    "a server": "server = Server(); server.start()",
    "a server with readers": """
        server = Server()
        server.start()
        response = DurableStream.create(server.stream_url("a")).stream()
    """,
    "a delivery that nobody awaits": "delivery = handle.producer('p').append(1)",
    "a reference cycle": """
        class Cycle:
            pass
        cycle = Cycle()
        cycle.self = cycle
        cycle.things = [handle.stream(), handle.producer("p"), handle, Server()]
        cycle.things[-1].start()
    """,
    "a thread that is not a daemon, and ends with its read": """
        def follow():
            with handle.stream() as response:
                next(response.iter_json())
        threading.Thread(target=follow).start()
    """,
    "a header function that is asked at the end": """
        def header():
            return "value"
        other = DurableStream(url, headers={"x-asked": header})
        producer = other.producer("p")
        producer.append(1)
    """,
    "a log that never rests": """
        import logging
        logging.getLogger().addHandler(logging.NullHandler())
        logging.getLogger().setLevel(logging.DEBUG)
        server = Server()
        server.start()
        busy = DurableStream.create(server.stream_url("a"))
        def work():
            while True:
                busy.head()
        for _ in range(2):
            threading.Thread(target=work, daemon=True).start()
        for _ in range(20):
            busy.head()
    """,
    "an error hook of a failed read": """
        missing = stream(url, on_error=lambda error: None)
    """,
}


@pytest.fixture
def filled(durable_stream_url: str) -> str:
    DurableStream.create(durable_stream_url, content_type="application/json", body=[0])
    return durable_stream_url


@pytest.mark.parametrize("things", OPEN_THINGS)
def test_the_end_with(things: str, filled: str) -> None:
    children.run_clean(PRELUDE + textwrap.dedent(OPEN_THINGS[things]), filled)


@pytest.mark.parametrize("how", ["sys.exit(0)", "os._exit(0)", "raise SystemExit"])
def test_every_way_to_end_with_open_things(how: str, filled: str) -> None:
    things = "server = Server(); server.start(); response = handle.stream(); producer = handle.producer('p')"
    children.run_clean(f"{PRELUDE}\n{things}\n{how}", filled)


@pytest.mark.parametrize("things", ["a read that a daemon thread waits in", "daemon threads in every kind of call"])
def test_daemon_threads_never_crash_the_end(things: str, filled: str) -> None:
    """The race with the interpreter's end is lost now and then only."""
    for _ in range(8):
        children.run_clean(PRELUDE + textwrap.dedent(OPEN_THINGS[things]), filled)


def test_what_was_appended_is_stored(durable_stream_url: str) -> None:
    handle = DurableStream.create(durable_stream_url, content_type="application/json")
    code = """
    producer = handle.producer("p", linger_ms=60_000)
    for number in range(1000):
        producer.append(number)
    """
    children.run_clean(PRELUDE + textwrap.dedent(code), durable_stream_url)
    assert handle.stream(live=False).read_json() == list(range(1000))


def test_what_was_appended_in_asyncio_is_stored(durable_stream_url: str) -> None:
    handle = DurableStream.create(durable_stream_url, content_type="application/json")
    code = """
    async def main():
        global producer
        producer = IdempotentProducer(url, "p", linger_ms=60_000)
        for number in range(1000):
            producer.append(number)
    asyncio.run(main())
    """
    children.run_clean(PRELUDE + textwrap.dedent(code), durable_stream_url)
    assert handle.stream(live=False).read_json() == list(range(1000))


@pytest.mark.parametrize("failure", ["raise KeyError('mine')", "sys.exit(3)"])
def test_what_was_appended_before_a_failure_is_stored(failure: str, durable_stream_url: str) -> None:
    handle = DurableStream.create(durable_stream_url, content_type="application/json")
    code = f"producer = handle.producer('p', linger_ms=60_000)\nproducer.append(1)\n{failure}"
    done = children.run(PRELUDE + code, durable_stream_url)
    assert done.returncode == (3 if "exit" in failure else 1)
    assert handle.stream(live=False).read_json() == [1]


def test_a_server_that_does_not_answer_holds_up_the_end_for_some_seconds_at_most() -> None:
    code = "producer = DurableStream(url, content_type='text/plain').producer('p')\nproducer.append('lost')"
    with Scripted() as server:
        done = children.run(PRELUDE + code, server.url, options=("-W", "always"))
    assert done.returncode == 0
    assert "was not closed, and 1 messages may not be stored" in done.stderr


def test_ctrl_c_while_the_end_waits_for_a_server_ends_it() -> None:
    code = "producer = DurableStream(url, content_type='text/plain').producer('p')\nproducer.append('lost')"
    end = "import atexit\natexit.register(lambda: print('the end', flush=True))"
    with Scripted() as server:
        command = [sys.executable, "-c", f"{PRELUDE}\n{code}\n{end}", server.url]
        with children.started(command) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "the end\n"
            server.wait_for_requests()
            process.send_signal(signal.SIGINT)
            process.wait(children.LIMIT)
            assert process.stderr is not None
            assert "fatal" not in process.stderr.read().lower()
            assert process.returncode in (0, 1, -signal.SIGINT)


def test_ctrl_c_in_a_producer_block_needs_no_second_one() -> None:
    code = """
    with DurableStream(url, content_type="text/plain").producer("p") as producer:
        producer.append("lost")
        print("waiting", flush=True)
        threading.Event().wait()
    """
    with Scripted() as server:
        with children.started([sys.executable, "-c", PRELUDE + textwrap.dedent(code), server.url]) as process:
            assert process.stdout is not None and process.stderr is not None
            assert process.stdout.readline() == "waiting\n"
            server.wait_for_requests()
            process.send_signal(signal.SIGINT)
            assert process.wait(children.LIMIT) == -signal.SIGINT
            assert process.stderr.read().endswith("KeyboardInterrupt\n")


def test_ctrl_c_at_a_live_read_ends_the_program_as_ctrl_c_does(filled: str) -> None:
    code = "for item in handle.stream().iter_json():\n    print(item, flush=True)"
    with children.started([sys.executable, "-c", f"{PRELUDE}\n{code}", filled]) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(children.LIMIT) == -signal.SIGINT
        assert process.stderr.read().endswith("KeyboardInterrupt\n")


def test_exiting_in_a_callback_is_what_the_call_raises(filled: str) -> None:
    code = """
    def leave(*args):
        sys.exit(7)
    try:
        DurableStream(url, headers={"x-asked": leave}).head()
    except SystemExit as error:
        print("header", error.code)
    try:
        stream(url + "-missing", on_error=leave)
    except SystemExit as error:
        print("on_error", error.code)
    DurableStream(url, headers={"x-asked": leave}).head()
    """
    done = children.run(PRELUDE + textwrap.dedent(code), filled)
    assert (done.returncode, done.stdout, done.stderr) == (7, "header 7\non_error 7\n", "")


def test_an_exit_handler_may_still_make_calls(filled: str) -> None:
    code = """
    import atexit
    atexit.register(lambda: handle.append_json("before"))
    """
    first = "import atexit\nlate = []\natexit.register(lambda: late[0].append_json('after'))\n"
    children.run_clean(first + PRELUDE + textwrap.dedent(code) + "late.append(handle)", filled)
    assert stream(filled, live=False).read_json() == [0, "before", "after"]


def test_the_server_of_a_program_that_ends_is_gone() -> None:
    code = "server = Server(); server.start(); DurableStream.create(server.stream_url('a')); print(server.port)"
    port = int(children.run_clean(PRELUDE + code, "http://unused"))
    with Server(port) as again:
        assert again.port == port
