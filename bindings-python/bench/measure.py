"""One run of one client, in a process of its own. Prints what it cost as a line of JSON.

    measure.py produce|produce_text|append|read_json|iter_json|read_bytes|iter_bytes|tail|import CLIENT URL AMOUNT

CLIENT is a file in clients/, called after what it imports. AMOUNT is the number of messages, or of bytes; the streams
that are read must be there already. Every run checks what it got, and fails if anything is missing.
"""

import asyncio
import importlib
import inspect
import json
import os
import resource
import struct
import subprocess
import sys
import time
from pathlib import Path

import plain

# What ours puts into a request if it is told nothing else.
MAX_BATCH_BYTES = 1 << 20
WARM_UPS = 200
STREAMS = 500


class Meter:
    """Wall time and CPU time of this process from now on."""

    def __init__(self):
        self.cpu = cpu_time(resource.getrusage(resource.RUSAGE_SELF))
        self.start = time.perf_counter()

    def stop(self):
        wall = time.perf_counter() - self.start
        cpu = cpu_time(resource.getrusage(resource.RUSAGE_SELF)) - self.cpu
        return {"wall": wall, "cpu": cpu} | size(Path("/proc/self/status").read_text())


def cpu_time(usage):
    return usage.ru_utime + usage.ru_stime


def size(status):
    """The most memory that a process had since its start, and how many threads it has.

    Unlike what getrusage tells, that memory is not inherited from the parent.
    """
    fields = dict(line.split(":", 1) for line in status.splitlines() if line)
    return {"peak_rss": int(fields["VmHWM"].split()[0]) * 1024, "threads": int(fields["Threads"])}


def expect(holds, what):
    if not holds:
        raise RuntimeError(what)


def measured(function, *arguments):
    """What a function returns, or what is awaited if it has to be awaited, and what that cost."""
    if not inspect.iscoroutinefunction(function):
        meter = Meter()
        return function(*arguments), meter.stop()

    # Not as the result of the coroutine: asyncio.run() has the whole of it printed, for an error that nobody sees.
    outcome = []

    async def wait():
        meter = Meter()
        outcome.append(await function(*arguments))
        outcome.append(meter.stop())

    asyncio.run(wait())
    return outcome


# Writing


def produce(client, url, amount):
    return write(client, url, [plain.message(number) for number in range(amount)])


def produce_text(client, url, amount):
    return write(client, url, [plain.text(plain.message(number)) for number in range(amount)])


def write(client, url, messages):
    server = plain.Connection(url)
    server.create(url)
    sent = [json.loads(message) if isinstance(message, str) else message for message in messages]
    if hasattr(client, "post"):
        _, cost = measured(client.post, url, plain.batches(sent, MAX_BATCH_BYTES))
    else:
        _, cost = measured(client.produce, url, messages)
    expect(server.stored(url) == sent, "what is stored is not what was sent")
    server.ask("DELETE", url)
    return cost


def append(client, url, amount):
    messages = [plain.message(number) for number in range(WARM_UPS + amount)]
    server = plain.Connection(url)
    server.create(url)
    if is_async(client):
        cost = asyncio.run(append_awaited(client, url, messages))
    else:
        cost = append_blocking(client, url, messages)
    expect(server.stored(url) == messages, "what is stored is not what was sent")
    server.ask("DELETE", url)
    return cost


def append_blocking(client, url, messages):
    with client.appender(url) as append_one:
        for message in messages[:WARM_UPS]:
            append_one(message)
        times = []
        meter = Meter()
        for message in messages[WARM_UPS:]:
            start = time.perf_counter()
            append_one(message)
            times.append(time.perf_counter() - start)
        return meter.stop() | latency(times)


async def append_awaited(client, url, messages):
    async with client.appender(url) as append_one:
        for message in messages[:WARM_UPS]:
            await append_one(message)
        times = []
        meter = Meter()
        for message in messages[WARM_UPS:]:
            start = time.perf_counter()
            await append_one(message)
            times.append(time.perf_counter() - start)
        return meter.stop() | latency(times)


