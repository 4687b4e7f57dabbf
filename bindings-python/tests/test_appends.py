"""Appends: what is stored of what is given, in which order, and under which faults."""

from __future__ import annotations

import array
import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from everstream import (
    AsyncDurableStream,
    BadRequestError,
    ContentTypeConflictError,
    InvalidArgumentError,
    NetworkError,
    NotSupportedError,
    Retry,
    SeqConflictError,
    ServerError,
)
from everstream.testing import Server
from faces import Face
from scripted import Answer, Request, ScriptedServer
from support import BYTES, JSON, QUICK, TEXT, stored

Proxy = Callable[..., ScriptedServer]


# Append: what is stored


JSON_VALUES = [
    {"a": [1, {"b": None}], "ключ": 'é\n"\\\u2028'},
    {},
    {7: "int", 2.5: "float", True: "bool", None: "none"},
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
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("value", JSON_VALUES, ids=lambda value: repr(value)[:24])
def test_a_value_comes_back_from_a_json_stream(face: Face, url: str, value: Any) -> None:
    handle = face.create(url, content_type=JSON)
    handle.append(value)
    handle.append_json(value)
    back = stored(face, url)
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
    assert stored(face, url) == [{"a": 1}, [1, 2], "text", '{"a": 1}', "plain"]


@pytest.mark.parametrize("data", ["hello", b"{", "{}{}", "[1,]", "NaN", "'a'", b"\xff", "[1] trailing", " "])
def test_what_is_not_json_never_reaches_a_json_stream(face: Face, url: str, data: Any) -> None:
    handle = face.create(url, content_type=JSON)
    with pytest.raises(InvalidArgumentError, match="JSON"):
        handle.append(data)
    assert stored(face, url) == []


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
    assert not stored(face, url)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [-float("inf")], {"a": float("nan")}])
def test_numbers_that_json_has_not_are_refused(face: Face, url: str, value: Any) -> None:
    handle = face.create(url, content_type=JSON)
    with pytest.raises(ValueError, match="no JSON form"):
        handle.append(value)
    with pytest.raises(ValueError, match="no JSON form"):
        handle.append_json(value)
    assert stored(face, url) == []


def test_values_that_contain_themselves_are_refused(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    cyclic_list: list[Any] = []
    cyclic_list.append({"self": cyclic_list})
    cyclic_dict: dict[str, Any] = {}
    cyclic_dict["self"] = cyclic_dict
    for value in (cyclic_list, cyclic_dict):
        with pytest.raises((ValueError, RecursionError), match="contains itself"):
            handle.append(value)
    assert stored(face, url) == []


@pytest.mark.parametrize("value", [object(), {1, 2}, {"a": object()}, {(1, 2): 3}, 1j])
def test_values_without_a_json_form_are_refused(face: Face, url: str, value: Any) -> None:
    handle = face.create(url, content_type=JSON)
    with pytest.raises(TypeError):
        handle.append(value)
    assert stored(face, url) == []


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
    assert stored(face, url) == b"\x00\xff"


def test_a_buffer_of_wider_items_is_its_bytes(face: Face, url: str) -> None:
    data = array.array("i", [1, -2, 3])
    face.create(url).append(data)
    assert stored(face, url) == data.tobytes()


@pytest.mark.parametrize("content_type", [TEXT, BYTES])
def test_text_is_stored_as_utf8(face: Face, url: str, content_type: str) -> None:
    handle = face.create(url, content_type=content_type)
    handle.append("é€😀")
    with face.stream(url, live=False) as res:
        assert res.read_bytes() == "é€😀".encode()


def test_a_lone_surrogate_cannot_be_text(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT)
    with pytest.raises(ValueError):
        handle.append("\ud800")
    assert stored(face, url) == ""


@pytest.mark.parametrize("content_type", [TEXT, JSON])
@pytest.mark.parametrize("data", ["", b""])
def test_an_empty_append_is_refused(face: Face, url: str, content_type: str, data: Any) -> None:
    handle = face.create(url, content_type=content_type)
    with pytest.raises((BadRequestError, InvalidArgumentError)):
        handle.append(data)
    assert handle.head().offset == face.connect(url).head().offset
    assert stored(face, url) in ([], "")


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
    assert stored(face, url) == [{"order": 1}, "other", {"as": "it is"}]


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
    assert stored(face, url) == []


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
    assert stored(face, url) == "ac"


def test_content_type_of_one_append(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT)
    with pytest.raises(ContentTypeConflictError):
        handle.append("{}", content_type=JSON)
    handle.append("a", content_type=TEXT)
    assert stored(face, url) == "a"


@pytest.mark.parametrize("content_type", [TEXT, JSON])
async def test_appends_of_one_handle_are_stored_in_the_order_of_the_calls(url: str, content_type: str) -> None:
    handle = await AsyncDurableStream.create(url, content_type=content_type)
    messages = [b"%d" % (1000 + n) for n in range(50)]
    results = await asyncio.gather(*[handle.append(message) for message in messages])
    offsets = [result.next_offset for result in results]
    assert offsets == sorted(offsets, key=str)
    async with handle.stream(live=False) as res:
        assert await res.read_bytes() == (b"".join(messages) if content_type == TEXT else b"[%s]" % b",".join(messages))


@pytest.mark.parametrize(("batching", "at_most"), [(True, 10), (False, 30)])
def test_batching_shares_posts(face: Face, proxy: Proxy, url: str, batching: bool, at_most: int) -> None:
    face.create(url, content_type=JSON)
    through = proxy()
    handle = face.handle(through.through(url), content_type=JSON, batching=batching)
    raw = getattr(handle, "raw", handle)
    results = face.together(*[lambda n=n: raw.append({"n": n}) for n in range(30)])  # type: ignore[misc]
    assert all(result.next_offset for result in results)
    assert sorted(item["n"] for item in stored(face, url)) == list(range(30))
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
    assert sorted(item["n"] for item in stored(face, url)) == [1, 2]


# Append: faults


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429, "retry_after": 0}, {"status": 500}])
def test_a_plain_append_survives_answers_that_stored_nothing(
    face: Face, server: Server, url: str, path: str, fault: dict[str, Any]
) -> None:
    handle = face.create(url, content_type=TEXT, retry=QUICK)
    server.inject_fault(path, fault, method="POST", count=2)
    handle.append("a")
    assert stored(face, url) == "a"


