"""Every operation of a handle: create, connect, head, append in all its forms, close, delete, fork."""

from __future__ import annotations

import array
import asyncio
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from everstream import (
    AsyncDurableStream,
    BadRequestError,
    CloseResult,
    ContentTypeConflictError,
    DurableStreamError,
    InvalidArgumentError,
    NetworkError,
    NotSupportedError,
    Retry,
    SeqConflictError,
    ServerError,
    StreamClosedError,
    StreamExistsError,
    StreamNotFoundError,
)
from everstream.testing import Server
from faces import Face
from scripted import Answer, Request, ScriptedServer
from support import BYTES, JSON, QUICK, TEXT

Proxy = Callable[..., ScriptedServer]


def contents(face: Face, url: str) -> Any:
    with face.stream(url, live=False) as res:
        return res.read_json() if res.content_type == JSON else res.read_bytes()


# Create, connect, head, delete


def test_create_makes_the_stream_and_says_so(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    assert (handle.url, handle.content_type, handle.created) == (url, JSON, True)
    assert face.create(url, content_type=JSON).created is False
    assert face.handle(url).created is None


def test_create_stream_gives_a_result(face: Face, url: str) -> None:
    result = face.handle(url).create_stream(content_type=TEXT, body="hello")
    assert (result.created, result.content_type, result.stream_closed) == (True, TEXT, False)
    assert result.offset == face.handle(url).head().offset


def test_create_with_another_configuration_is_a_conflict(face: Face, url: str) -> None:
    face.create(url, content_type=JSON)
    with pytest.raises(StreamExistsError) as raised:
        face.create(url, content_type=TEXT)
    assert (raised.value.status, raised.value.operation) == (409, "create")


def test_default_content_type_is_binary(face: Face, url: str) -> None:
    face.create(url)
    assert face.connect(url).content_type == BYTES


def test_content_type_of_the_handle_is_that_of_the_stream_it_creates(face: Face, url: str) -> None:
    face.handle(url, content_type=JSON).create_stream()
    assert face.connect(url).content_type == JSON


@pytest.mark.parametrize(
    ("content_type", "body", "stored"),
    [
        (TEXT, "hé", "hé".encode()),
        (BYTES, b"\x00\xff", b"\x00\xff"),
        (JSON, '[{"a":1},{"a":2}]', [{"a": 1}, {"a": 2}]),
        (JSON, {"a": 1}, [{"a": 1}]),
        (JSON, b"[]", []),
    ],
)
def test_create_with_a_body(face: Face, url: str, content_type: str, body: Any, stored: Any) -> None:
    face.create(url, content_type=content_type, body=body)
    assert contents(face, url) == stored


def test_create_closed(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT, body="all there is", closed=True)
    assert handle.head().stream_closed
    with pytest.raises(StreamClosedError):
        handle.append("more")
    assert contents(face, url) == b"all there is"


def test_lifetimes_are_in_head(face: Face, server: Server, url: str) -> None:
    face.create(url, ttl_seconds=3600)
    assert (face.handle(url).head().ttl_seconds, face.handle(url).head().expires_at) == (3600, None)
    other = f"{url}-deadline"
    face.create(other, expires_at="2099-01-01T00:00:00Z")
    head = face.handle(other).head()
    assert head.ttl_seconds is None
    assert head.expires_at is not None and head.expires_at.startswith("2099-01-01T00:00:00")


def test_connect_finds_out_the_content_type(face: Face, url: str) -> None:
    face.create(url, content_type=JSON)
    handle = face.handle(url)
    assert handle.content_type is None
    assert face.connect(url).content_type == JSON
    handle.head()
    assert handle.content_type == JSON


def test_head_tells_all(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    appended = handle.append({"a": 1})
    head = handle.head()
    assert (head.exists, head.content_type, head.stream_closed) == (True, JSON, False)
    assert head.offset == appended.next_offset
    assert head.etag
    assert handle.close_stream().final_offset == head.offset
    assert handle.head().stream_closed


def test_static_head_and_delete(face: Face, url: str) -> None:
    face.create(url, content_type=TEXT)
    assert face.wait(lambda: face.Handle.head_static(url)).content_type == TEXT
    assert face.wait(lambda: face.Handle.delete_static(url)) is None
    with pytest.raises(StreamNotFoundError):
        face.wait(lambda: face.Handle.head_static(url))
    with pytest.raises(StreamNotFoundError):
        face.wait(lambda: face.Handle.delete_static(url))


@pytest.mark.parametrize(
    "call",
    [
        lambda face, url: face.connect(url),
        lambda face, url: face.handle(url).head(),
        lambda face, url: face.handle(url).delete(),
        lambda face, url: face.handle(url).append("x"),
        lambda face, url: face.handle(url, content_type=TEXT).append("x"),
        lambda face, url: face.handle(url).close_stream(),
        lambda face, url: face.stream(url, live=False),
        lambda face, url: face.handle(url).stream(),
    ],
)
def test_nothing_works_on_a_stream_that_is_not_there(face: Face, url: str, call: Any) -> None:
    with pytest.raises(StreamNotFoundError) as raised:
        call(face, url)
    assert (raised.value.status, raised.value.url) == (404, url)


def test_handles_are_context_managers_that_leave_the_stream_open(face: Face, url: str) -> None:
    with face.create(url, content_type=TEXT) as handle:
        handle.append("a")
    handle.close()
    handle.append("b")
    assert not handle.head().stream_closed


def test_a_pickled_handle_is_the_same_handle(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON, headers={"authorization": "Bearer x"}, idempotent=True)
    raw = getattr(handle, "raw", handle)
    again = pickle.loads(pickle.dumps(raw))
    assert (type(again), again.url, again.content_type) == (type(raw), url, JSON)
    face.wait(lambda: again.append({"a": 1}))
    assert contents(face, url) == [{"a": 1}]
    assert url in repr(again)


def test_url_keeps_repeated_query_parameters(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url)
    through = proxy()
    face.handle(f"{through.through(url)}?tag=a&tag=b", params={"z": "1"}).head()
    assert through.requests[0].raw_query == "tag=a&tag=b&z=1"


# Fork


def test_a_fork_starts_with_what_its_source_holds(face: Face, url: str, path: str) -> None:
    source = face.create(url, content_type=JSON)
    first = source.append(1)
    source.append(2)
    whole = face.create(f"{url}-whole", fork_from=path)
    part = face.create(f"{url}-part", fork_from=path, fork_offset=first.next_offset)
    source.append(3)
    part.append({"else": True})
    assert contents(face, f"{url}-whole") == [1, 2]
    assert contents(face, f"{url}-part") == [1, {"else": True}]
    assert contents(face, url) == [1, 2, 3]
    assert whole.created and whole.head().content_type == JSON


def test_a_fork_can_begin_in_the_middle_of_an_append(face: Face, url: str, path: str) -> None:
    source = face.create(url, content_type=TEXT)
    beginning = source.head().offset
    source.append("hello")
    face.create(f"{url}-fork", fork_from=path, fork_offset=beginning, fork_sub_offset=2)
    assert contents(face, f"{url}-fork") == b"he"


# Append: what is stored


JSON_VALUES = [
    {"a": [1, {"b": None}], "ключ": "é\n\"\\\u2028"},
    {},
    {1: "int", 2.5: "float", True: "bool", None: "none"},
    [],
    [1, [2, [3]]],
    (1, "two", (3,)),
    0,
    -1,
    2**64 + 1,
    -(2**200),
    10**400,
    1.5,
    -0.0,
    1e300,
    5e-324,
    0.1,
    True,
    False,
    None,
]


def plain(value: Any) -> Any:
    """As JSON gives it back: lists for tuples, text for keys."""
    import json

    return json.loads(json.dumps(value))


@pytest.mark.parametrize("value", JSON_VALUES, ids=lambda value: repr(value)[:24])
def test_a_value_comes_back_from_a_json_stream(face: Face, url: str, value: Any) -> None:
    handle = face.create(url, content_type=JSON)
    handle.append(value)
    handle.append_json(value)
    back = contents(face, url)
    assert back == [plain(value), plain(value)]
    assert [type(item) for item in back] == [type(plain(value))] * 2
    assert repr(back[0]) == repr(plain(value))


def test_text_and_bytes_are_json_documents_and_append_json_encodes_them(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    handle.append('{"a": 1}')
    handle.append(b"[1, 2]")
    handle.append('"text"')
    handle.append_json('{"a": 1}')
    handle.append_json("plain")
    assert contents(face, url) == [{"a": 1}, [1, 2], "text", '{"a": 1}', "plain"]


@pytest.mark.parametrize("data", ["hello", b"{", "{}{}", "[1,]", "NaN", "'a'", b"\xff", "[1] trailing", " "])
def test_what_is_not_json_never_reaches_a_json_stream(face: Face, url: str, data: Any) -> None:
    handle = face.create(url, content_type=JSON)
    with pytest.raises(InvalidArgumentError, match="JSON"):
        handle.append(data)
    assert contents(face, url) == []


@pytest.mark.parametrize("content_type", [TEXT, BYTES])
@pytest.mark.parametrize("value", [{"a": 1}, [1], (1,), 1, 1.5, None, True])
def test_a_value_on_a_stream_that_is_not_json_is_a_typed_error(
    face: Face, url: str, content_type: str, value: Any
) -> None:
    handle = face.create(url, content_type=content_type)
    with pytest.raises(NotSupportedError):
        handle.append(value)
    with pytest.raises(NotSupportedError):
        handle.append_json(value)
    assert contents(face, url) == b""


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [-float("inf")], {"a": float("nan")}])
def test_numbers_that_json_has_not_are_refused(face: Face, url: str, value: Any) -> None:
    handle = face.create(url, content_type=JSON)
    with pytest.raises(ValueError, match="no JSON form"):
        handle.append(value)
    with pytest.raises(ValueError, match="no JSON form"):
        handle.append_json(value)
    assert contents(face, url) == []


def test_values_that_contain_themselves_are_refused(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    cyclic_list: list[Any] = []
    cyclic_list.append({"self": cyclic_list})
    cyclic_dict: dict[str, Any] = {}
    cyclic_dict["self"] = cyclic_dict
    for value in (cyclic_list, cyclic_dict):
        with pytest.raises((ValueError, RecursionError), match="contains itself"):
            handle.append(value)
    assert contents(face, url) == []


@pytest.mark.parametrize("value", [object(), {1, 2}, {"a": object()}, {(1, 2): 3}, 1j])
def test_values_without_a_json_form_are_refused(face: Face, url: str, value: Any) -> None:
    handle = face.create(url, content_type=JSON)
    with pytest.raises(TypeError):
        handle.append(value)
    assert contents(face, url) == []


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff",
        bytearray(b"\x00\xff"),
        memoryview(b"\x00\xff"),
        memoryview(b"\x00-\xff-")[::2],
        array.array("B", [0, 255]),
    ],
    ids=["bytes", "bytearray", "memoryview", "strided", "array"],
)
def test_everything_with_a_buffer_is_bytes(face: Face, url: str, data: Any) -> None:
    handle = face.create(url, content_type=BYTES)
    handle.append(data)
    assert contents(face, url) == b"\x00\xff"


