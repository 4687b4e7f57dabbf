"""JSON in both directions: what Python's own parser gives, exactly."""

from __future__ import annotations

import enum
import json
import math
from typing import Any

import pytest

from faces import Face
from support import JSON


def read(face: Face, url: str, how: str = "iter_json") -> list[Any]:
    with face.stream(url, live=False) as res:
        return list(getattr(res, how)())


DOCUMENTS = [
    "0",
    "-0",
    "-0.0",
    "9007199254740993",
    "-9223372036854775809",
    "18446744073709551617",
    "1" + "0" * 400,
    "1.0",
    "0.1",
    "1e5",
    "1E-7",
    "5e-324",
    "1.7976931348623157e308",
    "123456789.123456789123456789",
    '""',
    '"é"',
    r'"\u00e9\n\"\\\/\u0000"',
    r'"\ud83d\ude00"',
    '"\u2028\u2029\u0085\ufeff"',
    r'"\ud800"',
    r'{"\udc00": "\ud800x"}',
    "[]",
    "{}",
    "[[], {}, [[]]]",
    '{"a": 1, "a": 2}',
    '{"": {"": null}}',
    "  \n [ 1 , 2 ]\t",
    "true",
    "false",
    "null",
]


@pytest.mark.parametrize("live", [False, "sse"])
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document[:20])
def test_a_document_is_read_as_python_reads_it(face: Face, url: str, document: str, live: Any) -> None:
    handle = face.create(url, content_type=JSON)
    with face.stream(url, live=live) as res:
        if live:
            items = res.iter_json()
            handle.append("0")
            assert next(items) == 0
            handle.append(document)
            item = next(items)
        else:
            handle.append(document)
            with face.stream(url, live=False) as again:
                (item,) = again.iter_json()
    expected = json.loads(document)
    assert item == expected
    assert (type(item), repr(item)) == (type(expected), repr(expected))


@pytest.mark.parametrize("how", ["iter_json", "read_json"])
def test_integers_of_any_size_are_exact(face: Face, url: str, how: str) -> None:
    handle = face.create(url, content_type=JSON)
    numbers = [2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 2**64 + 1, 10**1000, -(10**1000)]
    for number in numbers:
        handle.append(number)
    assert read(face, url, how) == numbers


def test_every_float_comes_back_as_it_was(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    floats = [0.1, 1 / 3, 1e22, 1e23, 2.5e-308, 5e-324, math.pi, -0.0, 1.7976931348623157e308, 100.0]
    handle.append(floats)
    (back,) = read(face, url)
    assert [number.hex() for number in back] == [number.hex() for number in floats]


def test_lone_surrogates_are_read_and_not_written(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    handle.append(r'"\ud800 and \udfff"')
    assert read(face, url) == ["\ud800 and \udfff"]
    for value in ("\ud800", {"\udfff": 1}, ["\ud800"]):
        with pytest.raises(ValueError):
            handle.append_json(value)
    assert len(read(face, url)) == 1


def nested(depth: int) -> Any:
    value: Any = "core"
    for _ in range(depth):
        value = [value]
    return value


def unwrapped(value: Any) -> tuple[Any, int]:
    depth = 0
    while isinstance(value, list):
        (value,) = value
        depth += 1
    return value, depth


@pytest.mark.parametrize("depth", [1, 100, 250, 500])
def test_deep_nesting_goes_both_ways(face: Face, url: str, depth: int) -> None:
    handle = face.create(url, content_type=JSON)
    handle.append(nested(depth))
    (back,) = read(face, url)
    assert unwrapped(back) == ("core", depth)


def test_nesting_without_measure_is_an_error_and_no_crash(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    with pytest.raises((RecursionError, ValueError)):
        handle.append(nested(100_000))
    handle.append(1)
    assert read(face, url) == [1]


def test_text_without_measure_is_an_error_for_json_and_readable_as_bytes(face: Face, url: str) -> None:
    deep = b"[" * 50_000 + b"]" * 50_000
    handle = face.create(url, content_type=JSON)
    handle.append(deep)
    with face.stream(url, live=False) as res, pytest.raises(RecursionError):
        list(res.iter_json())
    with face.stream(url, live=False) as res:
        assert res.read_bytes() == b"[" + deep + b"]"


class Color(enum.IntEnum):
    RED = 1


class Name(str):
    def __repr__(self) -> str:
        return "not this"

    __str__ = __repr__


class Big(int):
    def __repr__(self) -> str:
        return "not this"

    __str__ = __repr__


class Real(float):
    def __repr__(self) -> str:
        return "not this"


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (Color.RED, 1),
        (Name("x"), "x"),
        (Big(7), 7),
        (Big(2**70), 2**70),
        (Real(1.5), 1.5),
        ({Name("k"): Color.RED}, {"k": 1}),
        (type("List", (list,), {})([1, 2]), [1, 2]),
        (type("Dict", (dict,), {})({"a": 1}), {"a": 1}),
    ],
    ids=repr,
)
def test_subclasses_are_what_they_hold(face: Face, url: str, value: Any, stored: Any) -> None:
    handle = face.create(url, content_type=JSON)
    handle.append_json(value)
    assert read(face, url) == [stored]


def test_keys_are_as_json_dumps_makes_them(face: Face, url: str) -> None:
    value = {7: "a", 2.5: "b", True: "c", None: "d", 2**70: "e", "s": "f"}
    face.create(url, content_type=JSON).append(value)
    assert read(face, url) == [json.loads(json.dumps(value))]


@pytest.mark.parametrize("value", ["\u2028", "\u0000", "\x1f\x7f", "</script>", "😀", "\ufffe"])
def test_all_of_unicode_passes(face: Face, url: str, value: str) -> None:
    handle = face.create(url, content_type=JSON)
    handle.append_json(value)
    handle.append(json.dumps(value))
    handle.append(json.dumps(value, ensure_ascii=False))
    assert read(face, url) == [value] * 3


def test_changed_after_the_call_is_not_changed_in_the_stream(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    value = {"n": 1}
    producer = face.producer(handle, linger_ms=50)
    producer.append(value)
    value["n"] = 2
    producer.close()
    assert read(face, url) == [{"n": 1}]


def test_an_array_is_one_message_and_a_created_array_many(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON, body="[1, [2]]")
    handle.append([3, [4]])
    handle.append("[5]")
    handle.append_stream(["[6, 7]"])
    assert read(face, url) == [1, [2], [3, [4]], [5], 6, 7]