def test_a_plain_append_is_not_sent_again_after_500_when_that_is_not_wished(
    face: Face, server: Server, url: str, path: str
) -> None:
    handle = face.create(url, content_type=TEXT, retry=Retry(retry_appends_on_5xx=False))
    server.inject_error(path, 500)
    with pytest.raises(ServerError) as raised:
        handle.append("a")
    assert raised.value.outcome_unknown
    assert stored(face, url) == ""


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
    assert stored(face, url) == (["a", "b"] if content_type == JSON else '"a""b"')
    assert (first.duplicate, second.duplicate) == (True, False)


def test_idempotent_appends_made_at_once_are_stored_once(face: Face, server: Server, url: str, path: str) -> None:
    face.create(url, content_type=JSON)
    handle = face.handle(url, content_type=JSON, idempotent=True, retry=Retry(initial_delay=0.001, max_delay=0.002))
    raw = getattr(handle, "raw", handle)
    server.inject_fault(path, drop_connection=True, method="POST", count=3)
    results = face.together(*[lambda n=n: raw.append(n) for n in range(20)])  # type: ignore[misc]
    assert [result for result in results if isinstance(result, Exception)] == []
    assert sorted(stored(face, url)) == list(range(20))


def test_a_plain_append_whose_answer_is_lost_is_not_sent_again(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=TEXT)
    through = proxy(lambda request: Answer(drop_after=True))
    with pytest.raises(NetworkError) as raised:
        face.handle(through.through(url), content_type=TEXT).append("a")
    assert raised.value.outcome_unknown
    assert through.count("POST") == 1
    assert stored(face, url) == "a"


# append_stream


def test_append_stream_is_one_append_of_many_pieces(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=TEXT)
    through = proxy()
    result = face.handle(through.through(url), content_type=TEXT).append_stream(iter(["a", b"b", bytearray(b"c"), "é"]))
    assert stored(face, url) == "abcé"
    assert through.count("POST") == 1
    assert result.next_offset == face.handle(url).head().offset


def test_append_stream_of_json_is_one_text(face: Face, url: str) -> None:
    face.create(url, content_type=JSON).append_stream(['[{"a":', "1},", '{"b":2}]'])
    assert stored(face, url) == [{"a": 1}, {"b": 2}]


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
    assert stored(face, url) == ""


def test_append_stream_of_something_else_is_a_type_error(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT)
    with pytest.raises(TypeError, match="str or bytes"):
        handle.append_stream(["a", 7])
    assert stored(face, url) == ""


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