def latency(times):
    times.sort()
    return {"p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}


# Catching up


def read_json(client, url, amount):
    messages, cost = measured(client.read_json, url)
    expect(messages == [plain.message(number) for number in range(amount)], "what came is not what was stored")
    return cost


def iter_json(client, url, amount):
    got, cost = measured(iterate_awaited if is_async(client) else iterate_blocking, client, url)
    expect(got == amount, f"{got} messages came instead of {amount}")
    return cost


def iterate_blocking(client, url):
    due = 0
    if hasattr(client, "json_batches"):
        for batch in client.json_batches(url):
            for item in batch:
                if item["i"] != due:
                    raise Misplaced(item, due)
                due += 1
    else:
        with client.read(url) as answer:
            for item in answer.iter_json():
                if item["i"] != due:
                    raise Misplaced(item, due)
                due += 1
    return due


async def iterate_awaited(client, url):
    due = 0
    if hasattr(client, "json_batches"):
        async for batch in client.json_batches(url):
            for item in batch:
                if item["i"] != due:
                    raise Misplaced(item, due)
                due += 1
    else:
        async with client.read(url) as answer:
            async for item in answer.iter_json():
                if item["i"] != due:
                    raise Misplaced(item, due)
                due += 1
    return due


class Misplaced(RuntimeError):
    def __init__(self, item, due):
        super().__init__(f"message {item['i']} came where {due} was due")


def read_bytes(client, url, amount):
    content, cost = measured(client.read_bytes, url)
    at, content = 0, memoryview(content)
    while at < len(content):
        at = next_place(content[at : at + 65536], at)
    expect(at == amount, f"{at} bytes came instead of {amount}")
    return cost


def iter_bytes(client, url, amount):
    got, cost = measured(pieces_awaited if is_async(client) else pieces_blocking, client, url)
    expect(got == amount, f"{got} bytes came instead of {amount}")
    return cost


def pieces_blocking(client, url):
    at = 0
    with client.read(url) as pieces:
        for piece in pieces:
            at = next_place(piece, at)
    return at


async def pieces_awaited(client, url):
    at = 0
    async with client.read(url) as pieces:
        async for piece in pieces:
            at = next_place(piece, at)
    return at


def next_place(piece, at):
    """Every eight bytes of the stream are their own place. Looks at the first whole word of a piece, and at its last."""
    first, after = -(-at // 8) * 8, at + len(piece)
    last = after // 8 * 8 - 8
    for word in (first, last) if last >= first else ():
        expect(struct.unpack_from("<Q", piece, word - at) == (word,), f"what came at {at} belongs elsewhere")
    return after


# Following


def tail(client, url, amount):
    return asyncio.run(follow_all(client, url, amount // STREAMS))


async def follow_all(client, url, each):
    urls = [f"{url}-{number}" for number in range(STREAMS)]
    server = plain.Connection(url)
    for one in urls:
        server.create(one)
        server.ask("POST", one, plain.text(plain.message(0)))
    program = [sys.executable, Path(__file__).with_name("writer.py"), str(each), *urls]
    writer = subprocess.Popen(program, stdin=subprocess.PIPE)
    connected, all_connected, times = 0, asyncio.Event(), []

    async def follow(session, one):
        nonlocal connected
        due = 0
        async with client.tail(session, one) as answer:
            async for item in answer.iter_json():
                now = time.monotonic_ns()
                if item["i"] != due:
                    raise Misplaced(item, due)
                if due == 0:
                    connected += 1
                    if connected == STREAMS:
                        all_connected.set()
                else:
                    times.append((now - item["t"]) / 1e9)
                if due == each:
                    return
                due += 1

    async with client.session() as session:
        following = asyncio.gather(*(follow(session, one) for one in urls))
        connecting = asyncio.ensure_future(all_connected.wait())
        # A failure ends it too.
        await asyncio.wait([following, connecting], return_when=asyncio.FIRST_COMPLETED)
        meter = Meter()
        writer.stdin.close()
        await following
        cost = meter.stop() | latency(times)
    expect(writer.wait() == 0, "the writer failed")
    expect(len(times) == each * STREAMS, "events are missing")
    for one in urls:
        server.ask("DELETE", one)
    return cost


# Importing


def import_(client, _url, amount):
    """What an interpreter takes longer that imports the client than one that does not, so many times."""
    program = f"import {library(client)}"
    walls, cpus = [], []
    for _ in range(amount):
        (wall, cpu), (bare_wall, bare_cpu) = interpreter(program), interpreter("pass")
        walls.append(wall - bare_wall)
        cpus.append(cpu - bare_cpu)
    program += '; print(open("/proc/self/status").read())'
    status = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, text=True).stdout
    return {"wall": sum(walls), "cpu": sum(cpus)} | size(status) | latency(walls)


def interpreter(program):
    start = time.perf_counter()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", program], os.environ)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - start
    expect(status == 0, f"`{program}` failed")
    return wall, cpu_time(usage)


def library(client):
    return client.__name__.removeprefix("clients.").rsplit("_", 1)[0]


def is_async(client):
    return client.__name__.endswith("_async")


if __name__ == "__main__":
    measurement, name, url, amount = sys.argv[1:]
    run = globals()["import_" if measurement == "import" else measurement]
    print(json.dumps(run(importlib.import_module(f"clients.{name}"), url, int(amount))))