def test_a_buffer_of_wider_items_is_its_bytes(face: Face, url: str) -> None:
    data = array.array("i", [1, -2, 3])
    face.create(url).append(data)
    assert contents(face, url) == data.tobytes()


@pytest.mark.parametrize("content_type", [TEXT, BYTES])
def test_text_is_stored_as_utf8(face: Face, url: str, content_type: str) -> None:
    handle = face.create(url, content_type=content_type)
    handle.append("é€😀")
    assert contents(face, url) == "é€😀".encode()


def test_a_lone_surrogate_cannot_be_text(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT)
    with pytest.raises(ValueError):
        handle.append("\ud800")
    assert contents(face, url) == b""


@pytest.mark.parametrize("content_type", [TEXT, JSON])
@pytest.mark.parametrize("data", ["", b""])
def test_an_empty_append_is_refused(face: Face, url: str, content_type: str, data: Any) -> None:
    handle = face.create(url, content_type=content_type)
    with pytest.raises((BadRequestError, InvalidArgumentError)):
        handle.append(data)
    assert handle.head().offset == face.connect(url).head().offset
    assert contents(face, url) in ([], b"")


def test_encode_makes_the_json_of_values(face: Face, url: str) -> None:
    class Order:
        def __init__(self, number: int) -> None:
            self.number = number

    def encode(value: Any) -> str | bytes:
        if isinstance(value, Order):
            return f'{{"order":{value.number}}}'
        return b'"other"'

    handle = face.create(url, content_type=JSON, encode=encode)
    handle.append(Order(1))
    handle.append({"a": 1})
    handle.append('{"as":"it is"}')
    assert contents(face, url) == [{"order": 1}, "other", {"as": "it is"}]


