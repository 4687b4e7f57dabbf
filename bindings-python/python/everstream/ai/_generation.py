"""A model's answer on its way into a stream."""

from __future__ import annotations

import asyncio
import inspect
import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar, Union

from ..ahandle import AsyncDurableStream
from ..errors import BufferFullError, DurableStreamError, StreamClosedError
from ..producer import IdempotentProducer
from ._text import Joiner, is_json, text_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")

Tokens = Union[AsyncIterable[T], Awaitable[AsyncIterable[T]]]
"""Where tokens come from: an async iterable, or the call that gives one, not awaited yet."""


class Options(TypedDict, total=False):
    """How tokens are stored; see `Generation`."""

    encode: Callable[[Any], Any] | None
    close: bool
    describe_error: Callable[[Exception], Any]
    linger_ms: float


def describe(error: Exception) -> Any:
    """The last message of an answer that failed: what kind of error it was. Its text is for logs, not for readers."""
    return {"error": {"type": type(error).__name__}}


class Generation(Generic[T]):
    """Writes a model's answer into a stream, in a task of its own that starts at once and needs no one to listen.

    Each token is stored exactly once and in order, as it comes; the end of the answer closes the stream. It goes on
    when the request that started it is over or cancelled, and nobody need keep the object. It ends before its time

    - by `stop()`;
    - when the stream is closed from outside: `await AsyncDurableStream(url).close_stream()` is a stop button that works
      from every process. Readers see the end at once, the model is stopped when its next token cannot be stored;
    - when the event loop ends.

    The source is then cancelled and closed, and with it the connection to the model, so that it stops to cost. What
    came before is stored, and the stream closed.

    Await it for the text: `text = await generation`. Cancelling that wait does not stop it. Loop over it for the tokens
    themselves, from now on (all of them, if nothing was awaited since it was made); leaving the loop does not stop it
    either.

    Args:
        tokens: An async iterable of str, of OpenAI's chunks or events, of dicts, or of anything with `encode`; or the
            call that gives one, not awaited yet: then its failure is told to readers as well, and it can be stopped
            before the model begins to answer.
        stream: The stream, which exists: its URL, or a handle.
        encode: Makes of a token what is appended, by the rules of `append`; `None` is nothing. Default: of a JSON
            stream, `{"text": ...}` for a str, JSON for a pydantic model, other values as they are; of any other
            stream, `text_of(token)`. Bytes go as they are.
        close: Whether the end of the answer closes the stream. `False` for several answers in one.
        describe_error: Makes the last message of a JSON stream when the source fails; `None` is none. Default:
            `{"error": {"type": "RateLimitError"}}`. Other streams have nowhere to tell it.
        linger_ms: How long a token waits for others to share its request.

    Raises:
        Awaiting it raises what the source raised, and `StreamNotFoundError` and other errors that kept tokens from
        being stored. Being stopped is none.
    """

    def __init__(
        self,
        tokens: Tokens[T],
        stream: str | AsyncDurableStream,
        *,
        encode: Callable[[T], Any] | None = None,
        close: bool = True,
        describe_error: Callable[[Exception], Any] = describe,
        linger_ms: float = 5,
    ) -> None:
        if not hasattr(tokens, "__aiter__") and not inspect.isawaitable(tokens):
            raise TypeError(f"tokens must be an async iterable, or an awaitable of one, not {type(tokens).__name__}")
        self._source = tokens
        self._stream = AsyncDurableStream(stream) if isinstance(stream, str) else stream
        self._encode = encode
        self._close = close
        self._describe_error = describe_error
        self._linger_ms = linger_ms
        self._producer: IdempotentProducer | None = None
        self._is_json = False
        self._joiner = Joiner()
        self._parts: list[str] = []
        self._listeners: list[asyncio.Queue[T | _End]] = []
        self._stopped = False
        self._reading = True
        self._interrupted = False
        self._task = asyncio.get_running_loop().create_task(self._run())
        # The event loop alone would not keep it alive.
        _running.add(self._task)
        self._task.add_done_callback(self._ended)

    @property
    def url(self) -> str:
        """The stream's URL."""
        return self._stream.url

    @property
    def text(self) -> str:
        """The text so far, or at the end all of it."""
        return "".join(self._parts)

    @property
    def done(self) -> bool:
        """Whether it is over: the stream holds what there is, and is closed."""
        return self._task.done()

    @property
    def stopped(self) -> bool:
        """Whether it was ended before its time, in whichever way."""
        return self._stopped

    async def stop(self) -> None:
        """Stops the model and closes the stream; when it returns that is done. Of one that is over it does nothing.

        Raises as awaiting it does. Cancelled, the stopping goes on.
        """
        if self._task.done():
            return
        # A task that is cancelled before its first step never runs, and would close nothing.
        await asyncio.sleep(0)
        self._interrupt()
        await self

    def __await__(self) -> Generator[Any, None, str]:
        return asyncio.shield(self._task).__await__()

    def __aiter__(self) -> AsyncIterator[T]:
        queue: asyncio.Queue[T | _End] = asyncio.Queue()
        if self._task.done():
            queue.put_nowait(_END)
        else:
            self._listeners.append(queue)
        return self._listen(queue)

    async def _listen(self, queue: asyncio.Queue[T | _End]) -> AsyncGenerator[T, None]:
        try:
            while not isinstance(token := await queue.get(), _End):
                yield token
            await self
        finally:
            with suppress(ValueError):
                self._listeners.remove(queue)

    async def _run(self) -> str:
        failure: Exception | None = None
        try:
            await self._read()
        except asyncio.CancelledError:
            self._stopped = True
        except Exception as error:
            failure = error
        self._reading = False
        if self._producer is not None:
            failure = await self._finish(self._producer, failure)
        if failure is not None:
            raise failure
        return self.text

    async def _read(self) -> None:
        source: Any = self._source
        try:
            self._is_json = is_json(self._stream.content_type or (await self._stream.head()).content_type)
            self._producer = IdempotentProducer(
                self._stream, f"generation-{uuid.uuid4()}", linger_ms=self._linger_ms, on_error=self._not_stored
            )
            if not hasattr(source, "__aiter__"):
                source = await source
            async for token in source:
                await self._take(self._producer, token)
        finally:
            await _release(source)

    async def _take(self, producer: IdempotentProducer, token: T) -> None:
        text = self._joiner.add(text_of(token))
        message = self._encode(token) if self._encode is not None else self._message(token, text)
        if message is not None and message != "":
            try:
                producer.append(message)
            except BufferFullError:
                await producer.send(message)
        self._parts.append(text)
        for queue in self._listeners:
            queue.put_nowait(token)

    def _message(self, token: Any, text: str) -> Any:
        """What is stored of a token unless `encode` says otherwise."""
        if isinstance(token, _BYTES):
            return token
        if not self._is_json:
            return text
        if isinstance(token, str):
            return {"text": text} if text else None
        if hasattr(token, "model_dump_json"):
            # Models with `to_dict` are those of generated SDKs such as openai's, whose answers leave much unset.
            return token.model_dump_json(by_alias=True, exclude_unset=hasattr(token, "to_dict"))
        return token

    def _not_stored(self, _error: Exception) -> None:
        # The producer raises it once more when it is closed.
        self._interrupt()

    def _interrupt(self) -> None:
        """Cancels the reading, once: a second time would cut short the closing of the source."""
        if self._reading and not self._interrupted:
            self._interrupted = True
            self._task.cancel()

    async def _finish(self, producer: IdempotentProducer, failure: Exception | None) -> Exception | None:
        """Stores what is left and closes the stream; gives what is to be raised."""
        last = None
        if failure is not None and self._is_json and (described := self._describe_error(failure)) is not None:
            last = json.dumps(described)
        try:
            if self._close:
                await producer.close_stream(last)
            else:
                if last is not None:
                    producer.append(last)
                await producer.close()
        except StreamClosedError:
            # Closed from outside, which is as good as `stop()`.
            self._stopped = True
            return None if isinstance(failure, StreamClosedError) else failure
        except DurableStreamError as error:
            self._stopped = False
            raise error from failure
        finally:
            if not producer.closed:
                with suppress(DurableStreamError):
                    await producer.close()
        return failure

    def _ended(self, task: asyncio.Task[str]) -> None:
        _running.discard(task)
        for queue in self._listeners:
            queue.put_nowait(_END)

    def __repr__(self) -> str:
        state = "stopped" if self._stopped else "done" if self.done else "running"
        return f"<Generation into {self.url}, {state}>"


