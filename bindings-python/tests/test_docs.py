"""The examples of docs/python.md, those for Python of docs/subscriptions.md and the package's README run as they stand."""

from __future__ import annotations

import asyncio
import queue
import re
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import everstream
from everstream import AsyncDurableStream, Client, DurableStream, Subscriptions
from everstream.testing import Server
from receiver import Receiver
from support import JSON

PACKAGE = Path(__file__).parents[1]
DEFAULT_URL = "http://127.0.0.1:4437/v1/stream/orders"


def examples(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


GUIDE = examples((PACKAGE.parent / "docs/python.md").read_text("utf-8"))
DEFAULT_ROOT = "http://127.0.0.1:4437/v1/stream"


def example(beginning: str) -> str:
    found = [it for it in GUIDE if it.startswith(beginning)]
    assert len(found) == 1, f"docs/python.md has one example that begins with {beginning!r}"
    return found[0]


def run(code: str, url: str, **names: Any) -> dict[str, Any]:
    """Runs an example against a stream of its own."""
    names.setdefault("url", url)
    exec(compile(code.replace(DEFAULT_URL, url), "example", "exec"), names)
    return names


def closing(handle: DurableStream, seen: list[Any]) -> Callable[..., None]:
    """For `print` and the like: ends the live read of an example, which would go on for ever."""

    def see(*values: Any) -> None:
        seen.append(values[0])
        handle.close_stream()

    return see


def test_nothing_in_the_guide_is_left_out() -> None:
    assert len(GUIDE) == 9


def test_write(url: str) -> None:
    run(example("from everstream import DurableStream\n"), url)
    with everstream.stream(url) as response:
        assert response.read_json() == [{"order": 1}, {"order": 2}, "three"]
        assert response.stream_closed


def test_producer(url: str) -> None:
    orders = DurableStream.create(url, content_type=JSON)
    printed: list[Any] = []
    run(example("with orders.producer"), url, orders=orders, print=printed.append)
    assert orders.stream(live=False).read_json() == [{"order": 4}]
    assert printed == [orders.head().offset]


async def test_asyncio_producer(url: str) -> None:
    orders = await AsyncDurableStream.create(url, content_type=JSON)
    code = textwrap.indent(example("async with orders.producer"), "    ")
    names = run(f"async def main():\n{code}    return receipt", url, orders=orders)
    assert (await asyncio.wait_for(names["main"](), 20)).duplicate is False
    async with orders.stream(live=False) as response:
        assert await response.read_json() == [{"order": 5}, {"order": 6}]


def test_read(url: str) -> None:
    orders = DurableStream.create(url, content_type=JSON, body=[{"order": 1}])
    seen: list[Any] = []
    run(example("from everstream import stream\n"), url, orders=orders, print=closing(orders, seen))
    assert seen == [{"order": 1}]


def test_read_with_a_store(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    orders = DurableStream.create(url, content_type=JSON, body=[{"order": 1}])
    seen: list[Any] = []
    for _ in range(2):
        run(example("from everstream import FileCheckpoints"), url, process=closing(orders, seen))
    assert seen == [{"order": 1}], "the second run goes on after the first"


def test_settings(url: str) -> None:
    code = example("from everstream import Client")
    # Files and a proxy that are not there; tests/behaviour/test_tls_and_proxy.py has real ones.
    for elsewhere in ('verify="ca.pem", cert="client.pem", ', 'proxy="http://proxy:3128", '):
        assert elsewhere in code
        code = code.replace(elsewhere, "")
    names = run(f"{code}\nhandle = DurableStream(url, client=client)", url, token=lambda: "t")
    assert isinstance(names["client"], Client)
    assert names["handle"].create_stream().created


def test_fixtures(durable_stream_server: Server, url: str) -> None:
    names = run(example("def test_orders"), url, DurableStream=DurableStream)
    names["test_orders"](durable_stream_server, url)
    assert DurableStream(url).head().exists


def test_language_models(url: str) -> None:
    fastapi = pytest.importorskip("fastapi", reason="pip install -r tests/requirements.txt")
    app = fastapi.FastAPI()
    run(example("from everstream.ai"), url, app=app, Request=fastapi.Request, AsyncDurableStream=AsyncDurableStream)
    routes = {(method, route.path) for route in app.routes for method in getattr(route, "methods", None) or ()}
    assert {(method, "/chats/{chat}") for method in ("POST", "GET", "DELETE")} <= routes


def test_work(server: Server, url: str) -> None:
    root, name = url.rpartition("/")[::2]
    DurableStream.create(f"{root}/{name}-wakes", content_type=JSON)
    code = example("from everstream import Subscriptions").replace(DEFAULT_ROOT, root)
    for general, own in {"workers": f"{name}-workers", "wakes": f"{name}-wakes", "jobs/**": f"{name}/**"}.items():
        code = code.replace(f'"{general}"', f'"{own}"')
    # What is there before the subscription is not replayed; the example makes it, and waits.
    timer = threading.Timer(0.05, lambda: DurableStream.create(f"{root}/{name}/a", content_type=JSON, body=[1, 2]))
    timer.start()
    seen: list[Any] = []

    def process(path: str, jobs: list[Any]) -> None:
        seen.extend(jobs)
        raise Enough

    with pytest.raises(Enough):
        run(code, url, process=process)
    timer.join()
    assert seen == [1, 2]


class Enough(Exception):
    """Ends an example that would go on for ever."""


SUBSCRIPTIONS = examples((PACKAGE.parent / "docs/subscriptions.md").read_text("utf-8"))


def worker_example(beginning: str) -> str:
    (found,) = [it for it in SUBSCRIPTIONS if it.startswith(beginning)]
    return found


def test_nothing_about_subscriptions_is_left_out() -> None:
    assert len(SUBSCRIPTIONS) == 3


def test_a_receiver_of_webhooks(server: Server, url: str) -> None:
    root, name = url.rpartition("/")[::2]
    code = worker_example("from everstream import InvalidSignatureError").replace(DEFAULT_ROOT, root)
    assert code.count('"mailer"') == 1
    bodies: queue.Queue[str] = queue.Queue()
    seen: list[Any] = []
    names = run(
        code.replace('"mailer"', f'"{name}"'), url, queue=bodies, process=lambda path, message: seen.append((path, message))
    )
    with Receiver(202, b"") as receiver:
        subscriptions = Subscriptions(root)
        subscriptions.create(name, pattern=f"{name}/*", webhook=receiver.url)
        DurableStream.create(f"{root}/{name}/a", content_type=JSON, body=[1, 2])
        signature, body = receiver.next()
        assert names["hook"]({"webhook-signature": signature}, body + b" ") == (401, "")
        assert names["hook"]({}, body) == (401, "")
        assert names["hook"]({"webhook-signature": signature}, body) == (202, "")
        names["work"](bodies.get_nowait())
        assert seen == [(f"{name}/a", 1), (f"{name}/a", 2)]
        tail = DurableStream(f"{root}/{name}/a").head().offset
        assert [stream.acked_offset for stream in subscriptions.get(name).streams] == [tail]


def prepared(server: Server, url: str) -> Subscriptions:
    """A subscription as the examples of workers have it, with work."""
    root, name = url.rpartition("/")[::2]
    DurableStream.create(f"{root}/{name}-wakes", content_type=JSON)
    subscriptions = Subscriptions(root)
    subscriptions.create(f"{name}-workers", pattern=f"{name}/*", wake_stream=f"{name}-wakes")
    DurableStream.create(f"{root}/{name}/a", content_type=JSON, body=[1])
    return subscriptions


def test_a_worker(server: Server, url: str) -> None:
    root, name = url.rpartition("/")[::2]
    subscriptions = prepared(server, url)
    code = worker_example("from everstream import Subscriptions").replace(DEFAULT_ROOT, root)
    seen: list[Any] = []

    def process(path: str, job: Any) -> None:
        seen.append((path, job))
        if job == 2:
            raise Enough
        DurableStream.create(f"{root}/{name}/b", content_type=JSON, body=[2])

    with pytest.raises(Enough):
        run(code.replace('"workers"', f'"{name}-workers"'), url, process=process)
    assert seen == [(f"{name}/a", 1), (f"{name}/b", 2)]
    acked = {stream.path: stream.acked_offset for stream in subscriptions.get(f"{name}-workers").streams}
    assert acked == {f"{name}/a": DurableStream(f"{root}/{name}/a").head().offset, f"{name}/b": "-1"}


async def test_a_worker_with_asyncio(server: Server, url: str) -> None:
    root, name = url.rpartition("/")[::2]
    prepared(server, url)
    code = worker_example("from everstream import AsyncSubscriptions").replace(DEFAULT_ROOT, root)
    code = textwrap.indent(code.replace('"workers"', f'"{name}-workers"'), "    ")
    seen: list[Any] = []

    async def process(path: str, job: Any) -> None:
        seen.append((path, job))
        raise Enough

    names = run(f"async def main():\n{code}", url, process=process)
    with pytest.raises(Enough):
        await asyncio.wait_for(names["main"](), 20)
    assert seen == [(f"{name}/a", 1)]


def test_readme(url: str) -> None:
    (code,) = examples((PACKAGE / "README.md").read_text("utf-8"))
    seen: list[Any] = []
    run(code, url, print=closing(DurableStream(url), seen))
    assert seen == [{"order": 1}]