def test_encode_that_fails_or_gives_something_else_stores_nothing(face: Face, url: str) -> None:
    def failing(value: Any) -> str:
        raise KeyError("no encoder")

    face.create(url, content_type=JSON)
    with pytest.raises(KeyError, match="no encoder"):
        face.handle(url, encode=failing).append([1])
    with pytest.raises(TypeError, match="encode"):
        face.handle(url, encode=lambda value: 7).append([1])
    with pytest.raises(InvalidArgumentError):
        face.handle(url, encode=lambda value: "not json").append([1])
    assert contents(face, url) == []


# Append: results and order


def test_append_gives_the_offset_after_it(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT)
    first, second = handle.append("a"), handle.append("b")
    assert first.next_offset < second.next_offset == handle.head().offset
    assert (second.offset, second.duplicate) == (second.next_offset, False)
    with face.stream(url, offset=first.next_offset, live=False) as res:
        assert res.read_text() == "b"


def test_seq_must_grow(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT)
    handle.append("a", seq="002")
    for seq in ("002", "001"):
        with pytest.raises(SeqConflictError):
            handle.append("b", seq=seq)
    handle.append("c", seq="003")
    assert contents(face, url) == b"ac"


def test_content_type_of_one_append(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT)
    with pytest.raises(ContentTypeConflictError):
        handle.append("{}", content_type=JSON)
    handle.append("a", content_type=TEXT)
    assert contents(face, url) == b"a"


