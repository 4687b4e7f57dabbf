"""The examples of docs/python.md and of the package's README run as they stand."""

from __future__ import annotations

import asyncio
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import everstream
from everstream import AsyncDurableStream, Client, DurableStream
from everstream.testing import Server
from support import JSON

PACKAGE = Path(__file__).parents[1]
DEFAULT_URL = "http://127.0.0.1:4437/v1/stream/orders"


def examples(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


GUIDE = examples((PACKAGE.parent / "docs/python.md").read_text("utf-8"))


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
    assert len(GUIDE) == 8


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


def test_readme(url: str) -> None:
    (code,) = examples((PACKAGE / "README.md").read_text("utf-8"))
    seen: list[Any] = []
    run(code, url, print=closing(DurableStream(url), seen))
    assert seen == [{"order": 1}]
