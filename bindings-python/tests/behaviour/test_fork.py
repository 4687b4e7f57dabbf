"""A forked child works with what can be made anew, and is told clearly what cannot."""

from __future__ import annotations

import multiprocessing
import os
import textwrap

import pytest

from everstream import Client, DurableStream, stream

from .children import run_clean

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

PRELUDE = """
import asyncio, gc, os, signal, sys, threading, time, warnings
from everstream import (
    AsyncDurableStream, Client, DurableStream, ForkedError, IdempotentProducer, Server, astream, stream,
)

def child(work, limit=20):
    '''Runs it in a forked child, which must end well in time.'''
    pid = os.fork()
    if pid == 0:
        signal.alarm(limit)
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        os._exit(code)
    return pid

def join(*pids):
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * len(pids)

def refuses(work):
    try:
        work()
    except ForkedError as error:
        assert error.code == "FORKED" and "forked" in str(error), error
    else:
        raise AssertionError("no ForkedError")

server = Server()
server.start()
url = server.stream_url("a")
handle = DurableStream.create(url, content_type="application/json")
"""


def forked(code: str) -> None:
    """Runs it in a process of its own that forks; every child it waits for ended well."""
    # Python 3.12 warns of every fork in a process with threads.
    options = ("-W", "ignore::DeprecationWarning")
    run_clean(PRELUDE + textwrap.dedent(code) + "\nserver.stop()\n", options=options)


def test_handles_and_clients_are_made_anew_in_the_child() -> None:
    forked("""
        client = Client()
        other = client.handle(url)
        other.head()

        def work():
            handle.append_json("child")
            assert other.head().exists
            assert other.stream(live=False).read_json() == ["child"]
            assert client.handle(url).head().exists
            assert stream(url, live=False).read_json() == ["child"]
            with handle.producer("child") as producer:
                producer.append(1)
            with Server() as own:
                DurableStream.create(own.stream_url("b"))

        join(child(work))
        handle.append_json("parent")
        assert handle.stream(live=False).read_json() == ["child", 1, "parent"]
    """)


def test_what_is_live_refuses_in_the_child_and_goes_on_in_the_parent() -> None:
    forked("""
        reading = handle.stream()
        items = reading.iter_json()
        producer = handle.producer("p")
        producer.append(0).result(10)
        assert next(items) == 0
        delivery = producer.append(1)
        settled = delivery.result(10)
        waiting = handle.producer("waiting", linger_ms=60_000)
        unsettled = waiting.append_json("later")

        def work():
            refuses(lambda: next(items))
            reading.close()
            for call in (
                lambda: producer.append(1), lambda: producer.append_json(1), lambda: producer.try_append(1),
                producer.flush, producer.detach, producer.close_stream, producer.restart,
                lambda: producer.epoch, lambda: producer.pending_count,
            ):
                refuses(call)
            refuses(server.start)
            refuses(server.stop)
            assert not server.running
            refuses(lambda: unsettled.result(5))
            repr(reading), repr(producer), repr(server), repr(delivery)
            warnings.simplefilter("ignore")

        join(child(work))
        assert next(items) == 1
        producer.append(2)
        assert next(items) == 2
        waiting.flush()
        assert next(items) == "later"
        producer.close(), waiting.close(), reading.close()
    """)


def test_workers_and_leases_refuse_in_the_child_and_verifiers_are_made_anew() -> None:
    forked("""
        import asyncio
        from everstream import AsyncSubscriptions, InvalidSignatureError, Subscriptions

        root = server.stream_url("").rstrip("/")
        subscriptions = Subscriptions(root)
        DurableStream.create(f"{root}/wakes", content_type="application/json")
        subscriptions.create("s", pattern="jobs/*", wake_stream="wakes", lease=1)
        verifier = subscriptions.webhook_verifier("s")
        signature = "t=1,kid=a,ed25519=AAAA"

        def unsigned():
            try:
                verifier.verify(signature, "{}")
            except InvalidSignatureError:
                return
            raise AssertionError("taken")

        unsigned()
        worker = subscriptions.worker("s", "one")
        DurableStream.create(f"{root}/jobs/a", content_type="application/json", body=[1])
        lease = worker.next()

        def work():
            for call in (
                worker.next, lambda: lease.ack({}), lease.finish, lease.release, lambda: lease.is_lost,
                lambda: lease.read("jobs/a"),
            ):
                refuses(call)
            worker.close()
            repr(worker), repr(lease)
            assert subscriptions.get("s").lease == 1
            unsigned()
            # It is the parent's.
            assert subscriptions.claim("s", "child") is None

            async def main():
                assert (await AsyncSubscriptions(root).get("s")).id == "s"

            asyncio.run(main())

        join(child(work))
        with lease.read("jobs/a") as response:
            assert response.read_json() == [1]
        assert lease.finish({"jobs/a": response.offset}) is False
        worker.close()
    """)