@pytest.mark.parametrize(("content_type", "stored"), [(TEXT, b"".join(b'"%03d"' % n for n in range(50))), (JSON, None)])
async def test_appends_of_one_handle_are_stored_in_the_order_of_the_calls(
    url: str, content_type: str, stored: bytes | None
) -> None:
    handle = await AsyncDurableStream.create(url, content_type=content_type)
    results = await asyncio.gather(*[handle.append(f'"{n:03}"') for n in range(50)])
    offsets = [result.next_offset for result in results]
    assert offsets == sorted(offsets, key=str)
    async with handle.stream(live=False) as res:
        assert await res.read_bytes() == (stored or b"[%s]" % b",".join(b'"%03d"' % n for n in range(50)))


@pytest.mark.parametrize(("batching", "at_most"), [(True, 10), (False, 30)])
def test_batching_shares_posts(face: Face, proxy: Proxy, url: str, batching: bool, at_most: int) -> None:
    face.create(url, content_type=JSON)
    through = proxy()
    handle = face.handle(through.through(url), content_type=JSON, batching=batching)
    raw = getattr(handle, "raw", handle)
    results = face.together(*[lambda n=n: raw.append({"n": n}) for n in range(30)])  # type: ignore[misc]
    assert all(result.next_offset for result in results)
    assert sorted(item["n"] for item in contents(face, url)) == list(range(30))
    if batching:
        assert through.count("POST") <= at_most
    else:
        assert through.count("POST") == 30


def test_one_bad_append_fails_alone(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    raw = getattr(handle, "raw", handle)
    good, bad, also_good = face.together(
        lambda: raw.append({"n": 1}), lambda: raw.append("not json"), lambda: raw.append({"n": 2})
    )
    assert isinstance(bad, InvalidArgumentError)
    assert good.next_offset and also_good.next_offset
    assert sorted(item["n"] for item in contents(face, url)) == [1, 2]


# Append: faults


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429, "retry_after": 0}, {"status": 500}])
def test_a_plain_append_survives_answers_that_stored_nothing(
    face: Face, server: Server, url: str, path: str, fault: dict[str, Any]
) -> None:
    handle = face.create(url, content_type=TEXT, retry=QUICK)
    server.inject_fault(path, fault, method="POST", count=2)
    handle.append("a")
    assert contents(face, url) == b"a"


def test_a_plain_append_is_not_sent_again_after_500_when_that_is_not_wished(
    face: Face, server: Server, url: str, path: str
) -> None:
    handle = face.create(url, content_type=TEXT, retry=Retry(retry_appends_on_5xx=False))
    server.inject_error(path, 500)
    with pytest.raises(ServerError) as raised:
        handle.append("a")
    assert raised.value.outcome_unknown
    assert contents(face, url) == b""


class Faults:
    """Spoils the first requests: one stored without an answer, one answered by a gateway, one dropped."""

    def __init__(self) -> None:
        self.left = [Answer(drop_after=True), Answer(502), Answer(drop=True), Answer(500), Answer(429), Answer(503)]

    def __call__(self, request: Request) -> Answer | None:
        return self.left.pop(0) if request.method == "POST" and self.left else None


@pytest.mark.parametrize("content_type", [TEXT, JSON])
def test_idempotent_appends_are_stored_once_whatever_happens(
    face: Face, proxy: Proxy, url: str, content_type: str
) -> None:
    face.create(url, content_type=content_type)
    through = proxy(Faults())
    retry = Retry(initial_delay=0.001, max_delay=0.002)
    handle = face.handle(through.through(url), content_type=content_type, idempotent=True, retry=retry)
    first = handle.append('"a"')
    second = handle.append('"b"')
    assert through.count("POST") == 8
    assert contents(face, url) == (["a", "b"] if content_type == JSON else b'"a""b"')
    assert (first.duplicate, second.duplicate) == (True, False)


