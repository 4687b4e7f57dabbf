"""Large batches take another way than small ones: recorded outside of the interpreter, made into objects in parts."""

from __future__ import annotations

import gc
import json
import random
from typing import Any
from urllib.request import Request, urlopen

import pytest

from everstream import Checkpoint
from faces import Face
from support import JSON
from test_json import DOCUMENTS

# Enough that a batch with it is a large one.
FILLER = ["x" * 1000] * 40


def store(face: Face, url: str, texts: list[str]) -> None:
    """A stream of these messages, which an answer has all of."""
    face.create(url, content_type=JSON)
    request = Request(url, f"[{','.join(texts)}]".encode(), {"content-type": JSON}, method="POST")
    urlopen(request).close()


def read(face: Face, url: str, how: str = "iter_json") -> list[Any]:
    with face.stream(url, live=False) as res:
        return list(getattr(res, how)())


def exactly(value: Any) -> Any:
    """Tells 1 from 1.0 and True, and the order of keys."""
    if isinstance(value, dict):
        return [(key, exactly(item)) for key, item in value.items()]
    return [exactly(item) for item in value] if isinstance(value, list) else (type(value), repr(value))


@pytest.mark.parametrize("how", ["iter_json", "read_json"])
def test_every_document_is_read_as_python_reads_it(face: Face, url: str, how: str) -> None:
    # Lone surrogates are left to Python's parser, with the whole batch: they come on their own.
    texts = [text for text in DOCUMENTS if r"\ud800" not in text] * 3
    store(face, url, [*texts, json.dumps(FILLER)])
    assert exactly(read(face, url, how)) == exactly([*map(json.loads, texts), FILLER])


@pytest.mark.parametrize("document", [r'"\ud800"', r'{"\udc00": "\ud800x"}', "[" * 300 + "]" * 300, "1" + "0" * 400])
def test_what_only_python_can_read_is_read(face: Face, url: str, document: str) -> None:
    store(face, url, [document, json.dumps(FILLER)])
    assert read(face, url) == [json.loads(document), FILLER]


def test_text_without_measure_is_an_error(face: Face, url: str) -> None:
    store(face, url, ["[" * 50_000 + "]" * 50_000])
    with face.stream(url, live=False) as res, pytest.raises(RecursionError):
        list(res.iter_json())


def test_an_integer_of_too_many_digits_is_an_error_where_it_stands(face: Face, url: str) -> None:
    store(face, url, [*map(str, range(20_000)), "9" * 10_000, "0"])
    got: list[int] = []
    with face.stream(url, live=False) as res:
        with pytest.raises(ValueError, match="digits"):
            for item in res.iter_json():
                got.append(item)
        # Only what was handed over counts.
        assert res.checkpoint().skip == len(got)
    assert got == list(range(len(got))) and len(got) > 0


def spaced(rng: random.Random, text: str) -> str:
    return rng.choice(["", "", "", " ", "\n\t", "\r\n  "]) + text


def any_text(rng: random.Random) -> str:
    text = rng.choice(["", "a", "page_view", "é", "日本", "😀", 'q"q', "back\\slash", "\u2028", "\x00", "/"])
    return json.dumps(text * rng.randint(0, 3), ensure_ascii=rng.random() < 0.5)


def any_document(rng: random.Random, depth: int) -> str:
    """JSON text: objects of few and of many shapes, repeated keys and strings, all kinds of numbers, white space."""
    kind = rng.randrange(4 if depth == 0 else 7)
    if kind == 0:
        text = any_text(rng)
    elif kind == 1:
        text = rng.choice(["true", "false", "null"])
    elif kind == 2:
        text = str(rng.choice([0, -1, 7, 2**31, -(2**63), 2**63 - 1, 2**63, -(2**63) - 1, 10**30]))
    elif kind == 3:
        text = rng.choice(["-0", "-0.0", "1.5", "1e5", "1E-7", "2e+3", "0.1", "1e999", "123456789.123456789123456789"])
    elif kind == 4:
        items = (any_document(rng, depth - 1) for _ in range(rng.randrange(4)))
        text = f"[{','.join(items)}{rng.choice(['', ' '])}]"
    else:
        names = ["a", "b", "c", "", "é", r"\u0061", "a b"] if kind == 5 else [f"k{rng.randrange(100)}"] * 3
        keys = (rng.choice(names) for _ in range(rng.randrange(6)))
        fields = (f'"{key}"{spaced(rng, ":")}{any_document(rng, depth - 1)}' for key in keys)
        text = f"{{{','.join(fields)}{rng.choice(['', ' '])}}}"
    return spaced(rng, text) + spaced(rng, "")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("how", ["iter_json", "read_json"])
def test_documents_by_chance_are_read_as_python_reads_them(face: Face, url: str, how: str, seed: int) -> None:
    rng = random.Random(seed)
    texts = [any_document(rng, 4) for _ in range(3000)]
    store(face, url, texts)
    assert exactly(read(face, url, how)) == exactly([json.loads(text) for text in texts])


def test_keys_that_are_data_are_read(face: Face, url: str) -> None:
    """More keys than anyone has fields, in one object and over many."""
    messages: list[Any] = [{f"id-{number}": number} for number in range(6000)]
    messages.append({f"id-{number}": "same" for number in range(6000)})
    messages += [{"kind": "map", f"id-{number}": "same", "last": [{"kind": "map"}]} for number in range(3000)]
    store(face, url, list(map(json.dumps, messages)))
    assert exactly(read(face, url)) == exactly(messages)


def test_messages_are_values_of_their_own(face: Face, url: str) -> None:
    """They are made from a common form: changing one changes no other."""
    messages = [{"n": number, "tags": ["a"], "inner": {"x": "y"}} for number in range(2000)]
    store(face, url, list(map(json.dumps, messages)))
    first, *others = read(face, url, "read_json")
    first["n"] = first["new"] = None
    first["tags"].append("b")
    first["inner"].clear()
    assert others == messages[1:]


def test_a_read_goes_on_after_any_message_of_a_batch(face: Face, url: str) -> None:
    store(face, url, [json.dumps({"n": number, "text": "some more text"}) for number in range(1000)])
    at: dict[int, Checkpoint] = {}
    with face.stream(url, live=False) as res:
        for taken, _ in enumerate(res.iter_json(), 1):
            at[taken] = res.checkpoint()
    for taken in (1, 127, 128, 129, 256, 999, 1000):
        with face.stream(url, live=False, offset=at[taken]) as res:
            assert [item["n"] for item in res.iter_json()] == list(range(taken, 1000))


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(face: Face, url: str, enabled: bool) -> None:
    store(face, url, [*(json.dumps({"n": number, "inner": [{}]}) for number in range(3000)), "9" * 10_000])
    try:
        (gc.enable if enabled else gc.disable)()
        with face.stream(url, live=False) as res, pytest.raises(ValueError, match="digits"):
            for _ in res.iter_json():
                assert gc.isenabled() == enabled
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