def test_the_asyncio_face_refuses_and_is_made_anew_as_well() -> None:
    forked("""
        async def main():
            ahandle = AsyncDurableStream(url)
            await ahandle.head()
            response = await ahandle.stream()
            items = response.iter_json()
            producer = ahandle.producer("p")
            delivery = producer.append(0)
            assert await anext(items) == 0
            await delivery

            def work():
                async def in_child():
                    for call in (lambda: anext(items), producer.flush, lambda: producer.send(1), producer.restart):
                        try:
                            await call()
                        except ForkedError:
                            pass
                        else:
                            raise AssertionError("no ForkedError")
                    refuses(lambda: producer.append(1))
                    await ahandle.append_json("child")
                    async with astream(url, live=False) as again:
                        assert await again.read_json() == [0, "child"]

                # The child has the parent's loop, and says that it runs; a program would start anew.
                asyncio._set_running_loop(None)
                asyncio.run(in_child())

            join(child(work))
            assert await anext(items) == "child"
            producer.append(1)
            assert await anext(items) == 1
            await producer.close()
            await response.aclose()

        asyncio.run(main())
    """)


def test_workers_forked_from_a_program_that_has_worked_already() -> None:
    """As with gunicorn --preload: module-level objects are used by the parent, then by all workers at once."""
    forked("""
        handle.append_json("parent")
        for round in range(5):
            def work():
                for number in range(20):
                    handle.append_json([os.getpid(), number])
                with handle.producer(f"worker-{os.getpid()}") as producer:
                    for number in range(20, 40):
                        producer.append([os.getpid(), number])

            workers = [child(work) for _ in range(4)]
            handle.append_json("meanwhile")
            join(*workers)
            stored = [row for row in handle.stream(live=False).read_json() if isinstance(row, list)]
            for pid in workers:
                assert [number for who, number in stored if who == pid] == list(range(40)), pid
    """)


def test_grandchildren_work_too() -> None:
    forked("""
        def deeper(level):
            def work():
                handle.append_json(level)
                if level < 4:
                    join(child(deeper(level + 1)))
                handle.append_json(-level)
            return work

        join(child(deeper(1)))
        assert handle.stream(live=False).read_json() == [1, 2, 3, 4, -4, -3, -2, -1]
    """)


BUSY = """
    stop = False
    producer = handle.producer("busy", linger_ms=0)
    live = handle.stream()

    def write():
        while not stop:
            producer.append_json("x" * 100)
            time.sleep(0.0002)

    def read():
        for item in live.iter_json():
            pass

    def ask():
        while not stop:
            handle.head()

    def gather():
        async def main():
            other = AsyncDurableStream(url)
            while not stop:
                await asyncio.gather(*[other.head() for _ in range(5)])
        asyncio.run(main())

    threads = [threading.Thread(target=work) for work in (write, read, ask, gather)]
    for thread in threads:
        thread.start()
"""

REST = """
    stop = True
    for thread in threads[:1]:
        thread.join()
    producer.close()
    live.close()
    for thread in threads[1:]:
        thread.join()
"""


def test_forks_while_threads_are_busy() -> None:
    forked(
        BUSY
        + """
    for _ in range(50):
        join(child(lambda: handle.head()))
    """
        + REST
    )


def test_a_busy_program_forks_children_that_collect_what_they_inherited() -> None:
    """Nothing of it may be touched: what it stands for is in the middle of something in the parent."""
    forked(
        BUSY
        + """
    extra = []
    for _ in range(50):
        extra.append((Client(), handle.stream(), handle.producer(f"p{len(extra)}"), AsyncDurableStream(url)))
        extra[-1][2].append_json("y")

        def work():
            global handle, live, producer, server, extra
            warnings.simplefilter("ignore")
            handle = live = producer = server = None
            extra = []
            gc.collect()
            assert DurableStream(url).head().exists

        join(child(work))
    """
        + REST
        + """
    for _, response, producer, _ in extra:
        response.close()
        producer.close()
    """
    )


def test_forks_while_the_log_is_busy() -> None:
    forked(
        """
    import logging
    logging.getLogger("everstream").setLevel(5)
    """
        + BUSY
        + """
    handle = DurableStream(url)
    for _ in range(50):
        join(child(lambda: handle.head()))
    """
        + REST
    )


def test_a_child_that_ends_as_programs_do_ends_well() -> None:
    """With exit handlers, and with the parent's open producer and read still there."""
    forked("""
        producer = handle.producer("p", linger_ms=60_000)
        producer.append_json("parent")
        response = handle.stream()
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            handle.append_json("child")
            sys.exit(0)
        join(pid)
        producer.close()
        response.close()
        assert handle.stream(live=False).read_json() == ["child", "parent"]
    """)


def _append(handle: DurableStream, row: list[int]) -> None:
    handle.append_json(row)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_handles_travel_to_multiprocessing_workers(method: str, durable_stream_url: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    handle = DurableStream.create(
        durable_stream_url, content_type="application/json", client=Client(headers={"x": "y"})
    )
    context = multiprocessing.get_context(method)
    workers = [context.Process(target=_append, args=(handle, [number])) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert sorted(stream(durable_stream_url, live=False).read_json()) == [[0], [1], [2]]


def test_a_spawned_pool_shares_work_by_handle(durable_stream_url: str) -> None:
    handle = DurableStream.create(durable_stream_url, content_type="application/json")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.starmap(_append, [(handle, [number]) for number in range(20)], chunksize=5)
    assert sorted(stream(durable_stream_url, live=False).read_json()) == [[number] for number in range(20)]


def test_a_forked_child_gets_the_settings_of_the_handle() -> None:
    forked("""
        asked = DurableStream(url, headers={"x-pid": lambda: str(os.getpid())})
        asked.head()

        def work():
            asked.append_json(os.getpid())

        pid = child(work)
        join(pid)
        assert asked.stream(live=False).read_json() == [pid]
    """)