def test_idempotent_appends_made_at_once_are_stored_once(face: Face, server: Server, url: str, path: str) -> None:
    face.create(url, content_type=JSON)
    handle = face.handle(url, content_type=JSON, idempotent=True, retry=Retry(initial_delay=0.001, max_delay=0.002))
    raw = getattr(handle, "raw", handle)
    server.inject_fault(path, drop_connection=True, method="POST", count=3)
    results = face.together(*[lambda n=n: raw.append(n) for n in range(20)])  # type: ignore[misc]
    assert [result for result in results if isinstance(result, Exception)] == []
    assert sorted(contents(face, url)) == list(range(20))


def test_a_plain_append_whose_answer_is_lost_is_not_sent_again(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=TEXT)
    through = proxy(lambda request: Answer(drop_after=True))
    with pytest.raises(NetworkError) as raised:
        face.handle(through.through(url), content_type=TEXT).append("a")
    assert raised.value.outcome_unknown
    assert through.count("POST") == 1
    assert contents(face, url) == b"a"


# append_stream


def test_append_stream_is_one_append_of_many_pieces(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=TEXT)
    through = proxy()
    result = face.handle(through.through(url), content_type=TEXT).append_stream(iter(["a", b"b", bytearray(b"c"), "é"]))
    assert contents(face, url) == "abcé".encode()
    assert through.count("POST") == 1
    assert result.next_offset == face.handle(url).head().offset


def test_append_stream_of_json_is_one_text(face: Face, url: str) -> None:
    face.create(url, content_type=JSON).append_stream(['[{"a":', "1},", '{"b":2}]'])
    assert contents(face, url) == [{"a": 1}, {"b": 2}]


def test_append_stream_takes_seq(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT)
    handle.append_stream(["a"], seq="1")
    with pytest.raises(SeqConflictError):
        handle.append_stream(["b"], seq="1")


def test_append_stream_that_raises_raises_that_and_stores_nothing(face: Face, url: str) -> None:
    def pieces() -> Iterator[str]:
        yield "a"
        raise LookupError("the source broke")

    handle = face.create(url, content_type=TEXT)
    with pytest.raises(LookupError, match="the source broke"):
        handle.append_stream(pieces())
    assert contents(face, url) == b""


def test_append_stream_of_something_else_is_a_type_error(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT)
    with pytest.raises(TypeError, match="str or bytes"):
        handle.append_stream(["a", 7])
    assert contents(face, url) == b""


async def test_append_stream_of_an_async_iterator(url: str) -> None:
    async def pieces() -> AsyncIterator[str | bytes]:
        for piece in ("a", b"b", "c"):
            await asyncio.sleep(0)
            yield piece

    async def broken() -> AsyncIterator[str]:
        yield "lost"
        raise LookupError("the source broke")

    handle = await AsyncDurableStream.create(url, content_type=TEXT)
    await handle.append_stream(pieces())
    with pytest.raises(LookupError, match="the source broke"):
        await handle.append_stream(broken())
    async with handle.stream(live=False) as res:
        assert await res.read_text() == "abc"


# Close


def test_close_stream_ends_it_for_everyone(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT)
    appended = handle.append("a")
    closed = handle.close_stream()
    assert closed == CloseResult(appended.next_offset)
    assert handle.close_stream() == closed
    with pytest.raises(StreamClosedError) as raised:
        face.handle(url).append("b")
    assert raised.value.final_offset == closed.final_offset
    assert handle.head().stream_closed


@pytest.mark.parametrize(
    ("content_type", "data", "stored"), [(TEXT, "end", b"end"), (JSON, {"end": 1}, [{"end": 1}]), (JSON, "2", [2])]
)
def test_close_stream_with_data_stores_it_in_the_same_step(
    face: Face, proxy: Proxy, url: str, content_type: str, data: Any, stored: Any
) -> None:
    face.create(url, content_type=content_type)
    through = proxy()
    handle = face.handle(through.through(url), content_type=content_type)
    closed = handle.close_stream(data=data)
    assert through.count("POST") == 1
    assert contents(face, url) == stored
    assert closed.final_offset == handle.head().offset
    with pytest.raises(StreamClosedError):
        handle.close_stream(data=data)
    assert contents(face, url) == stored


def test_close_stream_with_bad_data_leaves_it_open(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    with pytest.raises(DurableStreamError):
        handle.close_stream(data="not json")
    assert not handle.head().stream_closed
