"""Clients: connections, and what all their streams share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from . import _native
from ._logging import follow_logging
from ._settings import as_timeout, check_type, merge, refuse_foreign_client
from .types import AsyncHeadersLike, AsyncOnError, AsyncParamsLike, HeadersLike, ListedStream, OnError, ParamsLike, Retry, Timeout

if TYPE_CHECKING:
    from .ahandle import AsyncDurableStream, AsyncStreamSession
    from .asubscriptions import AsyncSubscriptions
    from .handle import DurableStream
    from .response import StreamResponse
    from .subscriptions import Subscriptions


class _ClientBase:
    """Settings of both clients. Picklable: the copy has connections of its own."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._arguments = {name: value for name, value in arguments.items() if name not in ("self", "__class__")}
        given = self._arguments
        verify = given["verify"]
        if verify is False:
            raise ValueError("verify=False is not supported: give verify= the path of a PEM file with your CA")
        self.headers = given["headers"]
        self.params = given["params"]
        self.timeout = as_timeout(given["timeout"])
        self.retry: Retry | None = given["retry"]
        self.on_error = given["on_error"]
        follow_logging()
        settings = {name: given[name] for name in ("base_url", "proxy", "trust_env", "http2", "gzip")}
        self._native = _native.Client(
            {
                **settings,
                "connect_timeout": self.timeout.connect,
                "roots": None if verify is True else _read(verify),
                "identity": _read(given["cert"]),
            }
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (_remake, (type(self), self._arguments))


class Client(_ClientBase):
    """Connections that many streams share, for the blocking API.

    Every argument is optional.

    Args:
        base_url: What stream URLs that start with `/` are joined to.
        headers: Headers of every request; functions are asked anew for each.
        params: Query parameters of every request; functions are asked anew for each.
        timeout: `everstream.Timeout`, or the limit of one try in seconds.
        retry: When failed requests are tried again.
        verify: `True` for the system's certificates (and `SSL_CERT_FILE`), or a PEM file with more.
        cert: A PEM file with a client certificate and its key.
        proxy: URL of a proxy; default is what the environment says.
        trust_env: Whether `HTTP_PROXY` and the like are heeded.
        http2: Speak HTTP/2 without TLS; over TLS it is negotiated anyway.
        gzip: Offer gzip for answers.
        on_error: See `stream`.

    A forked child makes connections of its own.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        headers: HeadersLike | None = None,
        params: ParamsLike | None = None,
        timeout: float | Timeout | None = None,
        retry: Retry | None = None,
        verify: bool | str | os.PathLike[str] = True,
        cert: str | os.PathLike[str] | None = None,
        proxy: str | None = None,
        trust_env: bool = True,
        http2: bool = False,
        gzip: bool = False,
        on_error: OnError | None = None,
    ) -> None:
        super().__init__(locals())

    def handle(self, url: str, **options: Any) -> DurableStream:
        """A `DurableStream` over these connections; options as there."""
        from .handle import DurableStream

        return DurableStream(url, client=self, **options)

    def stream(self, url: str, **options: Any) -> StreamResponse[Any]:
        """`everstream.stream` over these connections; options as there."""
        from .handle import stream

        return stream(url, client=self, **options)

    def list(self, root: str, prefix: str = "") -> list[ListedStream]:
        """The streams below a root such as `http://127.0.0.1:4437/v1/stream`, by name. Our servers can, others not."""
        return [ListedStream(*row) for row in self._native.list(True, root, prefix)]

    def subscriptions(self, root: str, **options: Any) -> Subscriptions:
        """`Subscriptions` over these connections; options as there."""
        from .subscriptions import Subscriptions

        return Subscriptions(root, client=self, **options)

    def close(self) -> None:
        """Nothing to do: idle connections end by themselves. Here for code that expects it."""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()


class AsyncClient(_ClientBase):
    """Connections that many streams share, for the asyncio API. Arguments as for `Client`; functions among them may
    be coroutine functions."""

    def __init__(
        self,
        *,
        base_url: str | None = None,
        headers: AsyncHeadersLike | None = None,
        params: AsyncParamsLike | None = None,
        timeout: float | Timeout | None = None,
        retry: Retry | None = None,
        verify: bool | str | os.PathLike[str] = True,
        cert: str | os.PathLike[str] | None = None,
        proxy: str | None = None,
        trust_env: bool = True,
        http2: bool = False,
        gzip: bool = False,
        on_error: AsyncOnError | None = None,
    ) -> None:
        super().__init__(locals())

    def handle(self, url: str, **options: Any) -> AsyncDurableStream:
        """An `AsyncDurableStream` over these connections; options as there."""
        from .ahandle import AsyncDurableStream

        return AsyncDurableStream(url, client=self, **options)

    def stream(self, url: str, **options: Any) -> AsyncStreamSession:
        """`everstream.astream` over these connections; options as there."""
        from .ahandle import astream

        return astream(url, client=self, **options)

    async def list(self, root: str, prefix: str = "") -> list[ListedStream]:
        """As `Client.list`."""
        return [ListedStream(*row) for row in await self._native.list(False, root, prefix)]

    def subscriptions(self, root: str, **options: Any) -> AsyncSubscriptions:
        """`AsyncSubscriptions` over these connections; options as there."""
        from .asubscriptions import AsyncSubscriptions

        return AsyncSubscriptions(root, client=self, **options)

    async def aclose(self) -> None:
        """Nothing to do: idle connections end by themselves. Here for code that expects it."""

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *args: object) -> None:
        await self.aclose()


def client_for(
    client: object, expected: type[Client] | type[AsyncClient], timeout: Timeout
) -> Client | AsyncClient:
    """The client given; else the one that all with the same connect timeout share."""
    if client is None:
        key = (expected, timeout.connect)
        shared = _shared.get(key)
        if shared is None:
            shared = _shared[key] = expected(timeout=Timeout(connect=timeout.connect))
        return shared
    if isinstance(client, expected):
        return client
    refuse_foreign_client(client, expected.__name__)


_shared: dict[tuple[type[Client] | type[AsyncClient], float | None], Client | AsyncClient] = {}


def native_stream(
    client: _ClientBase,
    url: str,
    *,
    headers: Any = None,
    params: Any = None,
    content_type: str | None = None,
    timeout: Timeout,
    retry: dict[str, Any] | None = None,
    on_error: Any = None,
    batching: bool = True,
    idempotent: bool = False,
    encode: Any = None,
) -> _native.Stream:
    """The native handle: the client's settings with the handle's over them."""
    check_type("url", url, str)
    follow_logging()
    return _native.Stream(
        client._native,
        url,
        {
            **manner(client, headers=headers, params=params, timeout=timeout, retry=retry, on_error=on_error),
            "content_type": content_type,
            "batching": batching,
            "idempotent": idempotent,
            "encode": encode,
        },
    )


def manner(
    client: _ClientBase,
    *,
    headers: Any,
    params: Any,
    timeout: Timeout,
    retry: dict[str, Any] | None,
    on_error: Any,
) -> dict[str, Any]:
    """How requests are made, as the native module takes it: the client's settings with a handle's over them."""
    return {
        "headers": merge(client.headers, headers),
        "params": merge(client.params, params),
        "read_timeout": timeout.read if timeout.read is not None else client.timeout.read,
        "retry": retry,
        "on_error": on_error if on_error is not None else client.on_error,
        "asynchronous": isinstance(client, AsyncClient),
    }


def _read(path: str | os.PathLike[str] | None) -> bytes | None:
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()


def _remake(cls: type[Client] | type[AsyncClient], arguments: dict[str, Any]) -> Client | AsyncClient:
    return cls(**arguments)