def tee(tokens: Tokens[T], stream: str | AsyncDurableStream, **options: Unpack[Options]) -> AsyncIterator[T]:
    """Gives tokens on as they come, and stores them: `async for token in tee(tokens, stream)`.

    Starts at once. The storing goes on when the loop is left early or cancelled, such as by a client that went away;
    see `Generation`, whose arguments and errors it has. When the loop has ended everything is stored.
    """
    return aiter(Generation(tokens, stream, **options))


async def record(tokens: Tokens[Any], stream: str | AsyncDurableStream, **options: Unpack[Options]) -> str:
    """Stores all tokens and gives the text.

    Arguments and errors are those of `Generation`. Cancelled, it stops the source and closes the stream.
    """
    generation = Generation(tokens, stream, **options)
    try:
        return await generation
    except asyncio.CancelledError:
        await generation.stop()
        raise


async def _release(source: Any) -> None:
    """Closes what tokens come from; of an HTTP response this hangs up."""
    close = getattr(source, "aclose", None) or getattr(source, "close", None)
    if close is not None:
        closed = close()
        if inspect.isawaitable(closed):
            await closed


class _End:
    """After the last token."""


_END = _End()
_BYTES: tuple[type, ...] = (bytes, bytearray, memoryview)
_running: set[asyncio.Task[str]] = set()
